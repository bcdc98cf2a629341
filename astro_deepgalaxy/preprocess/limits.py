"""How large an image a step may make: a header must not be able to fill the memory."""

from ..config import conf
from ..flags import CutoutError, Flag

__all__ = ["LARGEST_SIDE", "check_shape"]

LARGEST_SIDE = 16384
"""Pixels along the longer side."""


def check_shape(shape, n_bands, what):
    """Refuse to make an image that is too large.

    Parameters
    ----------
    shape : tuple of float
        Pixels along y and x.
    n_bands : int
        Number of bands.
    what : str
        Why the image would be so large, for the error.

    Raises
    ------
    CutoutError
        If a side is longer than `LARGEST_SIDE`, or all bands have more pixels than the setting
        ``max_image_pixels`` of `~astro_deepgalaxy.config.Conf`.
    """
    height, width = shape
    # Not a number is not small enough either.
    if not (max(shape) <= LARGEST_SIDE and height * width * n_bands <= conf.max_image_pixels):
        raise CutoutError(
            f"{what} the image would be {width:.4g} x {height:.4g} pixels in {n_bands} bands, more "
            f"than {LARGEST_SIDE} a side or than max_image_pixels, {conf.max_image_pixels}; "
            "choose a smaller size or a larger scale, or check the WCS",
            Flag.PREPROCESS_FAILED,
        )
