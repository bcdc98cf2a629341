"""Errors of predicted merger times, in Myr and against a baseline."""

from dataclasses import asdict, dataclass

import numpy as np
from astropy import units as u

__all__ = ["TimeErrors", "time_errors"]


@dataclass(frozen=True)
class TimeErrors:
    """Figures of a set of predicted times; all times in Myr.

    Attributes
    ----------
    n : int
        Images with both a predicted and a true time.
    median : float
        Median absolute error.
    mean : float
        Mean absolute error.
    percentile_90 : float
        90th percentile of the absolute error.
    bias : float
        Median of predicted minus true time.
    baseline : float
        Median absolute error of always giving the same time, the median of the training set.
    coverage : float
        Share of true times inside the predicted interval (NaN without intervals).
    interval_width : float
        Median width of the predicted interval (NaN without intervals).
    """

    n: int
    median: float
    mean: float
    percentile_90: float
    bias: float
    baseline: float
    coverage: float
    interval_width: float

    def to_dict(self):
        """The figures as plain data."""
        return asdict(self)


def time_errors(predicted, true, constant, lower=None, upper=None):
    """Compare predicted with true times.

    Parameters
    ----------
    predicted, true : `~astropy.units.Quantity`
        Times of the same images, (n,); rows where either is not finite are left out.
    constant : `~astropy.units.Quantity`
        The time the baseline always gives: the median of the training set.
    lower, upper : `~astropy.units.Quantity`, optional
        Borders of the predicted interval, (n,).

    Returns
    -------
    TimeErrors

    Raises
    ------
    ValueError
        If no row has both times.
    """
    predicted, true = (u.Quantity(t).to_value(u.Myr) for t in (predicted, true))
    good = np.isfinite(predicted) & np.isfinite(true)
    if not good.any():
        raise ValueError("no image has both a predicted and a true time")
    error = (predicted - true)[good]
    coverage = width = np.nan
    if lower is not None and upper is not None:
        low, high = (u.Quantity(t).to_value(u.Myr)[good] for t in (lower, upper))
        coverage = float(np.mean((low <= true[good]) & (true[good] <= high)))
        width = float(np.median(high - low))
    return TimeErrors(
        n=int(good.sum()),
        median=float(np.median(np.abs(error))),
        mean=float(np.mean(np.abs(error))),
        percentile_90=float(np.percentile(np.abs(error), 90)),
        bias=float(np.median(error)),
        baseline=float(np.median(np.abs(true[good] - u.Quantity(constant).to_value(u.Myr)))),
        coverage=coverage,
        interval_width=width,
    )
