"""Resampling to the size the network takes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .limits import LARGEST_SIDE, check_shape
from .resample import resampling_matrix, transform_wcs
from .steps import Step

__all__ = ["Resize"]


@dataclass(frozen=True)
class Resize(Step):
    """Resample an image to `size` pixels a side.

    Fewer pixels are means over the area that each covers, more are interpolated linearly:
    surface brightness is conserved, not flux per pixel. Masked pixels have no weight; a pixel is
    masked when less than half of its weight is left. The variance takes the squares of the
    weights. ``meta["psf"]`` and ``meta["sky"]``, which are on the old pixels, are dropped where
    these change.

    Attributes
    ----------
    size : int
        Pixels along y and x, 4 to 16384.
    """

    name: ClassVar[str] = "resize"

    size: int = 128

    def __post_init__(self):
        if not 4 <= self.size <= LARGEST_SIDE:
            raise ValueError(f"resize: size must be 4 to {LARGEST_SIDE} pixels; got {self.size}")

    def __call__(self, cutout):
        """Resample; see `Step`."""
        n_bands, ny, nx = cutout.shape
        check_shape((self.size, self.size), n_bands, "resized,")
        rows, columns = resampling_matrix(ny, self.size), resampling_matrix(nx, self.size)
        good = (~cutout.mask).astype(np.float32)
        share = rows @ good @ columns.T
        mask = share < 0.5
        share = np.maximum(share, 1e-6)
        data = rows @ np.where(cutout.mask, 0, cutout.data) @ columns.T / share
        variance = cutout.variance
        if variance is not None:
            known = np.isfinite(variance)
            unknown = (~known & ~cutout.mask).astype(np.float32)
            variance = np.where(known & ~cutout.mask, variance, 0)
            variance = rows**2 @ variance @ (columns**2).T / share**2
            # Only where it has weight: zero times infinity would spread along rows and columns.
            variance[rows @ unknown @ columns.T > 0] = np.inf
        wcs, meta = cutout.wcs, dict(cutout.meta)
        if (ny, nx) != (self.size, self.size):
            for key in ("psf", "sky"):
                meta.pop(key, None)
        if wcs is not None:
            wcs = transform_wcs(wcs, factor=(self.size / nx, self.size / ny))
        return cutout.replace(
            data=np.where(mask, np.nan, data),
            mask=mask,
            variance=variance,
            wcs=wcs,
            meta=meta,
        )
