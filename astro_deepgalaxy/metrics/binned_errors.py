"""How errors depend on something else."""

from dataclasses import asdict, dataclass

import numpy as np

from .bootstrap import bootstrap_range

__all__ = ["ErrorBin", "error_bins"]


@dataclass(frozen=True)
class ErrorBin:
    """Absolute errors of the images of a bin.

    Attributes
    ----------
    name : str
        What the bin holds: a name, or its range of values.
    position : float
        Median value; of names, their number in order.
    median, low, high : float
        Median absolute error, and its 95 % range when groups are drawn again (NaN for one group).
    percentile_90 : float
        90th percentile of the absolute error.
    n, groups : int
        Images and groups.
    """

    name: str
    position: float
    median: float
    low: float
    high: float
    percentile_90: float
    n: int
    groups: int

    def to_dict(self):
        """The figures as plain data."""
        return asdict(self)


def error_bins(error, values, groups, names=None, bins=6, seed=0):
    """Sort errors into bins of another column.

    Parameters
    ----------
    error : array_like, (n,)
        Errors; rows that are not finite are left out.
    values : array_like, (n,)
        What the bins are of: numbers, or names.
    groups : array_like of str, (n,)
        Simulation or galaxy of each image.
    names : sequence of str, optional
        Names in their order, one bin each, if `values` are names.
    bins : int
        Bins of numbers: of each distinct value if there are no more than these, or of about as
        many images each.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    list of ErrorBin
        Bins that hold images.
    """
    error, values, groups = np.abs(np.asarray(error, float)), np.asarray(values), np.asarray(groups)
    if names is not None:
        chosen = [(name, i, values == name) for i, name in enumerate(names)]
    else:
        chosen = _ranges(values.astype(float), np.isfinite(error), bins)
    found = []
    for name, position, here in chosen:
        here = np.flatnonzero(here & np.isfinite(error))
        if len(here) == 0:
            continue
        size, group = error[here], groups[here]
        low, high = bootstrap_range(
            lambda rows, size=size: np.median(size[rows]), group, resamples=300, seed=seed
        )
        found.append(
            ErrorBin(
                name=name,
                position=float(position),
                median=float(np.median(size)),
                low=float(low),
                high=float(high),
                percentile_90=float(np.percentile(size, 90)),
                n=len(here),
                groups=len(np.unique(group)),
            )
        )
    return found


def _ranges(values, wanted, bins):
    """Name, middle and rows of each bin of numbers."""
    good = wanted & np.isfinite(values)
    distinct = np.unique(values[good])
    if len(distinct) <= bins:
        return [(f"{value:.3g}", value, good & (values == value)) for value in distinct]
    edges = np.unique(np.quantile(values[good], np.linspace(0, 1, bins + 1)))
    index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return [
        (f"{edges[i]:.3g} to {edges[i + 1]:.3g}", np.median(values[here]), here)
        for i in range(len(edges) - 1)
        if (here := good & (index == i)).any()
    ]
