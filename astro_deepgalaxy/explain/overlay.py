"""The picture of an explanation."""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from ..flags import decode_flags

__all__ = ["overlay"]

_BACKGROUND, _INK, _FAINT = "#0d1117", "#e6edf3", "#9aa4b0"
_COOL, _WARM = "#2f8fff", "#ff7b1c"
_COLOURS = LinearSegmentedColormap.from_list(
    "against_favour", ["#8ff0ff", _COOL, "#0d1117", _WARM, "#ffe14d"]
)
_METHODS = {"grad-cam": "Grad-CAM", "occlusion": "Occlusion"}
_OPACITY = 0.65


def overlay(explanation):
    """The image in grey, and beside it the same under the map in colour.

    Parameters
    ----------
    explanation : Explanation
        With a map.

    Returns
    -------
    `~matplotlib.figure.Figure`
        Warm colours raise the answer, cool ones lower it, the more opaque the more; lines are at
        half of the largest value.
    """
    image, values = explanation.image.mean(axis=-1), explanation.map
    top = float(np.abs(values).max()) or 1.0
    ny, nx = values.shape
    figure = Figure(figsize=(8.6, 3.9 * ny / nx + 0.7), facecolor=_BACKGROUND, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08)
    left, right = figure.subplots(1, 2)
    for ax in (left, right):
        ax.imshow(image, origin="lower", cmap="gray", vmin=0, vmax=1)
        ax.set_axis_off()
    scale = Normalize(-top, top)
    layer = _COLOURS(scale(values))
    layer[..., 3] = _OPACITY * np.sqrt(np.abs(values) / top)
    right.imshow(layer, origin="lower", interpolation="bilinear")
    for level, colour in ((0.5 * top, _WARM), (-0.5 * top, _COOL)):
        if values.min() < level < values.max():
            right.contour(values, [level], colors=[colour], linewidths=1.0, linestyles="solid")
    bar = figure.colorbar(ScalarMappable(scale, _COLOURS), ax=right, fraction=0.04, pad=0.02)
    bar.ax.set_ylim(-top if values.min() < 0 else 0, top)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=_FAINT, labelsize=7, length=2)
    bar.set_label(_meaning(explanation), color=_FAINT, fontsize=8)
    left.set_title(_short(explanation.id), color=_FAINT, fontsize=9, loc="left")
    method = _METHODS.get(explanation.method, explanation.method)
    right.set_title(f"{method}: {explanation.answer}", color=_FAINT, fontsize=9, loc="left")
    flags = decode_flags(explanation.flags).replace(";", ", ").replace("_", " ")
    left.text(0.02, 0.02, flags, transform=left.transAxes, color=_FAINT, fontsize=7)
    figure.suptitle(explanation.prediction, color=_INK, fontsize=12)
    return figure


def _meaning(explanation):
    """What the colours stand for, from below."""
    low, high = "lowers it", "raises it"
    if explanation.answer.startswith("log probability"):
        low, high = "against", "in favour"
    elif explanation.unit.is_equivalent("yr"):
        low, high = "earlier", "later"
    unit = explanation.unit.to_string()
    words = [low, unit, high] if explanation.map.min() < 0 else [high, unit]
    return "    ".join(word for word in words if word)


def _short(text, length=48):
    return text if len(text) <= length else f"{text[: length - 1]}…"
