"""Figures of images, training and results. Each function returns a matplotlib Figure."""

from pathlib import Path

import numpy as np
from astropy import units as u
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

__all__ = [
    "check_figure_suffix",
    "confusion",
    "contact_sheet",
    "histogram",
    "latent_grid",
    "learning_curve",
    "predicted_against_true",
    "reconstructions",
]

_INK, _FAINT, _ACCENT, _SECOND = "#1b2733", "#c9d1d9", "#c8553d", "#2a6f97"
_RESIDUAL = LinearSegmentedColormap.from_list("residual", ["#7ab8e0", "black", "#f0a35e"])


def contact_sheet(images, titles=None, columns=6, title=None):
    """Small pictures in rows.

    Parameters
    ----------
    images : sequence of array_like
        Pictures (y, x) in [0, 1], or (y, x, 3) for colour; the first row of pixels is at the
        bottom.
    titles : sequence of str, optional
        A caption for each.
    columns : int
        Pictures in a row.
    title : str, optional
        Title of the sheet.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    ValueError
        If there is no image.
    """
    if len(images) == 0:
        raise ValueError("a contact sheet needs at least one image")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.9 * columns, 2.1 * rows + (0.4 if title else 0)), facecolor="black")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for i, (ax, image) in enumerate(zip(axes, images, strict=False)):
        ax.imshow(image, origin="lower", cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        if titles is not None:
            ax.set_title(titles[i], color="white", fontsize=9, pad=3)
    if title:
        figure.suptitle(title, color="white", fontsize=12)
    figure.tight_layout(pad=0.6)
    return figure


def learning_curve(history, best_epoch=None):
    """Loss after each epoch, for training and, if any, validation.

    Parameters
    ----------
    history : dict of str to list of float
        With ``loss`` and optionally ``val_loss``.
    best_epoch : int, optional
        Number, from 0, of the epoch whose weights were kept.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    figure, ax = _figure((6, 4))
    for name, label, colour in (
        ("loss", "training", _SECOND),
        ("val_loss", "validation (unseen groups)", _ACCENT),
    ):
        if name in history:
            epochs = np.arange(1, len(history[name]) + 1)
            ax.plot(epochs, history[name], "o-", ms=3, lw=1.5, color=colour, label=label)
    if best_epoch is not None and best_epoch >= 0:
        ax.axvline(best_epoch + 1, color=_FAINT, lw=1, zorder=0, label="weights kept")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}")
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss")
    ax.legend(frameon=False)
    return figure


def predicted_against_true(predicted, true, lower=None, upper=None, groups=None, title=None):
    """Predicted against true time since the first pericentre, with the one-to-one line.

    Parameters
    ----------
    predicted, true : `~astropy.units.Quantity`
        Times of the same images, (n,).
    lower, upper : `~astropy.units.Quantity`, optional
        Borders of the predicted interval; the figure shows their running median.
    groups : array_like of str, optional
        Simulation of each image; each gets a colour when there are at most eight.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    predicted, true = (u.Quantity(t).to_value(u.Myr) for t in (predicted, true))
    good = np.isfinite(predicted) & np.isfinite(true)
    figure, ax = _figure((5.6, 5.4))
    low = min(predicted[good].min(), true[good].min()) - 15
    high = max(predicted[good].max(), true[good].max()) + 15
    ax.plot([low, high], [low, high], color=_INK, lw=1, zorder=3, label="one to one")
    if lower is not None and upper is not None:
        order = np.argsort(true[good])
        blocks = np.array_split(order, max(1, min(25, good.sum() // 8)))
        x = [np.median(true[good][b]) for b in blocks]
        bounds = [
            [np.median(u.Quantity(t).to_value(u.Myr)[good][b]) for b in blocks]
            for t in (lower, upper)
        ]
        ax.fill_between(x, *bounds, color=_FAINT, alpha=0.6, lw=0, label="median interval")
    names = np.full(len(predicted), "", dtype=object)
    many = groups is not None and len(np.unique(groups)) > 8
    if groups is not None and not many:
        names = np.asarray(groups, dtype=str)
    for i, name in enumerate(np.unique(names[good])):
        here = good & (names == name)
        ax.scatter(
            true[here],
            predicted[here],
            s=4 if many else 9,
            alpha=0.3 if many else 0.55,
            lw=0,
            color=f"C{i}",
            label=f"{len(np.unique(groups))} simulations" if many else name or None,
        )
    ax.set(
        xlim=(low, high),
        ylim=(low, high),
        aspect="equal",
        xlabel="true time since first pericentre (Myr)",
        ylabel="predicted time (Myr)",
    )
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    if title:
        ax.set_title(title, fontsize=10)
    return figure


def confusion(matrix, names, title=None):
    """Table of true against predicted classes, coloured by the share of each true class.

    Parameters
    ----------
    matrix : array_like of int
        Counts (true, predicted).
    names : sequence of str
        Names of the classes.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure, ax = _figure((5.6, 5))
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(matrix):
        ax.text(j, i, count, ha="center", va="center", color="white" if share[i, j] > 0.5 else _INK)
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted", ylabel="true")
    if title:
        ax.set_title(title, fontsize=10)
    return figure


def histogram(samples, label, limits=None, bins=40, log=False):
    """How often values occur.

    Parameters
    ----------
    samples : dict of str to array_like
        Values, one curve for each name; a single one needs no name.
    label : str
        What the values are, with their unit.
    limits : tuple of float, optional
        Smallest and largest value shown; None for all.
    bins : int
        Number of bins.
    log : bool
        Count on a logarithmic scale, which shows the few beside the many.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    figure, ax = _figure((6, 3.4))
    edges = np.histogram_bin_edges(np.concatenate(list(samples.values())), bins, limits)
    for (name, values), colour in zip(samples.items(), (_SECOND, _ACCENT, _INK), strict=False):
        ax.hist(values, edges, histtype="stepfilled", color=colour, alpha=0.6, label=name)
    ax.set(xlabel=label, ylabel="images", xlim=(edges[0], edges[-1]))
    if log:
        ax.set_yscale("log", nonpositive="clip")
        ax.set_ylim(bottom=0.7)
    else:
        ax.yaxis.get_major_locator().set_params(integer=True)
    ax.yaxis.set_major_formatter("{x:,.0f}")
    if any(samples):
        ax.legend(frameon=False)
    return figure


def reconstructions(images, reconstructions, titles=None):
    """Images, below them what a network makes of them again, and below that the residuals.

    Parameters
    ----------
    images, reconstructions : sequence of array_like
        Pictures (y, x, channel) in [0, 1]; the first row of pixels is at the bottom.
    titles : sequence of str, optional
        A caption for each.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Raises
    ------
    ValueError
        If there is no image.
    """
    if len(images) == 0:
        raise ValueError("a figure of reconstructions needs at least one image")
    images, reconstructions = np.asarray(images), np.asarray(reconstructions)
    residuals = (images - reconstructions).mean(axis=-1)
    # A few pixels of a bright centre should not hide the rest.
    limit = max(float(np.quantile(np.abs(residuals), 0.998)), 1e-3)
    figure = Figure(figsize=(1.6 * len(images) + 1.1, 5.2), facecolor="black", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    axes = figure.subplots(3, len(images), squeeze=False)
    for i, column in enumerate(axes.T):
        for ax, picture in zip(column, (images[i], reconstructions[i]), strict=False):
            ax.imshow(_shown(picture), origin="lower", cmap="gray", vmin=0, vmax=1)
        shown = column[2].imshow(
            residuals[i], origin="lower", cmap=_RESIDUAL, vmin=-limit, vmax=limit
        )
        if titles is not None:
            column[0].set_title(titles[i], color="white", fontsize=8)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for ax, label in zip(axes[:, 0], ("image", "reconstruction", "residual"), strict=True):
        ax.set_ylabel(label, color="white", fontsize=9)
    bar = figure.colorbar(shown, ax=axes[2], fraction=0.03, pad=0.01)
    bar.ax.tick_params(colors="white", labelsize=7)
    bar.outline.set_visible(False)
    return figure


def latent_grid(images, corners=None, title=None):
    """Images of points in a latent space, side by side as the points lie.

    Parameters
    ----------
    images : array_like
        Pictures (row, column, y, x, channel) in [0, 1].
    corners : sequence of array_like, optional
        Four pictures of the same shape, shown beside the ends of the first and the last row: the
        images whose points these are.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    images = np.asarray(images)
    rows, columns, ny, nx, channels = images.shape
    sheet = images[::-1].transpose(0, 2, 1, 3, 4).reshape(rows * ny, columns * nx, channels)
    side = 0 if corners is None else 1.2
    width = columns + 2 * side
    inches = min(1.0, 8.0 / width)
    figure = Figure(
        figsize=(inches * width + 0.1, inches * rows * ny / nx + (0.45 if title else 0.1)),
        facecolor="black",
        layout="constrained",
    )
    ax = figure.subplots()
    look = {"origin": "lower", "cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    ax.imshow(_shown(sheet), extent=(0, columns, 0, rows), **look)
    if corners is not None:
        for picture, (y, x) in zip(
            corners, ((rows - 1, 0), (rows - 1, 1), (0, 0), (0, 1)), strict=True
        ):
            left = columns + side - 1 if x else -side
            ax.imshow(_shown(np.asarray(picture)), extent=(left, left + 1, y, y + 1), **look)
            for place in (left, (columns - 1) * x):
                ax.add_patch(
                    Rectangle((place, y), 1, 1, fill=False, ec=_ACCENT, lw=1.2, clip_on=False)
                )
    ax.set(xlim=(-side, columns + side), ylim=(0, rows), aspect=ny / nx)
    ax.set_axis_off()
    if title:
        figure.suptitle(title, color="white", fontsize=10)
    return figure


def check_figure_suffix(path):
    """Refuse a file name that no figure can be written to, before any work.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        The file.

    Raises
    ------
    ValueError
        If its suffix is not that of a picture.
    """
    known = Figure().canvas.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix(".") not in known:
        raise ValueError(
            f"{path}: the suffix of a figure chooses its format, such as .png, .pdf or .svg"
        )


def _shown(picture):
    """What is shown of a picture (y, x, channel): colour, or the mean of its channels."""
    return picture if picture.shape[-1] == 3 else picture.mean(axis=-1)


def _figure(size):
    figure = Figure(figsize=size, layout="constrained")
    ax = figure.subplots()
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax
