"""Where a detector reached its limit."""

import numpy as np
from scipy.ndimage import label

__all__ = ["is_saturated", "saturation_level"]

_KEYS = ("SATURATE", "SATLEVEL")
_PLATEAU_PIXELS = 8
# Noise and the wings of a galaxy do not reach this many times the spread of the pixels.
_PLATEAU_HEIGHT = 30


def is_saturated(header, planes):
    """Whether an image reaches its saturation level.

    Parameters
    ----------
    header : Cards
        Header of the image.
    planes : numpy.ndarray
        Physical values (band, y, x); pixels that are not finite are left out.

    Returns
    -------
    bool
        Whether a pixel reaches the level of SATURATE or SATLEVEL. Without a level: whether a pixel
        stands at the top of the integer range of the file, or at least 8 connected pixels of a
        plane share its maximum, far above the rest.
    """
    tops = [_top(plane) for plane in planes]
    level = saturation_level(header)
    if level is not None:
        return max(tops) >= np.float32(level)
    bitpix = header.get("BITPIX")
    if bitpix > 0:
        zero = header.get("BZERO", 0)
        lowest = 0 if bitpix == 8 else -(2 ** (bitpix - 1))
        # A range of floats that was stretched over the integers reaches their top always.
        unscaled = header.get("BSCALE", 1) == 1 and zero in (0, -lowest, -128)
        if unscaled and max(tops) >= np.float32(lowest + 2**bitpix - 1 + zero):
            return True
    return any(_plateau(plane, top) for plane, top in zip(planes, tops, strict=True))


def saturation_level(header):
    """Saturation level that a header tells.

    Parameters
    ----------
    header : Cards
        Header of the image.

    Returns
    -------
    float or None
        SATURATE or SATLEVEL, if it is a positive number; in units of the pixels.
    """
    return next((v for v in map(_number, map(header.get, _KEYS)) if v > 0), None)


def _top(plane):
    """Largest finite pixel, -inf when there is none."""
    top = plane.max()
    if np.isfinite(top):
        return top
    return plane.max(where=np.isfinite(plane), initial=-np.inf)


def _number(value):
    """A finite number, or zero for anything else."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if real and abs(value) < np.inf else 0.0


def _plateau(plane, top):
    at_top = plane == top
    if np.count_nonzero(at_top) < _PLATEAU_PIXELS:
        return False
    low, middle, high = np.nanpercentile(plane, [16, 50, 84])
    # Masks and empty images have no spread.
    if not (low < middle < high and top - middle > _PLATEAU_HEIGHT * (high - middle)):
        return False
    regions, _ = label(at_top, np.ones((3, 3)))
    return np.bincount(regions[at_top]).max() >= _PLATEAU_PIXELS
