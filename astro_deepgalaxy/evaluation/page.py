"""What the HTML pages of the reports have in common."""

import base64
import html

__all__ = ["page", "png_uri", "rows_table"]

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
