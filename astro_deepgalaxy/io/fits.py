"""FITS images as cutouts."""

import re
import warnings
from functools import lru_cache
from itertools import chain
from math import prod
from pathlib import Path

import numpy as np
from astropy import units as u

from ..config import conf
from ..cutout import Cutout
from ..flags import CutoutError, Flag
from .compressed import read_tiles
from .files import open_unpacked
from .hdus import list_hdus, read_exactly
from .header_wcs import celestial_wcs
from .saturation import is_saturated

__all__ = [
    "DTYPES",
    "choose_hdu",
    "image_stem",
    "image_unit",
    "physical_values",
    "read_fits",
    "split_extension",
]

_MAX_PLANES = 16
_PART = 2**22
DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
"""Types of pixels in a file, by BITPIX."""

# As instruments write them, against the standard; in lower case.
_UNITS = {
    "electrons": "electron",
    "electrons/s": "electron / s",
    "electrons/sec": "electron / s",
    "e-": "electron",
    "e-/s": "electron / s",
    "counts": "ct",
    "counts/s": "ct / s",
    "counts/sec": "ct / s",
    "adu": "adu",
    "adu/s": "adu / s",
    "jy": "Jy",
    "jy/beam": "Jy / beam",
    "nanomaggies": "nmgy",
    "erg/s/cm2/ang": "erg / (s cm2 Angstrom)",
    "erg/s/cm^2/ang": "erg / (s cm2 Angstrom)",
    "erg/cm2/s/ang": "erg / (s cm2 Angstrom)",
    "erg/cm^2/s/ang": "erg / (s cm2 Angstrom)",
}
# A power of so many digits keeps the parser busy for hours.
_MAX_UNIT, _LONG_NUMBER = 80, re.compile(r"(?<![\d.])\d{4}")


def read_fits(path, extension=None):
    """Read one image from a FITS file.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        Plain, gzip, bzip2 or tile-compressed file; ``file.fits[SCI]`` and ``file.fits[1]`` choose
        an extension.
    extension : str or int, optional
        The extension, instead of in the name. By default the first image of two or three axes.

    Returns
    -------
    Cutout
        Pixels (band, y, x) with BZERO, BSCALE and BLANK applied; pixels that are not finite are
        masked. Bands are named from BANDS, BAND0..., or FILTER, of the first header too. The flags
        `Flag.NO_WCS`, `Flag.WCS_SUSPECT` and `Flag.SATURATED` are set.

    Raises
    ------
    CutoutError
        If the file is missing, damaged, holds no such image, or one of more pixels than
        ``astro_deepgalaxy.config.conf.max_image_pixels``.
    """
    path, named = split_extension(path)
    extension = named if extension is None else extension
    # A packed file of one float32 image at the limit, and its header.
    limit = 4 * conf.max_image_pixels + 2**20
    try:
        # Odd but harmless headers are the rule; what matters is checked below.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            with open_unpacked(path, limit) as stream:
                hdus = list_hdus(stream, path)
                first = next(hdus)
                hdu = choose_hdu(chain([first], hdus), extension, path)
                shape = _plane_shape(hdu.shape, path)
                _scaling(hdu.header)
                if hdu.tiled:
                    planes, header = read_tiles(stream, hdu, path)
                else:
                    planes, header = _read_plain(stream, hdu, path), hdu.header
            planes = np.asarray(planes.reshape(shape), dtype=np.float32)
            wcs, suspect = celestial_wcs(header, shape[1:])
            saturated = is_saturated(header, planes)
    except CutoutError:
        raise
    except Exception as error:
        # astropy raises errors of any kind on damaged files.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CutoutError(
            f"{path}: cannot be read as FITS, it may be truncated or damaged: {reason}"
        ) from error
    if not np.isfinite(planes).any():
        raise CutoutError(f"{path}: the image has no finite pixel", Flag.NO_DATA)
    flags = Flag(0) if wcs is not None else Flag.NO_WCS
    return Cutout(
        planes,
        id=image_stem(path),
        file=str(path),
        bands=_bands(header, len(planes)) or _bands(first.header, len(planes)),
        wcs=wcs,
        unit=image_unit(str(header.get("BUNIT", ""))),
        flags=flags | (suspect and Flag.WCS_SUSPECT) | (saturated and Flag.SATURATED),
    )


def split_extension(path):
    """Split ``file.fits[SCI]`` into the file and the extension.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        A path, with or without an extension in brackets at its end.

    Returns
    -------
    path : `~pathlib.Path`
        The file.
    extension : str, int or None
        What stood in the brackets.
    """
    match = re.fullmatch(r"(.+)\[([^\[\]]+)\]", str(path))
    if match is None or Path(path).exists():
        return Path(path), None
    name = match[2].strip()
    return Path(match[1]), int(name) if name.isdecimal() else name


def image_stem(path):
    """Name of an image file without its suffixes, ``m51`` for ``m51.fits.gz``."""
    path = Path(path)
    if path.suffix.lower() in (".gz", ".bz2", ".fz"):
        path = path.with_suffix("")
    return path.stem


def choose_hdu(hdus, extension, path):
    """The chosen or the first image of a file.

    Parameters
    ----------
    hdus : iterable of Hdu
        What the file holds.
    extension : str, int or None
        Name or number; None for the first image of two axes or more.
    path : str or `~pathlib.Path`
        Name of the file, for messages.

    Returns
    -------
    Hdu

    Raises
    ------
    CutoutError
        If there is no such image.
    """
    if extension is None:
        for hdu in hdus:
            if sum(n > 1 for n in hdu.shape) >= 2:
                return hdu
        raise CutoutError(f"{path}: holds no image of two or three axes")
    wanted, names = extension, []
    if isinstance(wanted, str):
        wanted = wanted.strip().upper()
    elif wanted < 0:
        hdus = list(hdus)
        wanted += len(hdus)
    for i, hdu in enumerate(hdus):
        names.append(hdu.name or str(i))
        if wanted in (i, hdu.name.upper()):
            chosen = hdu
            break
    else:
        raise CutoutError(f"{path}: has no extension {extension!r}; it has {', '.join(names[:20])}")
    if not prod(chosen.shape) or not chosen.shape:
        raise CutoutError(f"{path}: the extension {extension!r} is not an image")
    return chosen


def _plane_shape(shape, path):
    """Shape (band, y, x) of an image, without axes of length one."""
    if prod(shape) > conf.max_image_pixels:
        raise CutoutError(
            f"{path}: an image of {' x '.join(map(str, shape[::-1]))} pixels is more than the "
            f"limit of {conf.max_image_pixels}; cut it up, or raise max_image_pixels"
        )
    if len(shape) > 3:
        shape = (*(n for n in shape[:-2] if n > 1), *shape[-2:])
    if len(shape) not in (2, 3) or min(shape[-2:]) < 2:
        raise CutoutError(
            f"{path}: expected an image (y, x) or a cube of bands; got the shape {shape}"
        )
    if len(shape) == 3 and shape[0] > _MAX_PLANES:
        raise CutoutError(
            f"{path}: {shape[0]} planes are a spectral cube, not bands (at most {_MAX_PLANES}); "
            "sum it over wavelength first"
        )
    return (1, *shape)[-3:]


def _read_plain(stream, hdu, path):
    """Physical values of an image that is not compressed, all axes in one."""
    dtype = np.dtype(DTYPES[hdu.bitpix])
    size = prod(hdu.shape) * dtype.itemsize
    stored = np.frombuffer(read_exactly(stream, hdu.data, size, path), dtype)
    if len(stored) <= _PART:
        return physical_values(stored, hdu)
    # The float64 on the way would double the memory of a large image.
    planes = np.empty(len(stored), dtype=np.float32)
    for i in range(0, len(stored), _PART):
        planes[i : i + _PART] = physical_values(stored[i : i + _PART], hdu)
    return planes


def physical_values(stored, hdu):
    """Pixels as the header scales them.

    Parameters
    ----------
    stored : numpy.ndarray
        What stands in the file, of the type `DTYPES` has for its BITPIX.
    hdu : Hdu
        The image.

    Returns
    -------
    numpy.ndarray
        BSCALE and BZERO applied; NaN where BLANK says so.

    Raises
    ------
    ValueError
        If BSCALE or BZERO is not a number.
    """
    scale, zero = _scaling(hdu.header)
    blank = hdu.header.get("BLANK") if hdu.bitpix > 0 else None
    if scale == 1 and zero == 0 and type(blank) is not int:
        return stored
    if hdu.bitpix == 64 and scale == 1 and zero == 2.0**63:
        # Unsigned: added as floats, small numbers would lose all their digits.
        pixels = (stored.astype(np.int64).view(np.uint64) ^ np.uint64(2**63)).astype(np.float64)
        if type(blank) is int:
            pixels[stored == blank] = np.nan
        return pixels
    # 16 bits fit in a float32; the standard has BLANK for integers only.
    exact = {8: np.float32, 16: np.float32, -32: np.float32}.get(hdu.bitpix, np.float64)
    pixels = stored.astype(exact)
    if scale != 1:
        pixels *= scale
    if zero != 0:
        pixels += zero
    if type(blank) is int:
        pixels[stored == blank] = np.nan
    return pixels


def _scaling(header):
    """BSCALE and BZERO; ValueError if one is not a number."""
    scaling = {"BSCALE": header.get("BSCALE", 1), "BZERO": header.get("BZERO", 0)}
    for key, value in scaling.items():
        if type(value) not in (int, float):
            raise ValueError(f"{key} is {value!r}; expected a number")
    return scaling.values()


def _bands(header, n):
    named = [str(header.get(f"BAND{i}", "")).strip() for i in range(n)]
    if all(named):
        return named
    together = str(header.get("BANDS", "")).strip()
    if len(together) == n:
        return list(together)
    if n == 1:
        for key in ("FILTER", "FILTER1", "FILTER2", "BAND"):
            name = str(header.get(key, "")).strip()
            if name and not name.upper().startswith("CLEAR"):
                return [name]
    return None


@lru_cache
def image_unit(text):
    """The unit of an image.

    Parameters
    ----------
    text : str
        Its BUNIT.

    Returns
    -------
    `~astropy.units.Unit` or None
        None when there is none, or none that is known.
    """
    # Parsing a unit, above all one that is none, takes longer than reading a small image.
    text = " ".join(text.split())
    text = _UNITS.get(text.lower().replace(" ", ""), text)
    if not text or len(text) > _MAX_UNIT or _LONG_NUMBER.search(text):
        return None
    try:
        unit = u.Unit(text)
    except (ValueError, TypeError):
        return None
    return unit if np.isfinite(getattr(unit, "scale", 1.0)) else None
