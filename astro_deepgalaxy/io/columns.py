"""What the columns of a table say about its rows, whichever way it tells that nothing is known."""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.utils.masked import Masked

__all__ = ["names_in", "numbers_in", "positions_in", "unique_names"]


def names_in(table, column):
    """Names of the rows.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The table.
    column : str
        Name of the column.

    Returns
    -------
    list of str
        Empty for a row that has none, and for all rows if there is no such column.
    """
    if column not in table.colnames:
        return [""] * len(table)
    values = table[column]
    gaps = np.broadcast_to(getattr(values, "mask", False), len(table))
    if values.dtype.kind == "f":
        gaps = gaps | np.isnan(np.asarray(values))
    names = (str(value).strip() for value in values)
    return ["" if gap else name for name, gap in zip(names, gaps, strict=True)]


def unique_names(names):
    """The same names; the second of a name is called ``name-2``, and so on.

    Parameters
    ----------
    names : list of str
        Names.

    Returns
    -------
    list of str
        The list itself if they were unique already.
    """
    taken = set(names)
    if len(taken) == len(names):
        return names
    last, out = {}, []
    for first in names:
        k = last.get(first, 0) + 1
        while k > 1 and f"{first}-{k}" in taken:
            k += 1
        last[first] = k
        out.append(first if k == 1 else f"{first}-{k}")
    return out


def numbers_in(table, column, unit):
    """Numbers of the rows.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The table.
    column : str
        Name of the column.
    unit : `~astropy.units.Unit`
        Unit of the result, and of a column without one.

    Returns
    -------
    numpy.ndarray
        NaN for a row that has none, and for all rows if there is no such column.

    Raises
    ------
    ValueError
        If they are not numbers, or in another unit.
    """
    if column not in table.colnames:
        return np.full(len(table), np.nan)
    try:
        return np.asarray(u.Quantity(_filled(table[column]), unit).value, dtype=float)
    except (TypeError, ValueError) as error:
        # Sexagesimal text, or another unit.
        raise ValueError(
            f"the column {column!r} of the table is not numbers in {unit or 'no unit'}: {error}"
        ) from error


def positions_in(table):
    """Positions of the rows, from a SkyCoord ``position`` or the columns ``ra`` and ``dec``.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The table.

    Returns
    -------
    ra, dec : numpy.ndarray
        ICRS, in degrees; NaN for a row that has none.

    Raises
    ------
    ValueError
        If they are not numbers, or in another unit.
    """
    if "position" in table.colnames and isinstance(table["position"], SkyCoord):
        sky = table["position"].icrs
        return _filled(sky.ra.deg), _filled(sky.dec.deg)
    return tuple(numbers_in(table, name, u.deg) for name in ("ra", "dec"))


def _filled(column):
    """The column with NaN in its gaps."""
    if isinstance(column, np.ma.MaskedArray | Masked):
        return column.astype(float).filled(np.nan)
    return column
