"""Header of an image in a FITS file, for what its pixels and its WCS do not say."""

import math
import warnings

from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from ..flags import CutoutError
from ..io.fits import split_extension

__all__ = ["header_number", "image_header"]


def image_header(path):
    """Header of the image that `~astro_deepgalaxy.io.read_cutout` takes from a FITS file.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        FITS file, which may end in an extension in brackets.

    Returns
    -------
    `~astropy.io.fits.Header`
        Its cards, then those of the primary header that it lacks: surveys leave there what all
        extensions share.

    Raises
    ------
    CutoutError
        If there is no such image.
    """
    file, extension = split_extension(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(file, memmap=False) as hdus:
                if extension is None:
                    images = (h for h in hdus if h.is_image and sum(n > 1 for n in h.shape) > 1)
                    hdu = next(images)
                else:
                    hdu = hdus[extension]
                header = hdu.header.copy()
                if hdu is not hdus[0]:
                    header.extend(hdus[0].header, unique=True)
                return header
    except (OSError, KeyError, IndexError, StopIteration, TypeError, ValueError) as error:
        raise CutoutError(f"{path}: holds no such FITS image: {error}") from error


def header_number(header, key, path):
    """A number in a header.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        The header.
    key : str
        Keyword.
    path : str or `~pathlib.Path`
        The file, for the error message.

    Returns
    -------
    float or None
        None if there is no such card.

    Raises
    ------
    CutoutError
        If its value is not a finite number.
    """
    value = header.get(key)
    if value is None or isinstance(value, fits.card.Undefined):
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise CutoutError(f"{path}: {key} must be a number; got {value!r}")
    return number
