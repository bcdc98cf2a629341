"""JPEG and PNG pictures as cutouts."""

import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..config import conf
from ..cutout import Cutout
from ..flags import CutoutError, Flag
from .files import open_regular
from .fits import image_stem

__all__ = ["read_picture"]

# Encoders make about ten.
_MAX_SCANS = 64


def read_picture(path):
    """Read a picture.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        JPEG or PNG file, in colour or grey, of 8 or 16 bits. Transparency is ignored; the
        orientation in its EXIF tags is not.

    Returns
    -------
    Cutout
        Bands ``red, green, blue`` or ``grey`` in [0, 1]. The first row of pixels is the bottom of
        the picture, as in FITS. The flags `Flag.PICTURE` and `Flag.NO_WCS` are set.

    Raises
    ------
    CutoutError
        If the file is missing, damaged, not a picture, or larger than
        ``astro_deepgalaxy.config.conf.max_picture_pixels``.
    """
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    try:
        # Odd palettes and tags are harmless.
        with warnings.catch_warnings(), open_regular(path) as stream:
            warnings.simplefilter("ignore")
            # Other formats of Pillow start other programs, or read other files.
            with Image.open(stream, formats=("JPEG", "PNG")) as picture:
                _check_size(picture, stream, path)
                picture.load()
                _turn(picture)
                pixels, bands = _pixels(picture)
    except CutoutError:
        raise
    except UnidentifiedImageError as error:
        raise CutoutError(f"{path}: not a JPEG or PNG picture") from error
    except Image.DecompressionBombError as error:
        raise CutoutError(f"{path}: cut it up: {error}") from error
    except Exception as error:
        # Pillow raises errors of many kinds on damaged files.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CutoutError(f"{path}: the picture is damaged or truncated: {reason}") from error
    return Cutout(
        pixels[:, ::-1],
        id=image_stem(path),
        file=str(path),
        bands=bands,
        flags=Flag.PICTURE | Flag.NO_WCS,
    )


def _check_size(picture, stream, path):
    width, height = picture.size
    if width * height > conf.max_picture_pixels:
        raise CutoutError(
            f"{path}: {width} x {height} pixels are more than the limit of "
            f"{conf.max_picture_pixels}; cut it up, or raise max_picture_pixels"
        )
    # A progressive JPEG passes over all pixels once for each scan, which a few bytes may be.
    if picture.format != "PNG" and picture.info.get("progressive"):
        start = stream.tell()
        stream.seek(0)
        scans = stream.read().count(b"\xff\xda")
        stream.seek(start)
        if scans > _MAX_SCANS:
            raise CutoutError(
                f"{path}: {scans} scans are no picture; at most {_MAX_SCANS} are read"
            )


def _turn(picture):
    """Turn a picture upright, as viewers show it."""
    from PIL import ImageOps

    # Damaged tags raise errors of many kinds, and say nothing of the picture.
    with suppress(Exception):
        ImageOps.exif_transpose(picture, in_place=True)


def _pixels(picture):
    """Pixels (band, y, x) in [0, 1], top row first, and the names of the bands."""
    if picture.mode.startswith("I") or picture.mode == "F":
        # Grey of 16 bits, however dim; Pillow gives colours of 16 bits with 8.
        grey = np.asarray(picture, dtype=np.float32) / 65535
        return np.clip(grey, 0, 1)[np.newaxis], ("grey",)
    if picture.mode in ("1", "L", "LA"):
        pixels, bands = np.asarray(picture.convert("L"))[np.newaxis], ("grey",)
    else:
        pixels = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
        bands = ("red", "green", "blue")
    # A quotient of bytes would be in float64, and a new array of a large picture is large too.
    pixels = pixels.astype(np.float32)
    pixels /= 255
    return pixels, bands
