"""One image from its source to the pixels of the network; nothing about it is raised."""

from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from ..celestial import local_frame
from ..flags import CutoutError, Flag

__all__ = ["failed_row", "first_shape", "prepare", "prepare_all", "prepare_each"]


def prepare(source, recipe):
    """Read an image and apply a recipe.

    Parameters
    ----------
    source : Source
        Which image.
    recipe : Recipe
        What to do.

    Returns
    -------
    image : numpy.ndarray or None
        Prepared pixels (y, x, channel), float32; None when the image cannot be used.
    row : dict
        ``id, file, flags, reason``: why it cannot; ``missing_fraction``, the share of masked
        pixels in it; ``ra, dec`` of its middle in degrees, without a WCS the position given with
        the source; ``cd``, how its axes lie in the sky, see
        `~astro_deepgalaxy.celestial.local_frame` (NaN without a WCS).
    """
    with _one_thread():
        return _prepare(source, recipe)


def _prepare(source, recipe):
    flags, file = 0, source.file
    try:
        cutout = source.read()
        flags, file = int(cutout.flags), cutout.file
        cutout = recipe(cutout)
    except CutoutError as error:
        return None, failed_row(source, flags | int(error.flag), str(error), file)
    except MemoryError:
        reason = f"{file or source.id}: too large for the memory"
        return None, failed_row(source, flags | int(Flag.UNREADABLE), reason, file)
    except Exception as error:
        # A file that nobody thought of is one bad row.
        reason = f"{file or source.id}: cannot be read: {type(error).__name__}: {error}"
        return None, failed_row(source, flags | int(Flag.UNREADABLE), reason, file)
    row = _row(source, int(cutout.flags), "", file)
    row["missing_fraction"] = float(np.count_nonzero(cutout.mask) / cutout.mask.size)
    if cutout.wcs is not None:
        x, y = ((n - 1) / 2 for n in (cutout.shape[2], cutout.shape[1]))
        row["ra"], row["dec"], cd = local_frame(cutout.wcs, x, y)
        row["cd"] = cd.ravel()
    image = np.ascontiguousarray(np.moveaxis(cutout.data, 0, -1))
    if not np.isfinite(image).all():
        image = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
        row["flags"] |= int(Flag.MISSING_DATA)
    return image, row


def _one_thread():
    # The sums of a matrix product depend on the number of threads; the pixels must not.
    return _blas().limit(limits=1, user_api="blas")


@cache
def _blas():
    return ThreadpoolController()


def prepare_all(sources, recipe):
    """`prepare` several images.

    Parameters
    ----------
    sources : sequence of Source
        Which images.
    recipe : Recipe
        What to do.

    Returns
    -------
    list of (image, row)
    """
    return list(prepare_each(sources, recipe))


def prepare_each(sources, recipe):
    """`prepare` several images, one after the other.

    Parameters
    ----------
    sources : iterable of Source
        Which images.
    recipe : Recipe
        What to do.

    Yields
    ------
    image, row
        As `prepare` returns them.
    """
    with _one_thread():
        for source in sources:
            yield _prepare(source, recipe)


def first_shape(sources, recipe):
    """Shape that a recipe gives to the first image that can be used.

    Parameters
    ----------
    sources : sequence of Source
        Which images.
    recipe : Recipe
        What to do.

    Returns
    -------
    shape : tuple of int or None
        Shape (y, x, channel); None if none can be used.
    reason : str
        Why the last one could not.
    """
    reason = ""
    for image, row in prepare_each(sources, recipe):
        if image is not None:
            return image.shape, ""
        reason = row["reason"]
    return None, reason


def failed_row(source, flags, reason, file=None):
    """The row of an image that cannot be used.

    Parameters
    ----------
    source : Source
        Which image.
    flags : int
        Why, as flags.
    reason : str
        Why, as a sentence.
    file : str, optional
        Its file, if it is not that of the source.

    Returns
    -------
    dict
        As `prepare` returns it.
    """
    return _row(source, int(flags), reason, source.file if file is None else file)


def _row(source, flags, reason, file):
    return {
        "id": source.id,
        "file": file,
        "flags": flags,
        "reason": reason,
        "missing_fraction": 1.0 if reason else 0.0,
        "ra": source.ra,
        "dec": source.dec,
        "cd": [np.nan] * 4,
    }
