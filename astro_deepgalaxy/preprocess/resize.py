"""Resampling to the size the network takes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .resample import resampling_matrix, transform_wcs
from .steps import Step

__all__ = ["Resize"]


@dataclass(frozen=True)
class Resize(Step):
    """Resample an image to `size` pixels a side.

    Fewer pixels are means over the area that each covers, more are interpolated linearly:
    surface brightness is conserved, not flux per pixel. Masked pixels have no weight; a pixel is
    masked when less than half of its weight is left. The variance takes the squares of the
    weights.

    Attributes
    ----------
    size : int
        Pixels along y and x.
    """

    name: ClassVar[str] = "resize"

    size: int = 128

    def __post_init__(self):
        if self.size < 4:
            raise ValueError(f"resize: size must be at least 4 pixels; got {self.size}")

    def __call__(self, cutout):
        """Resample; see `Step`."""
        _, ny, nx = cutout.shape
        rows, columns = resampling_matrix(ny, self.size), resampling_matrix(nx, self.size)
        good = (~cutout.mask).astype(np.float32)
        share = rows @ good @ columns.T
        mask = share < 0.5
        share = np.maximum(share, 1e-6)
        data = rows @ np.where(cutout.mask, 0, cutout.data) @ columns.T / share
        variance = cutout.variance
        if variance is not None:
            variance = np.where(cutout.mask, 0, variance)
            variance = rows**2 @ variance @ (columns**2).T / share**2
        wcs = cutout.wcs
        if wcs is not None:
            wcs = transform_wcs(wcs, factor=(self.size / nx, self.size / ny))
        return cutout.replace(
            data=np.where(mask, np.nan, data),
            mask=mask,
            variance=variance,
            wcs=wcs,
        )
