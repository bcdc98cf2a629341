"""Point-spread functions: profiles, and images from FITS files."""

import math

import numpy as np
from scipy.special import erf

from ..flags import CutoutError
from ..io.fits import read_fits
from .header import header_number, image_header

__all__ = ["MOFFAT_BETA", "centred_psf", "psf", "read_psf"]

MOFFAT_BETA = 4.765
"""Index of the Moffat profile of turbulence (Trujillo et al. 2001, MNRAS 328, 977)."""

_OVERSAMPLING = 9
_SCALES = ("PIXSCALE", "PIXELSCL", "PIXSCAL1")  # arcsec, as common programs write them
_TOLERANCE = 0.01


def psf(shape, fwhm, beta=MOFFAT_BETA):
    """Image of a point source.

    Parameters
    ----------
    shape : str
        ``gaussian`` or ``moffat``.
    fwhm : float
        Full width at half maximum in pixels.
    beta : float
        Index of the Moffat profile, by default that of atmospheric turbulence.

    Returns
    -------
    numpy.ndarray
        Flux per pixel, with its sum 1, centred on the middle one; square with an odd side.
    """
    if shape == "gaussian":
        sigma = fwhm / math.sqrt(8 * math.log(2))
        half = max(1, math.ceil(5 * sigma))
        profile = np.diff(erf((np.arange(2 * half + 2) - half - 0.5) / (sigma * math.sqrt(2))))
        kernel = np.outer(profile, profile)
    else:
        half = max(1, math.ceil(4 * fwhm))
        n = (2 * half + 1) * _OVERSAMPLING
        offset = ((np.arange(n) + 0.5) / _OVERSAMPLING - half - 0.5) ** 2
        width2 = fwhm**2 / (4 * (2 ** (1 / beta) - 1))
        fine = (1 + (offset[:, None] + offset) / width2) ** -beta
        kernel = fine.reshape(2 * half + 1, _OVERSAMPLING, -1, _OVERSAMPLING).sum(axis=(1, 3))
    return kernel / kernel.sum()


def centred_psf(image):
    """Image of a point source with its sum 1 and its centre on the middle pixel.

    Parameters
    ----------
    image : array_like
        Image of a point source, (y, x), centred on the pixel ``n // 2`` (counted from 0) of each
        axis: the middle one of an odd number, the one after the middle of an even number.

    Returns
    -------
    numpy.ndarray
        Flux per pixel, with odd sides: an even one gets a row or column of zeros at its end.

    Raises
    ------
    ValueError
        If the image is not two-dimensional and finite with a positive sum.
    """
    image = np.asarray(image, float)
    if image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"it must be one image (y, x); got the shape {image.shape}")
    if not np.isfinite(image).all():
        raise ValueError("all of its pixels must be finite")
    if not image.sum() > 0:
        raise ValueError(f"the sum of its pixels must be positive; got {image.sum():.3g}")
    return np.pad(image / image.sum(), [(0, 1 - n % 2) for n in image.shape])


def read_psf(path, pixel_scale):
    """Read the image of a point source.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        FITS file with one image, centred as `centred_psf` says; ``file.fits[2]`` chooses an
        extension.
    pixel_scale : float
        Pixel scale of the images to blur in arcsec. A file that says what its own is (by a
        celestial WCS, or by PIXSCALE, PIXELSCL or PIXSCAL1 in arcsec) must agree to 1 %; of
        another one it is assumed.

    Returns
    -------
    numpy.ndarray
        Flux per pixel with its sum 1, centred on the middle of odd sides.

    Raises
    ------
    CutoutError
        If the file is no such image, or has another pixel scale.
    """
    cutout = read_fits(path)
    try:
        if len(cutout.data) > 1:
            raise ValueError(f"it must be one image (y, x); got {len(cutout.data)} planes")
        image = centred_psf(cutout.data[0])
    except ValueError as error:
        raise CutoutError(f"{path}: cannot be used as a PSF: {error}") from error
    own = _pixel_scale(cutout, path)
    if own is not None and abs(own / pixel_scale - 1) > _TOLERANCE:
        raise CutoutError(
            f"{path}: the PSF has pixels of {own:.4g} arcsec, but the images have "
            f"{pixel_scale:.4g} arcsec; resample it first"
        )
    return image


def _pixel_scale(cutout, path):
    """What a PSF's file says about its pixel scale in arcsec, or None."""
    if cutout.wcs is not None:
        return cutout.pixel_scale.value
    header = image_header(path)
    numbers = (header_number(header, key, path) for key in _SCALES)
    return next((number for number in numbers if number is not None), None)
