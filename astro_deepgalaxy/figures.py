"""Figures of images, training and results. Each function returns a matplotlib Figure."""

import numpy as np
from astropy import units as u
from matplotlib.figure import Figure

__all__ = ["confusion", "contact_sheet", "histogram", "learning_curve", "predicted_against_true"]

_INK, _FAINT, _ACCENT, _SECOND = "#1b2733", "#c9d1d9", "#c8553d", "#2a6f97"


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
        Simulation of each image; each gets a colour.
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
    names = ["" for _ in predicted] if groups is None else np.asarray(groups, dtype=str)
    names = np.asarray(names)
    for i, name in enumerate(np.unique(names[good])):
        here = good & (names == name)
        ax.scatter(
            true[here], predicted[here], s=9, alpha=0.55, lw=0, color=f"C{i}", label=name or None
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


def _figure(size):
    figure = Figure(figsize=size, layout="constrained")
    ax = figure.subplots()
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax
