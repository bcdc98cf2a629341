"""One image of any kind, through the registered readers."""

from pathlib import Path

import numpy as np
from astropy.nddata import NDData

from ..cutout import Cutout
from ..flags import CutoutError, Flag
from ..plugins import get_spec, list_specs
from .files import open_regular
from .fits import split_extension

__all__ = ["image_suffixes", "read_cutout"]

_MAGIC = {b"SIMPLE  =": "fits", b"\xff\xd8\xff": "picture", b"\x89PNG\r\n": "picture"}


def read_cutout(image, **options):
    """Read one image.

    Parameters
    ----------
    image : path, array_like, NDData or Cutout
        A file of a registered format (FITS, JPEG, PNG, ...), or pixels (y, x) or (band, y, x).
    **options
        Options of the reader, such as ``extension="SCI"`` for FITS.

    Returns
    -------
    Cutout

    Raises
    ------
    CutoutError
        If it cannot be read as an image, or has no finite pixel.
    """
    if isinstance(image, Cutout):
        return _not_empty(image)
    if isinstance(image, NDData):
        return _not_empty(_from_nddata(image))
    if not isinstance(image, str | Path):
        try:
            pixels = np.asarray(getattr(image, "value", image), dtype=np.float32)
            cutout = Cutout(pixels, unit=getattr(image, "unit", None), flags=Flag.NO_WCS)
        except (ValueError, TypeError) as error:
            raise CutoutError(f"array: not an image: {error}") from error
        return _not_empty(cutout)
    reader = _reader(image).load()
    try:
        return _not_empty(reader(image, **options))
    except CutoutError:
        raise
    except Exception as error:
        # A stranger's reader may raise anything; one file must not stop a batch.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CutoutError(f"{image}: cannot be read: {reason}") from error


def image_suffixes():
    """File name endings that the registered readers know.

    Returns
    -------
    dict of str to ReaderSpec
    """
    return {suffix: spec for spec in reversed(list_specs("reader")) for suffix in spec.suffixes}


def _reader(path):
    file, _ = split_extension(path)
    name = file.name.lower()
    known = image_suffixes()
    matches = [suffix for suffix in known if name.endswith(suffix)]
    if matches:
        return known[max(matches, key=len)]
    with open_regular(file) as stream:
        head = stream.read(16)
    for magic, reader in _MAGIC.items():
        if head.startswith(magic):
            return get_spec("reader", reader)
    raise CutoutError(
        f"{file}: not an image of a known kind; known endings are {', '.join(sorted(known))}"
    )


def _from_nddata(image):
    variance = getattr(image.uncertainty, "represent_as", None)
    if variance is not None:
        from astropy.nddata import VarianceUncertainty

        variance = variance(VarianceUncertainty).array
    wcs = image.wcs
    if wcs is not None and hasattr(wcs, "low_level_wcs"):
        wcs = wcs.low_level_wcs
    if not (hasattr(wcs, "celestial") and getattr(wcs, "naxis", 0) == 2):
        wcs = None
    try:
        return Cutout(
            image.data,
            mask=image.mask,
            variance=variance,
            wcs=wcs,
            unit=image.unit,
            flags=Flag(0) if wcs is not None else Flag.NO_WCS,
            meta=dict(image.meta),
        )
    except (ValueError, TypeError) as error:
        raise CutoutError(f"NDData: not an image: {error}") from error


def _not_empty(cutout):
    if cutout.mask.all():
        name = cutout.file or cutout.id or "array"
        raise CutoutError(f"{name}: the image has no finite, unmasked pixel", Flag.NO_DATA)
    return cutout
