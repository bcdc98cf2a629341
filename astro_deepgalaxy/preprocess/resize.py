"""Resampling to the size the network takes."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from astropy.wcs import WCS

from .steps import Step

__all__ = ["Resize"]


@dataclass(frozen=True)
class Resize(Step):
    """Resample an image to `size` pixels a side, by linear interpolation with anti-aliasing.

    A new pixel is the mean of the old ones under a triangle as wide as the larger of the two
    pixels: surface brightness is conserved, not flux per pixel. Masked pixels have no weight; a
    pixel is masked when less than half of its weight is left. The variance takes the squares of
    the weights. Distortion terms of the WCS, far below a pixel over a cutout, are dropped.

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
        rows, columns = _weights(ny, self.size), _weights(nx, self.size)
        good = (~cutout.mask).astype(np.float32)
        share = rows @ good @ columns.T
        mask = share < 0.5
        share = np.maximum(share, 1e-6)
        data = rows @ np.where(cutout.mask, 0, cutout.data) @ columns.T / share
        variance = cutout.variance
        if variance is not None:
            variance = np.where(cutout.mask, 0, variance)
            variance = rows**2 @ variance @ (columns**2).T / share**2
        return cutout.replace(
            data=np.where(mask, np.nan, data),
            mask=mask,
            variance=variance,
            wcs=_rescaled(cutout.wcs, (nx / self.size, ny / self.size)),
        )


@lru_cache(maxsize=64)
def _weights(n, size):
    """Weights (new, old) along one axis; each row adds up to one."""
    scale = n / size
    centres = (np.arange(size) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(n) - centres[:, np.newaxis]) / max(scale, 1.0)
    weights = np.clip(1 - distance, 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _rescaled(wcs, factors):
    """WCS of pixels that are `factors` (x, y) times larger."""
    if wcs is None:
        return None
    if wcs.sip is not None or wcs.cpdis1 is not None or wcs.cpdis2 is not None:
        wcs = WCS(wcs.to_header(relax=False), naxis=2)
    wcs = wcs.deepcopy()
    factors = np.array(factors)
    matrix = wcs.pixel_scale_matrix * factors
    wcs.wcs.crpix = (wcs.wcs.crpix - 0.5) / factors + 0.5
    if wcs.wcs.has_cd():
        wcs.wcs.cd = matrix
    else:
        wcs.wcs.cdelt = [1, 1]
        wcs.wcs.pc = matrix
    return wcs
