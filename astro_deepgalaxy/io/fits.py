"""FITS images as cutouts."""

import re
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS

from ..cutout import Cutout
from ..flags import CutoutError, Flag

__all__ = ["read_fits", "split_extension"]

_MAX_PLANES = 16
_NUMBERS = ("CRVAL", "CRPIX", "CDELT")


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
        masked. Bands are named from BANDS, BAND0..., or FILTER.

    Raises
    ------
    CutoutError
        If the file is missing, damaged or holds no such image.
    """
    path, named = split_extension(path)
    extension = named if extension is None else extension
    try:
        with warnings.catch_warnings():
            # Odd but harmless headers are the rule; what matters is checked below.
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(path, memmap=False, uint=False, lazy_load_hdus=True) as hdus:
                header, data = _image(hdus, extension, path)
            wcs = _celestial(header)
    except CutoutError:
        raise
    except FileNotFoundError as error:
        raise CutoutError(f"{path}: no such file") from error
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, MemoryError) as error:
        message = f"{path}: cannot be read as FITS, it may be truncated or something else: {error}"
        raise CutoutError(" ".join(message.split())) from error
    planes = data[np.newaxis] if data.ndim == 2 else data
    if not np.isfinite(planes).any():
        raise CutoutError(f"{path}: the image has no finite pixel", Flag.NO_DATA)
    return Cutout(
        planes,
        id=image_stem(path),
        file=str(path),
        bands=_bands(header, len(planes)),
        wcs=wcs,
        unit=_unit(str(header.get("BUNIT", ""))),
        flags=Flag(0) if wcs is not None else Flag.NO_WCS,
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


def _image(hdus, extension, path):
    """Header and pixels (y, x) or (band, y, x) of the chosen or the first image."""
    if extension is not None:
        try:
            hdu = hdus[extension]
        except (KeyError, IndexError) as error:
            names = [hdu.name or str(i) for i, hdu in enumerate(hdus)]
            raise CutoutError(
                f"{path}: has no extension {extension!r}; it has {', '.join(names)}"
            ) from error
        if not hdu.is_image or hdu.data is None:
            raise CutoutError(f"{path}: the extension {extension!r} is not an image")
        return hdu.header, _planes(hdu.data, path)
    for hdu in hdus:
        if hdu.is_image and sum(n > 1 for n in hdu.shape) >= 2:
            return hdu.header, _planes(hdu.data, path)
    raise CutoutError(f"{path}: holds no image of two or three axes")


def _planes(data, path):
    """Pixels without axes of length one."""
    if data.ndim > 3:
        data = data.reshape([n for n in data.shape[:-2] if n > 1] + list(data.shape[-2:]))
    if data.ndim not in (2, 3) or min(data.shape[-2:]) < 2:
        raise CutoutError(
            f"{path}: expected an image (y, x) or a cube of bands; got the shape {data.shape}"
        )
    if data.ndim == 3 and len(data) > _MAX_PLANES:
        raise CutoutError(
            f"{path}: {len(data)} planes are a spectral cube, not bands (at most {_MAX_PLANES}); "
            "sum it over wavelength first"
        )
    return np.asarray(data, dtype=np.float32)


def _celestial(header):
    """WCS of the two image axes, or None when there is none that can be used."""
    # wcslib takes a text for zero, which is a place in the sky.
    if any(isinstance(header.get(f"{key}{i}"), str) for key in _NUMBERS for i in (1, 2)):
        return None
    try:
        wcs = WCS(header, naxis=2)
        if not wcs.has_celestial:
            return None
        scales = wcs.pixel_scale_matrix
        position = wcs.pixel_to_world_values(header["NAXIS1"] / 2, header["NAXIS2"] / 2)
    except Exception:
        # Anything may stand in a header; wcslib raises errors of many kinds.
        return None
    if not np.isfinite(position).all() or abs(np.linalg.det(scales)) < 1e-20:
        return None
    return wcs


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
def _unit(text):
    # Parsing a unit, above all one that is none, takes longer than reading a small image.
    try:
        return u.Unit(text.strip()) if text.strip() else None
    except (ValueError, TypeError):
        return None
