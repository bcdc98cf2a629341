"""Moving and resampling pixels along the axes of an image, and the WCS with them."""

import numpy as np
from astropy.wcs import Sip

from ..celestial import with_pixels
from ..flags import CutoutError, Flag

__all__ = ["resampling_matrix", "transform_wcs"]


def resampling_matrix(n, size):
    """Weights that resample an axis of `n` pixels to `size` pixels of the same whole extent.

    Fewer pixels are averages over the area that each covers; more pixels are interpolated
    linearly. Both keep the positions of things on the axis.

    Parameters
    ----------
    n, size : int
        Pixels before and after.

    Returns
    -------
    numpy.ndarray
        Matrix (size, n) of float32 whose rows sum to one.
    """
    if size <= n:
        edges = np.arange(size + 1) * (n / size)
        pixels = np.arange(n)
        overlap = np.minimum(edges[1:, np.newaxis], pixels + 1) - np.maximum(
            edges[:-1, np.newaxis], pixels
        )
        weights = np.clip(overlap, 0, None)
    else:
        centres = np.clip((np.arange(size) + 0.5) * (n / size) - 0.5, 0, n - 1)
        weights = np.clip(1 - np.abs(centres[:, np.newaxis] - np.arange(n)), 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def transform_wcs(wcs, origin=(0, 0), factor=(1.0, 1.0)):
    """The WCS of an image that was cut and then resampled.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Two-dimensional WCS; it is not changed.
    origin : tuple of int
        Pixel (x, y), counted from 0, that becomes the first pixel.
    factor : tuple of float
        New pixels per old pixel along x and y.

    Returns
    -------
    `~astropy.wcs.WCS`

    Raises
    ------
    CutoutError
        If the WCS has distortion tables: they cannot be scaled, only reprojected.
    """
    if any((wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        raise CutoutError(
            "the WCS has distortion tables, which cannot be cut or scaled; put 'align' first",
            Flag.PREPROCESS_FAILED,
        )
    origin, factor = np.asarray(origin, dtype=float), np.asarray(factor, dtype=float)
    # Pixel edges stand at half-integer FITS coordinates; they are what scales.
    new = with_pixels(wcs, (wcs.wcs.crpix - origin - 0.5) * factor + 0.5, factor)
    if wcs.sip is not None:
        crpix = (wcs.sip.crpix - origin - 0.5) * factor + 0.5
        a, b, ap, bp = (
            _scale_sip(table, factor, axis)
            for table, axis in (
                (wcs.sip.a, 0),
                (wcs.sip.b, 1),
                (wcs.sip.ap, 0),
                (wcs.sip.bp, 1),
            )
        )
        new.sip = Sip(a, b, ap, bp, crpix)
    return new


def _scale_sip(table, factor, axis):
    """Coefficients of u^p v^q when u and v and the result are counted in other pixels."""
    if table is None:
        return None
    p, q = np.indices(table.shape)
    return table * factor[axis] / (factor[0] ** p * factor[1] ** q)
