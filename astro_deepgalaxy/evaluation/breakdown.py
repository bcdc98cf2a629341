"""What the error of a time depends on."""

import numpy as np
from astropy import units as u

from ..labels import STAGES
from ..metrics import error_bins

__all__ = ["DEPENDENCES", "error_breakdown"]

DEPENDENCES = {
    "stage": "stage",
    "mass_ratio": "mass of the secondary over the primary's",
    "primary_tilt": "tilt of the primary's disc in degrees (0 is face-on)",
    "signal_to_noise": "signal-to-noise ratio of a pixel at the top of the image",
}
"""What errors are shown against: columns of the labels, and the signal-to-noise ratio."""


def error_breakdown(name, error, labels, ratio, groups):
    """Absolute errors of the time in bins of one of `DEPENDENCES`.

    Parameters
    ----------
    name : str
        Which one.
    error : `~astropy.units.Quantity`
        Errors, (n,); NaN where there is none.
    labels : `~astropy.table.QTable`
        Labels of the same images.
    ratio : numpy.ndarray or None
        Their signal-to-noise ratios.
    groups : numpy.ndarray of str
        Their groups.

    Returns
    -------
    list of ErrorBin

    Raises
    ------
    ValueError
        If the labels lack the column, or no image with a time has a value in it.
    """
    if name == "signal_to_noise":
        values = ratio
    elif name not in labels.colnames:
        raise ValueError(f"the labels have no column {name!r}")
    elif name == "stage":
        values = np.ma.filled(np.ma.asarray(labels[name]).astype(str), "")
    else:
        values = np.asarray(np.ma.filled(np.ma.asarray(_plain(labels[name])), np.nan), float)
    names = STAGES if name == "stage" else None
    bins = error_bins(error.to_value(u.Myr), values, groups, names)
    if not bins:
        raise ValueError(f"no image with a true time has a finite {name.replace('_', ' ')}")
    return bins


def _plain(column):
    return column.value if isinstance(column, u.Quantity) else column
