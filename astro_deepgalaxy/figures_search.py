"""Figures of search and clustering. Each function returns a matplotlib Figure."""

import numpy as np
from matplotlib.figure import Figure

__all__ = ["choice_of_k", "cluster_sheet", "recommendations", "spectrum"]

_INK, _FAINT, _ACCENT, _SECOND = "#1b2733", "#c9d1d9", "#c8553d", "#2a6f97"
_NIGHT, _TEXT, _DIM, _MARK = "#0b0f14", "#f2f4f6", "#9aa7b4", "#f2b705"


def recommendations(queries, names, matches, captions):
    """Queries and what is recommended for each: Figure 6 of Cai et al. (2020).

    Parameters
    ----------
    queries : sequence of array_like
        Pictures (y, x) or (y, x, channel) in [0, 1], one for each row of the figure; the first
        row of pixels is at the bottom.
    names : sequence of str
        What stands under each query.
    matches : sequence of sequence of array_like
        Pictures of the recommendations for each query, the best first.
    captions : sequence of sequence of str
        What stands under each of them; the first line is set in bold.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    ValueError
        If there is no query.
    """
    if len(queries) == 0:
        raise ValueError("a figure of recommendations needs at least one query")
    columns = max(map(len, matches))
    lines = 1 + max((c.count("\n") for row in captions for c in row), default=0)
    # In inches: pictures of one size, with room for the lines under them.
    side, gap, apart, under = 1.5, 0.09, 0.28, 0.12 + 0.165 * lines
    width = gap + side + apart + columns * (side + gap)
    height = gap + len(queries) * (side + under + gap)
    figure = Figure(figsize=(width, height), facecolor=_NIGHT)

    def show(picture, x, row, caption, bold, colour):
        bottom = height - (row + 1) * (side + under + gap) + under
        ax = figure.add_axes((x / width, bottom / height, side / width, side / height))
        ax.imshow(_grey(picture), origin="lower", cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(color=colour, linewidth=2.0 if colour == _MARK else 0.6)
        first, _, rest = caption.partition("\n")
        for text, y, tone, weight in ((first, 0.08, bold, "bold"), (rest, 0.245, _DIM, "normal")):
            figure.text(
                (x + side / 2) / width,
                (bottom - y) / height,
                text,
                color=tone,
                # A long name is set smaller, so that it stays under its picture.
                fontsize=min(8.0, 170 / max(map(len, text.split("\n")))) if text else 8.0,
                weight=weight,
                ha="center",
                va="top",
                linespacing=1.25,
            )

    for row, (query, name) in enumerate(zip(queries, names, strict=True)):
        show(query, gap, row, name, _MARK, _MARK)
        x = gap + side + apart
        for picture, caption in zip(matches[row], captions[row], strict=True):
            show(picture, x, row, caption, _TEXT, "#3a4754")
            x += side + gap
    return figure


def cluster_sheet(pictures, names, captions):
    """Central members of clusters, a row for each cluster.

    Parameters
    ----------
    pictures : sequence of sequence of array_like
        Pictures (y, x) or (y, x, channel) in [0, 1] of each cluster.
    names : sequence of str
        What stands left of each row.
    captions : sequence of sequence of str
        What stands on each picture.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    ValueError
        If there is no cluster.
    """
    if len(pictures) == 0:
        raise ValueError("a sheet of clusters needs at least one cluster")
    columns = max(map(len, pictures))
    side, gap, left = 1.3, 0.06, 1.25
    width, height = left + columns * (side + gap), gap + len(pictures) * (side + gap)
    figure = Figure(figsize=(width, height), facecolor=_NIGHT)
    for row, (members, name) in enumerate(zip(pictures, names, strict=True)):
        bottom = height - (row + 1) * (side + gap)
        figure.text(
            (left - 0.12) / width,
            (bottom + side / 2) / height,
            name,
            color=_TEXT,
            fontsize=8.5,
            ha="right",
            va="center",
            linespacing=1.4,
        )
        for i, (picture, caption) in enumerate(zip(members, captions[row], strict=True)):
            x = left + i * (side + gap)
            ax = figure.add_axes((x / width, bottom / height, side / width, side / height))
            ax.imshow(_grey(picture), origin="lower", cmap="gray", vmin=0, vmax=1)
            ax.set_axis_off()
            ax.text(0.04, 0.04, caption, color=_DIM, fontsize=6.5, transform=ax.transAxes)
    return figure


def choice_of_k(overlap):
    """How much recommendations depend on the number of neighbours first looked for.

    Parameters
    ----------
    overlap : `~astropy.table.Table`
        What `~astro_deepgalaxy.search.choice_overlap` returns.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    figure, ax = _axes((6, 3.8))
    for name, label, colour, style in (
        ("graph", "walk on the weighted graph", _ACCENT, "o-"),
        ("nearest", "nearest alone, among the first k", _SECOND, "s-"),
        ("equal", "walk on the graph without weights", _INK, "^--"),
        ("neighbours", "the k nearest themselves (Jaccard)", "#8a97a3", "d:"),
    ):
        ax.plot(overlap["k"], overlap[name], style, ms=4, lw=1.5, color=colour, label=label)
    ax.set(xlabel="neighbours k", ylabel="in common with other choices of k", ylim=(0, 1.02))
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def spectrum(eigenvalues, n_clusters=None):
    """The smallest eigenvalues of the Laplacian of a graph, and the gap that was chosen.

    Parameters
    ----------
    eigenvalues : array_like
        In ascending order.
    n_clusters : int, optional
        Number of clusters, marked by the gap above it.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    figure, ax = _axes((6, 3.4))
    number = np.arange(1, len(eigenvalues) + 1)
    if n_clusters is not None:
        ax.axvspan(n_clusters, n_clusters + 1, color=_FAINT, alpha=0.6, lw=0, label="the gap")
        ax.legend(frameon=False)
    ax.plot(number, eigenvalues, "o", ms=5, color=_SECOND)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="number", ylabel="eigenvalue of the Laplacian", ylim=(0, None))
    return figure


def _axes(size):
    figure = Figure(figsize=size, layout="constrained")
    ax = figure.subplots()
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def _grey(picture):
    """A picture that matplotlib can show: grey, or colour for three channels."""
    picture = np.clip(np.asarray(picture, dtype=float), 0, 1)
    if picture.ndim == 3 and picture.shape[-1] != 3:
        return picture.mean(axis=-1)
    return picture
