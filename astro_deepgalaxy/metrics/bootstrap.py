"""How far a figure of merit would move with other simulations: the bootstrap over groups."""

import numpy as np

__all__ = ["bootstrap_range"]


def bootstrap_range(statistic, groups, level=0.95, resamples=1000, seed=0):
    """Range of a statistic when whole groups are drawn again, with replacement.

    Images of one simulation resemble each other: what varies from survey to survey is which
    simulations there are. The range holds the middle `level` of the resampled values (the
    percentile method of Efron 1979).

    Parameters
    ----------
    statistic : callable
        ``statistic(rows)`` returns a number, or an array, for row numbers that may repeat.
    groups : array_like, (n,)
        Group of each row.
    level : float
        Share of the resampled values inside the range.
    resamples : int
        How often groups are drawn.
    seed : int
        Seed of the draws.

    Returns
    -------
    low, high : float or numpy.ndarray
        Borders of the range, of the shape that `statistic` returns; NaN for one group alone,
        which says nothing about others.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_deepgalaxy.metrics import bootstrap_range
    >>> error = np.array([1.0, 1.0, 5.0, 5.0])
    >>> low, high = bootstrap_range(lambda rows: error[rows].mean(), ["a", "a", "b", "b"])
    >>> print(low, high)
    1.0 5.0
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    members = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    if len(members) < 2:
        nothing = np.full(np.shape(statistic(members[0])), np.nan)[()]
        return nothing, nothing
    rng = np.random.default_rng(seed)
    values = [
        statistic(np.concatenate([members[i] for i in drawn]))
        for drawn in rng.integers(len(members), size=(resamples, len(members)))
    ]
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
