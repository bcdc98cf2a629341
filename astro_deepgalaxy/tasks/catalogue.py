"""The table of answers: a row for every image, with a result or without."""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from ..flags import decode_flags

__all__ = ["build_catalogue"]

_EMPTY = {"f": np.nan, "i": -1, "U": "", "b": False}


def build_catalogue(about, filled, parts):
    """Put the rows of a catalogue together.

    Parameters
    ----------
    about : dict of str to list
        What is known of every image: ``id, file, ra, dec, flags, reason``.
    filled : sequence of int
        The rows that have a result, in order.
    parts : list of (dict, array)
        Columns and flags of these rows, batch by batch; at least one, which may be empty.

    Returns
    -------
    `~astropy.table.QTable`
        ``id, file, sky``, the columns, ``flags, flag_names, reason``. In rows without a result
        the columns hold NaN, -1, or an empty text.
    """
    n, filled = len(about["id"]), np.array(filled, dtype=int)
    table = QTable()
    table["id"] = np.array(about["id"], dtype=str)
    table["file"] = np.array(about["file"], dtype=str)
    ra, dec = (np.array(about[name], dtype=float) for name in ("ra", "dec"))
    table["sky"] = SkyCoord(ra, dec, unit="deg")
    for name in parts[0][0]:
        values = np.concatenate([columns[name] for columns, _ in parts])
        table[name] = _spread(values, filled, n)
    flags = np.array(about["flags"], dtype=np.int32)
    flags[filled] |= np.concatenate([new for _, new in parts]).astype(np.int32)
    table["flags"] = flags
    table["flag_names"] = np.array([decode_flags(mask) for mask in flags], dtype=str)
    table["reason"] = np.array(about["reason"], dtype=str)
    return table


def _spread(values, filled, n):
    """`values` at the rows `filled` of a column of `n`; the others are empty."""
    if isinstance(values, u.Quantity):
        return _spread(values.value, filled, n) << values.unit
    column = np.full((n, *values.shape[1:]), _EMPTY[values.dtype.kind], dtype=values.dtype)
    column[filled] = values
    return column
