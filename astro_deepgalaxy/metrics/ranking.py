"""Whether two columns put galaxies in the same order."""

from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import spearmanr

from .bootstrap import bootstrap_range

__all__ = ["RankCorrelation", "rank_correlation"]


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation.

    Attributes
    ----------
    n : int
        Pairs of values.
    rho : float
        The correlation: 1 for the same order, 0 for none, -1 for the reverse.
    low, high : float
        Its 95 % range when the pairs of values are drawn again.
    """

    n: int
    rho: float
    low: float
    high: float

    def to_dict(self):
        """The figures as plain data."""
        return asdict(self)


def rank_correlation(first, second, seed=0):
    """Spearman's rank correlation of two columns, with its bootstrap range.

    Parameters
    ----------
    first, second : array_like, (n,)
        Values of the same galaxies; rows where either is not finite are left out.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    RankCorrelation

    Raises
    ------
    ValueError
        If fewer than three rows have both values, or one column has the same value everywhere.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    good = np.isfinite(first) & np.isfinite(second)
    first, second = first[good], second[good]
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        raise ValueError(
            f"an order needs three galaxies or more whose values differ; {len(first)} have both "
            "values"
        )

    def rho(rows):
        if np.ptp(first[rows]) == 0 or np.ptp(second[rows]) == 0:
            return np.nan
        return spearmanr(first[rows], second[rows]).statistic

    low, high = bootstrap_range(rho, np.arange(len(first)), resamples=2000, seed=seed)
    return RankCorrelation(
        n=len(first), rho=float(rho(np.arange(len(first)))), low=float(low), high=float(high)
    )
