"""Whether stated probabilities come true: coverage of intervals and calibration of quantiles."""

from dataclasses import asdict, dataclass

import numpy as np
from astropy import units as u

from .bootstrap import bootstrap_range

__all__ = [
    "Coverage",
    "QuantileCalibration",
    "interval_coverage",
    "quantile_calibration",
]


@dataclass(frozen=True)
class Coverage:
    """How often intervals of a level hold the true time.

    Attributes
    ----------
    level : float
        Probability that the intervals are meant to have.
    share : float
        Measured share, in which every group counts the same.
    low, high : float
        Its 95 % range when groups are drawn again.
    width : float
        Median width of the intervals in Myr.
    n, groups : int
        Images and groups.
    """

    level: float
    share: float
    low: float
    high: float
    width: float
    n: int
    groups: int

    def to_dict(self):
        """The figures as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class QuantileCalibration:
    """How often the true time lies below the posterior's quantiles.

    Attributes
    ----------
    levels : list of float
        The quantiles.
    share : list of float
        Share of true times below each; equal to `levels` for a calibrated posterior. Every group
        counts the same.
    low, high : list of float
        95 % range of `share` when groups are drawn again.
    """

    levels: list[float]
    share: list[float]
    low: list[float]
    high: list[float]

    def to_dict(self):
        """The figures as plain data."""
        return asdict(self)


def interval_coverage(lower, upper, true, groups, level, seed=0):
    """Compare intervals of a level with true times.

    Parameters
    ----------
    lower, upper, true : `~astropy.units.Quantity`
        Borders of the intervals and the true times, (n,); rows that are not finite are left out.
    groups : array_like of str, (n,)
        Simulation or galaxy of each image.
    level : float
        Probability that the intervals are meant to have.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Coverage

    Raises
    ------
    ValueError
        If no row is finite.
    """
    lower, upper, true = (u.Quantity(t).to_value(u.Myr) for t in (lower, upper, true))
    good = np.isfinite(lower) & np.isfinite(upper) & np.isfinite(true)
    if not good.any():
        raise ValueError("no image has both an interval and a true time")
    lower, upper, true, groups = lower[good], upper[good], true[good], np.asarray(groups)[good]
    inside = (lower <= true) & (true <= upper)
    share, (low, high), n_groups = _shares(inside, groups, seed)
    return Coverage(
        level=float(level),
        share=float(share),
        low=float(low),
        high=float(high),
        width=float(np.median(upper - lower)),
        n=len(true),
        groups=n_groups,
    )


def quantile_calibration(below, groups, levels=None, seed=0):
    """Calibration of a posterior's quantiles.

    Parameters
    ----------
    below : array_like
        The posterior's cumulative probability at the true time, (n,), which is uniform in [0, 1]
        for a calibrated posterior (Dawid 1984); rows that are not finite are left out.
    groups : array_like of str, (n,)
        Simulation or galaxy of each image.
    levels : array_like of float, optional
        Quantiles; 0, 0.05, ... 1 if not given.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    QuantileCalibration

    Raises
    ------
    ValueError
        If no row is finite.
    """
    below = np.asarray(below, dtype=float)
    good = np.isfinite(below)
    if not good.any():
        raise ValueError("no image has both a posterior and a true time inside the time scale")
    below, groups = below[good], np.asarray(groups)[good]
    levels = np.linspace(0, 1, 21) if levels is None else np.asarray(levels, dtype=float)
    share, (low, high), _ = _shares(below[:, np.newaxis] <= levels, groups, seed)
    return QuantileCalibration(levels.tolist(), share.tolist(), low.tolist(), high.tolist())


def _shares(true, groups, seed):
    """Shares of what is true, their range, and the number of groups, which count the same."""
    names, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    shares = np.zeros((len(names), *true.shape[1:]))
    np.add.at(shares, index, true)
    shares = (shares.T / counts).T
    drawn = bootstrap_range(lambda i: shares[i].mean(axis=0), np.arange(len(names)), seed=seed)
    return shares.mean(axis=0), drawn, len(names)
