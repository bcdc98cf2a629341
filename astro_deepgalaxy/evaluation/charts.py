"""The figures of an evaluation. Each function returns a matplotlib Figure."""

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

__all__ = [
    "coverage_chart",
    "error_chart",
    "merger_reliability",
    "pairs_chart",
    "purity_completeness",
    "quantile_chart",
    "roc",
    "time_confusion",
]

_INK, _FAINT, _ACCENT, _SECOND = "#1b2733", "#c9d1d9", "#c8553d", "#2a6f97"


def time_confusion(matrix, scale):
    """True against predicted time classes, coloured by the share of each true class.

    Parameters
    ----------
    matrix : array_like of int
        Counts (true, predicted).
    scale : TimeScale
        What the classes mean.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    matrix = np.asarray(matrix, dtype=float)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    first, last = scale.edges.value[[0, -1]]
    figure, ax = _figure((5.8, 5))
    ax.spines[["top", "right"]].set_visible(True)
    # A low power shows the few errors beside the many hits.
    norm = PowerNorm(0.5, 0, max(share.max(), 0.01))
    extent = (first, last, first, last)
    image = ax.imshow(
        share.T, origin="lower", extent=extent, cmap="Blues", norm=norm, interpolation="nearest"
    )
    ax.plot([first, last], [first, last], color=_ACCENT, lw=0.8, alpha=0.7)
    ax.set(xlabel="true time (Myr)", ylabel="most probable time (Myr)")
    bar = figure.colorbar(image, ax=ax, shrink=0.85, pad=0.02)
    bar.set_label("share of the images of a true class")
    bar.outline.set_visible(False)
    return figure


def coverage_chart(intervals):
    """Measured against stated probability of the intervals.

    Parameters
    ----------
    intervals : Intervals
        Their coverage.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    figure, ax = _square("stated probability", "share of true times inside")
    series = (
        ("network alone", intervals.plain, _SECOND, -0.006),
        ("calibrated", [c for c in intervals.calibrated if not isinstance(c, str)], _ACCENT, 0.006),
    )
    for name, rows, colour, shift in series:
        if not rows:
            continue
        share = np.array([row.share for row in rows])
        below = share - [row.low for row in rows]
        above = [row.high for row in rows] - share
        ax.errorbar(
            [row.level + shift for row in rows],
            share,
            np.maximum([below, above], 0),
            fmt="o",
            ms=5,
            lw=1.5,
            color=colour,
            label=name,
        )
    ax.legend(frameon=False, loc="upper left")
    return figure


def quantile_chart(quantiles):
    """How often the truth lies below the posterior's quantiles.

    Parameters
    ----------
    quantiles : QuantileCalibration
        The calibration.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    figure, ax = _square("quantile of the posterior", "share of true times below it")
    ax.fill_between(quantiles.levels, quantiles.low, quantiles.high, color=_SECOND, alpha=0.2, lw=0)
    ax.plot(quantiles.levels, quantiles.share, "o-", ms=3.5, lw=1.5, color=_SECOND)
    return figure


def error_chart(bins, label):
    """Absolute error of the time against something else.

    Parameters
    ----------
    bins : list of ErrorBin
        The errors.
    label : str
        What they are against.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    figure, ax = _figure((6, 3.8))
    position = np.array([row.position for row in bins])
    median = np.array([row.median for row in bins])
    ranges = [
        np.nan_to_num(np.maximum(median - [row.low for row in bins], 0)),
        np.nan_to_num(np.maximum([row.high for row in bins] - median, 0)),
    ]
    named = label == "stage"
    line = "" if named else "-"
    ax.plot(
        position,
        [row.percentile_90 for row in bins],
        "v" + line,
        ms=5,
        lw=1,
        color=_FAINT,
        mec="#8a96a1",
        mfc=_FAINT,
        label="90th percentile",
    )
    ax.errorbar(
        position, median, ranges, fmt="o" + line, ms=5, lw=1.5, color=_SECOND, label="median"
    )
    if named:
        ax.set_xticks(position, [row.name for row in bins], rotation=15)
        ax.margins(x=0.1)
    elif position.min() > 0 and position.max() > 20 * position.min():
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
    top = max(*(row.percentile_90 for row in bins), np.max(median + ranges[1]))
    ax.set(xlabel=label, ylabel="|error| (Myr)", ylim=(0, 1.2 * top))
    ax.legend(frameon=False, fontsize=9, ncols=2, loc="upper right")
    return figure


def roc(mergers):
    """Mergers found against other galaxies taken for mergers, for every threshold.

    Parameters
    ----------
    mergers : Detection
        The figures.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    figure, ax = _square("others taken for mergers", "mergers found (completeness)")
    ax.plot(
        [1.0, *mergers.false_positive, 0.0],
        [1.0, *mergers.completeness, 0.0],
        lw=1.8,
        color=_SECOND,
        label=f"area {mergers.auc:.3f}",
    )
    ax.legend(frameon=False, loc="lower right")
    return figure


def purity_completeness(mergers):
    """Purity and completeness against the threshold.

    Parameters
    ----------
    mergers : Detection
        The figures.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    figure, ax = _figure((5, 4.6))
    ax.plot(mergers.thresholds, mergers.completeness, lw=1.8, color=_SECOND, label="completeness")
    name = f"purity, {mergers.prevalence:.1%} of all being mergers"
    ax.plot(mergers.thresholds, mergers.purity, lw=1.8, color=_ACCENT, label=name)
    ax.set(
        xlim=(0, 1),
        ylim=(0, 1.02),
        xlabel="probability from which an image is called a merger",
        ylabel="share",
    )
    ax.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def merger_reliability(mergers):
    """Share of mergers among the images that are given a probability.

    Parameters
    ----------
    mergers : Detection
        The figures.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    figure, ax = _square("probability of being a merger", "share of mergers")
    ax.plot(mergers.stated, mergers.measured, "-", lw=1, color=_SECOND)
    counts = np.array(mergers.counts)
    ax.scatter(
        mergers.stated,
        mergers.measured,
        15 + 120 * counts / counts.max(),
        color=_SECOND,
        lw=0,
        clip_on=False,
        zorder=3,
    )
    return figure


def pairs_chart(pairs):
    """Predicted against published times of real galaxies.

    Parameters
    ----------
    pairs : RealPairs
        The times.

    Returns
    -------
    `~matplotlib.figure.Figure`
    """
    figure, ax = _figure((5.6, 4.6))
    predicted = np.array(pairs.predicted)
    errors = np.maximum([predicted - pairs.lower, pairs.upper - predicted], 0)
    span = [min(0, *pairs.published), max(pairs.published)]
    ax.plot(span, span, color=_INK, lw=1, label="one to one")
    ax.errorbar(
        pairs.published,
        predicted,
        errors,
        fmt="o",
        ms=5,
        lw=1,
        color=_SECOND,
        ecolor=_FAINT,
        label="real galaxies, with their intervals",
    )
    ax.set(xlabel="published time since closest approach (Myr)", ylabel="predicted time (Myr)")
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def _square(xlabel, ylabel):
    """Axes from 0 to 1 with the diagonal on which stated and measured agree."""
    figure, ax = _figure((5, 4.6))
    ax.plot([0, 1], [0, 1], color=_FAINT, lw=1, zorder=0)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal", xlabel=xlabel, ylabel=ylabel)
    return figure, ax


def _figure(size):
    figure = Figure(figsize=size, layout="constrained")
    ax = figure.subplots()
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax
