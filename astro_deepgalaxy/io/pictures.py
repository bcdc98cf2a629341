"""JPEG and PNG pictures as cutouts."""

import warnings
from pathlib import Path

import numpy as np

from ..config import conf
from ..cutout import Cutout
from ..flags import CutoutError, Flag
from .fits import image_stem

__all__ = ["read_picture"]


def read_picture(path):
    """Read a picture.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        JPEG or PNG file, in colour or grey, of 8 or 16 bits. Transparency is ignored.

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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                width, height = picture.size
                if width * height > conf.max_picture_pixels:
                    raise CutoutError(
                        f"{path}: {width} x {height} pixels are more than the limit of "
                        f"{conf.max_picture_pixels}; cut it up, or raise max_picture_pixels"
                    )
                pixels, bands = _pixels(picture)
    except CutoutError:
        raise
    except FileNotFoundError as error:
        raise CutoutError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise CutoutError(f"{path}: not a picture") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CutoutError(f"{path}: the picture is damaged or truncated: {error}") from error
    return Cutout(
        pixels[:, ::-1],
        id=image_stem(path),
        file=str(path),
        bands=bands,
        flags=Flag.PICTURE | Flag.NO_WCS,
    )


def _pixels(picture):
    """Pixels (band, y, x) in [0, 1], top row first, and the names of the bands."""
    if picture.mode.startswith("I") or picture.mode == "F":
        # Grey of 16 bits, however dim; Pillow gives colours of 16 bits with 8.
        grey = np.asarray(picture, dtype=np.float32) / 65535
        return np.clip(grey, 0, 1)[np.newaxis], ("grey",)
    if picture.mode in ("1", "L", "LA"):
        return np.asarray(picture.convert("L"), dtype=np.float32)[np.newaxis] / 255, ("grey",)
    colour = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    return colour.transpose(2, 0, 1), ("red", "green", "blue")
