"""What the HTML pages of the reports have in common."""

import base64
import html
import math

__all__ = [
    "lines_table",
    "number_text",
    "page",
    "percent_text",
    "png_uri",
    "range_text",
    "rows_table",
]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b2733; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-weight: 600; } h2 { margin-top: 2.5rem; font-weight: 600; }
img { max-width: 100%; } figure { margin: 1rem 0; }
figcaption { color: #57636e; font-size: .9rem; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; } .row figure { flex: 1 1 24rem; margin: 0; }
.lead { font-size: 1.4rem; } table { border-collapse: collapse; }
td, th { text-align: left; padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid #e3e8ed; }
pre { background: #f4f6f8; padding: 1rem; overflow: auto; font-size: .8rem; }
"""


def page(title, body, style=""):
    """A whole page.

    Parameters
    ----------
    title : str
        Its title, as plain text.
    body : str
        What follows the title, as HTML.
    style : str
        CSS of this page only.

    Returns
    -------
    str
    """
    title = html.escape(title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>{_STYLE}{style}</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def rows_table(rows):
    """A table of two columns.

    Parameters
    ----------
    rows : dict of str to str
        Names and values, as plain text.

    Returns
    -------
    str
        HTML.
    """
    cells = "\n".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{cells}</table>"


def lines_table(lines):
    """A table with a head, whose first column names the rows and whose others hold numbers.

    Parameters
    ----------
    lines : list of list of str
        The head and the rows, as HTML.

    Returns
    -------
    str
        HTML.
    """
    head = "".join(f'<th class="{"number" if i else ""}">{c}</th>' for i, c in enumerate(lines[0]))
    rows = "\n".join(
        f"<tr><th>{name}</th>" + "".join(f'<td class="number">{c}</td>' for c in cells) + "</tr>"
        for name, *cells in lines[1:]
    )
    return f'<div class="scroll"><table><tr>{head}</tr>\n{rows}</table></div>'


def number_text(value):
    """A number with two decimals, as HTML.

    Parameters
    ----------
    value : float
        The number.

    Returns
    -------
    str
    """
    return f"{value:.2f}".replace("-", "&minus;")


def percent_text(share):
    """A share in per cent, or a dash, as HTML.

    Parameters
    ----------
    share : float or None
        The share; None if it is not known.

    Returns
    -------
    str
    """
    return "&ndash;" if share is None else f"{share:.1%}"


def range_text(value, limits, unit="", digits=0):
    """A number with its range in brackets, unless that is not finite.

    Parameters
    ----------
    value : float
        The number.
    limits : tuple of float
        The borders of its range.
    unit : str
        Unit of all three.
    digits : int
        Decimals.

    Returns
    -------
    str
    """
    text = f"{value:.{digits}f}"
    if all(map(math.isfinite, limits)):
        text += f" ({limits[0]:.{digits}f} to {limits[1]:.{digits}f})"
    return f"{text} {unit}".strip()


def png_uri(data):
    """The address of a picture that stands in the page itself.

    Parameters
    ----------
    data : bytes
        A PNG file.

    Returns
    -------
    str
    """
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
