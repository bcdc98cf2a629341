"""A page that shows what is in a store: how many images are good, the best, the worst, and why."""

import html
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from ..figures import histogram
from ..flags import FAILED, FLAGS, Flag, decode_flags
from ..jobs import atomic_path
from .page import page, png_uri, rows_table
from .quality import FLAG_COST, QUALITY, measure_quality, spread

__all__ = ["write_quality_report"]

_SHOWN = 8
_SHOWN_REASONS = 12
_LONGEST = 300
_LARGEST_SIDE = 160

_STYLE = """
.muted { color: #57636e; font-size: .9rem; } h3 { margin: 2rem 0 .25rem; font-weight: 600; }
h3 + p { margin-top: 0; } td { vertical-align: top; overflow-wrap: anywhere; }
th { vertical-align: top; } .number { text-align: right; white-space: nowrap; width: 1%; }
.wide { width: 100%; } td.name { white-space: nowrap; width: 1%; }
td.image { width: 25%; }
td.name wbr { display: none; } td .muted { font-size: .9em; }
.totals { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .75rem;
          margin: 1.5rem 0; padding: 0; list-style: none; }
.totals li { background: #f4f6f8; border-radius: .4rem; padding: .6rem 1rem; color: #57636e;
             font-size: .9rem; }
.totals b { display: block; font-size: 1.6rem; font-weight: 600; line-height: 1.3;
            color: #1b2733; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.4rem, 1fr));
           gap: 1rem .75rem; margin: .75rem 0; }
.gallery figure { margin: 0; min-width: 0; } .gallery img { display: block; width: 100%;
           border-radius: .2rem; background: black; }
.gallery figcaption { font-size: .72rem; line-height: 1.35; margin-top: .3rem;
           overflow-wrap: anywhere; }
.gallery b { display: block; color: #1b2733; font-weight: 600; }
.flag { display: inline-block; border-radius: .2rem; padding: 0 .3rem; margin: .1rem .1rem 0 0;
        background: #e3e8ed; color: #3d4a56; text-decoration: none; }
.flag.quality { background: #fbe6c8; color: #6b4300; }
.flag.failed { background: #f6d5cd; color: #7a2413; }
@media (max-width: 40rem) { td, th { padding-right: .6rem; } table { font-size: .85rem; }
  td.name wbr { display: inline; } }
"""


def write_quality_report(store, path):
    """Write a page about a store: one HTML file that needs no other.

    It holds the flags with their counts, the best and the worst images, some of each flag, spread
    over the store, the most frequent reasons why images cannot be used, and the recipe. The same
    store gives the same page, byte by byte.

    Parameters
    ----------
    store : CutoutStore
        A finished store with the columns that
        `~astro_deepgalaxy.preprocess.batch.preprocess_batch` writes.
    path : str or `~pathlib.Path`
        The HTML file. An older one is replaced.

    Returns
    -------
    `~pathlib.Path`
        The page.

    Raises
    ------
    ValueError
        If shards are still to be written, or the label table lacks a column.

    See Also
    --------
    astro_deepgalaxy.evaluation.quality.measure_quality : How the best and the worst are found.
    """
    quality = measure_quality(store)
    body = "\n".join(
        (
            _totals(store, quality),
            _best_and_worst(store, quality),
            _flag_table(quality),
            _distributions(quality),
            _reasons(quality),
            _each_flag(store, quality),
            _origin(store),
        )
    )
    path = Path(path)
    with atomic_path(path) as partial:
        text = page(f"Quality of {store.path.resolve().name}", body, _STYLE)
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def _totals(store, quality):
    n, usable = len(store), quality.usable
    ny, nx, channels = store.image_shape
    clean = np.count_nonzero(quality.flags[usable] & int(QUALITY) == 0)
    totals = {
        "images": f"{n:,}",
        f"usable, {_share(len(usable), n)}": f"{len(usable):,}",
        f"without a quality flag, {_share(clean, n)}": f"{clean:,}",
        f"cannot be used, {_share(n - len(usable), n)}": f"{n - len(usable):,}",
    }
    items = "".join(f"<li><b>{value}</b>{name}</li>" for name, value in totals.items())
    shown = {1: "one channel", 3: "three channels shown as red, green and blue"}
    kind = shown.get(channels, f"{channels} channels of which the mean is shown")
    return f"""<p class="muted">Images of {nx} &times; {ny} pixels, {kind}. Black is 0 and
white is 1; the first row of pixels is at the bottom.</p>
<ul class="totals">{items}</ul>"""


def _best_and_worst(store, quality):
    n = len(quality.measured)
    if n == 0:
        return "<p>No image of this store can be used.</p>"
    scores = dict(zip(quality.measured.tolist(), quality.score.tolist(), strict=True))
    best = quality.measured[::-1][: min(_SHOWN, -(-n // 2))]
    worst = quality.measured[: min(_SHOWN, n // 2)]
    sample = ""
    if n < len(quality.usable):
        sample = (
            f" The contrast was measured in {n:,} of the {len(quality.usable):,} usable images: "
            "those with most flags and missing pixels, and others spread evenly over the store."
        )
    text = f"""<h2 id="best">The best</h2>
<p class="muted">By a simple score: the contrast of the middle against the border, less the share
of missing pixels, less {FLAG_COST:g} for each quality flag. It says that something stands in
the middle, on an empty sky, and not what.{sample}</p>
{_gallery(store, best, scores)}"""
    if len(worst):
        text += f"""<h2 id="worst">The worst that can be used</h2>
{_gallery(store, worst, scores)}"""
    return text


def _flag_table(quality):
    n, counts = len(quality.flags), _counts(quality)
    rows = "\n".join(
        f'<tr><td class="name">{_badge(definition.name, link=True)}</td>'
        f'<td class="number">{counts[definition.name]:,}</td>'
        f'<td class="number">{_share(counts[definition.name], n)}</td>'
        f"<td>{html.escape(definition.summary)}</td></tr>"
        for definition in FLAGS
        if counts[definition.name]
    )
    if not rows:
        return '<h2 id="flags">Flags</h2>\n<p>No image has a flag.</p>'
    absent = ", ".join(name for name, count in counts.items() if not count)
    absent = f"No image has {absent}." if absent else ""
    return f"""<h2 id="flags">Flags</h2>
<table class="wide"><tr><th>Flag</th><th class="number">Images</th><th class="number">Share</th>
<th>Meaning</th></tr>
{rows}</table>
<p class="muted"><span class="flag failed">no result</span> <span class="flag quality">lowers the
quality</span> <span class="flag">kind of image or label</span> An image may have several.
{absent}</p>"""


def _distributions(quality):
    if len(quality.measured) == 0:
        return ""
    middle, border = quality.levels.T
    figures = [
        (
            histogram({"border": border, "middle": middle}, "median brightness", (0, 1), log=True),
            "Brightness of the middle and of the border. A border that is not dark is sky that "
            "was left, a neighbour, or a galaxy larger than its image.",
        )
    ]
    missing = quality.missing[quality.usable]
    some = missing[missing > 0]
    without = f"{len(missing) - len(some):,} of {len(missing):,} usable images lack no pixel"
    if len(some):
        figures.append(
            (
                histogram({"": some}, "share of missing pixels", (0, 1)),
                f"Missing pixels, which were filled. {without}, and are not counted here.",
            )
        )
    shown = "\n".join(_figure(figure, caption) for figure, caption in figures)
    return f'<h2 id="distributions">Distributions</h2>\n<div class="row">{shown}</div>'


def _reasons(quality):
    if not quality.reasons:
        return ""
    total = sum(quality.reasons.values())
    ranked = sorted(quality.reasons.items(), key=lambda item: (-item[1], item[0]))
    rows = "\n".join(
        f'<tr><td class="number">{count:,}</td><td class="number">{_share(count, total)}</td>'
        f"<td>{_text(kind)}<br>"
        f'<span class="muted">{_text(quality.examples[kind])}</span></td></tr>'
        for kind, count in ranked[:_SHOWN_REASONS]
    )
    left = ranked[_SHOWN_REASONS:]
    more = ""
    if left:
        count = sum(count for _, count in left)
        more = f'<p class="muted">And {len(left):,} rarer reasons, of {count:,} images.</p>'
    return f"""<h2 id="reasons">Why images cannot be used</h2>
<p class="muted">Reasons that differ in names (…) and numbers (#) only are counted together, with
an example of each.</p>
<table class="wide"><tr><th class="number">Images</th><th class="number">Share</th>
<th>Reason</th></tr>
{rows}</table>{more}"""


def _each_flag(store, quality):
    sections = []
    # What there is to look at comes first.
    for definition in sorted(FLAGS, key=lambda d: bool(Flag(1 << d.bit) & FAILED)):
        rows = np.flatnonzero(quality.flags >> definition.bit & 1)
        if not len(rows):
            continue
        usable = rows[quality.flags[rows] & int(FAILED) == 0]
        shown = spread(usable if len(usable) else rows, _SHOWN)
        sections.append(
            f'<h3 id="flag-{definition.name}">{definition.name}</h3>'
            f'<p class="muted">{html.escape(definition.summary)} '
            f"Here {len(shown)} of {len(rows):,}.</p>\n"
            + (_gallery(store, shown) if len(usable) else _failures(store, shown))
        )
    if not sections:
        return ""
    return '<h2 id="each-flag">Some of each flag</h2>\n' + "\n".join(sections)


def _origin(store):
    attributes = dict(store.attributes)
    recipe, versions = attributes.pop("recipe", None), attributes.pop("versions", {})
    steps = recipe.get("steps", []) if isinstance(recipe, dict) else []
    rows = "\n".join(
        f'<tr><td class="number">{i}</td><td class="name">{_text(step.get("step", ""))}</td>'
        f"<td>{_options(step)}</td></tr>"
        for i, step in enumerate(steps, start=1)
    )
    about = {name.replace("_", " "): _value(value) for name, value in attributes.items()}
    about |= {f"version of {name}": _value(value) for name, value in versions.items()}
    made = "<p>The store does not say.</p>"
    if steps:
        made = f"""<table class="wide"><tr><th></th><th>Step</th><th>Options</th></tr>
{rows}</table>"""
    return f"""<h2 id="recipe">How the images were made</h2>
{made}
<h3 id="provenance">Provenance</h3>
{rows_table(about)}"""


def _options(step):
    return ", ".join(
        _text(f"{name.replace('_', ' ')} {_value(value)}")
        for name, value in step.items()
        if name != "step" and value not in (None, [], {})
    )


def _value(value):
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _gallery(store, rows, scores=None):
    """Images with their names and flags; their scores too, if given."""
    tiles = []
    for row, about, image in zip(rows, _about(store, rows), store.load(rows), strict=True):
        score = "" if scores is None else f"score {_number(scores[int(row)])}<br>"
        flags = " ".join(map(_badge, filter(None, decode_flags(about["flags"]).split(";"))))
        name = _text(about["id"])
        tiles.append(
            f'<figure><img src="{png_uri(_thumbnail(image))}" alt="{name}">'
            f"<figcaption><b>{_breakable(name)}</b>{score}{flags}</figcaption></figure>"
        )
    return '<div class="gallery">' + "\n".join(tiles) + "</div>"


def _failures(store, rows):
    """Names and reasons of images that cannot be used: there is nothing to see of them."""
    cells = "\n".join(
        f'<tr><td class="image">{_breakable(_text(about["id"]))}</td>'
        f"<td>{_text(about['reason'])}</td></tr>"
        for about in _about(store, rows)
    )
    return f'<table class="wide"><tr><th>Image</th><th>Reason</th></tr>\n{cells}</table>'


def _about(store, rows):
    """Name, flags and reason of some rows."""
    parts = {shard: store.part(shard) for shard in {int(row) // store.shard_rows for row in rows}}
    for row in rows:
        shard, i = divmod(int(row), store.shard_rows)
        yield {name: parts[shard][name][i] for name in ("id", "flags", "reason")}


def _thumbnail(image):
    """An image (y, x, channel) as PNG: grey, or three channels as colour."""
    if image.shape[-1] != 3:
        image = image.mean(axis=-1)
    pixels = np.round(255 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(pixels[::-1]))
    factor = -(-max(picture.size) // _LARGEST_SIDE)
    data = io.BytesIO()
    (picture.reduce(factor) if factor > 1 else picture).save(data, "PNG")
    return data.getvalue()


def _figure(figure, caption):
    data = io.BytesIO()
    # Matplotlib would write its version into the file.
    figure.savefig(data, format="png", dpi=150, metadata={"Software": None})
    return (
        f'<figure><img src="{png_uri(data.getvalue())}" alt="{html.escape(caption)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _counts(quality):
    return {d.name: int(np.count_nonzero(quality.flags >> d.bit & 1)) for d in FLAGS}


def _badge(name, link=False):
    flag = Flag[name.upper()]
    kind = " failed" if flag & FAILED else " quality" if flag & QUALITY else ""
    target = f'a href="#flag-{name}"' if link else "span"
    return f'<{target} class="flag{kind}">{_breakable(name)}</{target.split()[0]}>'


def _share(count, total):
    """A percentage in which few are not none, and nearly all are not all."""
    if 0 < count < total and not 0.001 <= count / total <= 0.999:
        return "&lt; 0.1%" if count < total / 2 else "&gt; 99.9%"
    return f"{count / total:.1%}"


def _number(value):
    return f"{value:.2f}".replace("-", "&minus;")


def _breakable(name):
    """A name that may go on in the next line after an underscore."""
    return name.replace("_", "_<wbr>")


def _text(value):
    """Text of strangers for the page, of bearable length."""
    text = str(value)
    return html.escape(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")
