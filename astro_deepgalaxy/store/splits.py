"""Splits by group: the images of one simulation or galaxy never stand on two sides."""

import numpy as np

__all__ = ["groups_of", "split_by_group"]


def groups_of(table):
    """The group of each image: its simulation or galaxy.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Label table with a column ``id``.

    Returns
    -------
    numpy.ndarray of str
        The column ``group``; the ``id`` where there is none.
    """
    ids = np.asarray(table["id"], dtype=str)
    if "group" not in table.colnames:
        return ids
    groups = np.ma.filled(np.ma.asarray(table["group"]).astype(str), "")
    return np.where(groups == "", ids, groups)


def split_by_group(groups, fraction, seed=0):
    """Set some groups aside.

    Parameters
    ----------
    groups : array_like of str, (n,)
        Group of each row.
    fraction : float
        Share of the groups to set aside, in (0, 1); at least one group stays on each side.
    seed : int
        Seed of the draw.

    Returns
    -------
    kept, aside : numpy.ndarray of int
        Row numbers of the two sides, ascending.

    Raises
    ------
    ValueError
        If there are fewer than two groups or the fraction is not inside (0, 1).

    Examples
    --------
    >>> from astro_deepgalaxy.store import split_by_group
    >>> kept, aside = split_by_group(["a", "a", "b", "c"], 0.3)
    >>> len(kept) + len(aside)
    4
    """
    groups = np.asarray(groups, dtype=str)
    names = np.unique(groups)
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1; got {fraction}")
    if len(names) < 2:
        raise ValueError(
            f"a split by group needs at least two groups; all {len(groups)} rows are of "
            f"{names.tolist()}"
        )
    n_aside = int(np.clip(round(fraction * len(names)), 1, len(names) - 1))
    aside = np.random.default_rng(seed).choice(names, n_aside, replace=False)
    is_aside = np.isin(groups, aside)
    return np.flatnonzero(~is_aside), np.flatnonzero(is_aside)
