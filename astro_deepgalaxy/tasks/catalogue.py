"""The table of answers: a row for every image, with a result or without."""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from ..flags import decode_flags

__all__ = ["about_table", "build_catalogue"]

_EMPTY = {"f": np.nan, "i": -1, "U": "", "b": False}


def build_catalogue(about, filled, parts):
    """Put the rows of a catalogue together.

    Parameters
    ----------
    about : list of dict
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
    n, filled = len(about), np.array(filled, dtype=int)
    known = about_table(about)
    table = known["id", "file", "sky"]
    for name in parts[0][0]:
        values = np.concatenate([columns[name] for columns, _ in parts])
        table[name] = _spread(values, filled, n)
    flags = np.array(known["flags"])
    flags[filled] |= np.concatenate([new for _, new in parts]).astype(np.int32)
    table["flags"] = flags
    table["flag_names"] = np.array([decode_flags(mask) for mask in flags], dtype=str)
    table["reason"] = known["reason"]
    return table


def about_table(about):
    """What is known of images as a table.

    Parameters
    ----------
    about : list of dict
        ``id, file, ra, dec, flags, reason`` of every image.

    Returns
    -------
    `~astropy.table.QTable`
        ``id, file, sky, flags, reason``.
    """
    values = {
        name: [row[name] for row in about]
        for name in ("id", "file", "ra", "dec", "flags", "reason")
    }
    ra, dec = (np.array(values[name], dtype=float) for name in ("ra", "dec"))
    return QTable(
        {
            "id": np.array(values["id"], dtype=str),
            "file": np.array(values["file"], dtype=str),
            "sky": SkyCoord(ra, dec, unit="deg"),
            "flags": np.array(values["flags"], dtype=np.int32),
            "reason": np.array(values["reason"], dtype=str),
        }
    )


def _spread(values, filled, n):
    """`values` at the rows `filled` of a column of `n`; the others are empty."""
    if isinstance(values, u.Quantity):
        return _spread(values.value, filled, n) << values.unit
    column = np.full((n, *values.shape[1:]), _EMPTY[values.dtype.kind], dtype=values.dtype)
    column[filled] = values
    return column
