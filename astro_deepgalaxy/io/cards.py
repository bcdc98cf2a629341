"""Cards of FITS headers for what users call their files and images."""

import numpy as np
from astropy.io import fits

__all__ = ["card"]


def card(keyword, value, comment=""):
    """A card for any value.

    Parameters
    ----------
    keyword : str
        Keyword of up to eight characters.
    value : str, bool, int or float
        The value. Characters that FITS headers do not allow in a text are escaped as in Python;
        a number that is not finite becomes a text.
    comment : str
        Meaning; left out where a long text takes its room.

    Returns
    -------
    `~astropy.io.fits.Card`
    """
    if isinstance(value, str):
        value = ascii(value)[1:-1]
    elif not np.isfinite(value):
        value = str(value)
    short = len(str(value).replace("'", "''")) + len(comment) <= 64
    return fits.Card(keyword, value, comment if short else "")
