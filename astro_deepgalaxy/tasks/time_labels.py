"""What a column of times, or of the numbers of time classes, teaches a network."""

import numpy as np
from astropy import units as u

from ..store import ClassTarget, TimeTarget
from ..store.targets import numbers

__all__ = ["time_target", "true_time"]

_SPARSE = "sparse_categorical_crossentropy"


def time_target(table, column, scale, width, loss=None):
    """The target of the time classes.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        Label table.
    column : str
        Its column of times, or of whole numbers that are classes already.
    scale : TimeScale
        What the classes mean.
    width : float
        Width of the targets in Myr; 0 gives whole classes.
    loss : str, optional
        Loss they are learned with; that of the target by default.

    Returns
    -------
    ClassTarget or TimeTarget

    Raises
    ------
    ValueError
        If there is no such column, it has no time inside the scale, or the loss is for other
        targets.
    """
    if column not in table.colnames:
        raise ValueError(
            f"the labels have no column {column!r} (in Myr); they have {table.colnames}"
        )
    if not np.isfinite(true_time(table, column, scale)).any():
        raise ValueError(
            f"no image has a time in the label column {column!r} that is inside the time scale, "
            f"which goes from {scale.edges[0]:g} to {scale.edges[-1]:g}"
        )
    numbered = _has_class_numbers(table, column)
    if numbered and loss not in (None, _SPARSE):
        raise ValueError(
            f"time_loss {loss!r} is for times, and the label column {column!r} has class numbers: "
            "leave it out, or give times in Myr"
        )
    if not numbered and width and loss == _SPARSE:
        raise ValueError(f"time_loss {loss!r} is for whole classes: set target_width to 0")
    if numbered or (width == 0 and loss in (None, _SPARSE)):
        return ClassTarget(scale.n, column, None if numbered else scale)
    return TimeTarget(scale, width, column)


def true_time(table, column, scale):
    """Times of a label table.

    Parameters
    ----------
    table, column, scale
        As of `time_target`.

    Returns
    -------
    `~astropy.units.Quantity`
        (n,) in Myr, the middle of a class where classes are given; NaN where there is no time
        inside the scale.
    """
    if _has_class_numbers(table, column):
        classes, known = ClassTarget(scale.n, column).encode(table)
        time = scale.centres[classes[:, 0].astype(int)]
    else:
        time = numbers(table[column], u.Myr) * u.Myr
        known = scale.classify(time) >= 0
    return np.where(known, time, np.nan * u.Myr)


def _has_class_numbers(table, column):
    return np.ma.asarray(table[column]).dtype.kind in "iu"
