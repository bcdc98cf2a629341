"""Fluxes of different surveys on one scale."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..flags import CutoutError, Flag
from .sky import sky_statistics
from .steps import Step

__all__ = ["Normalise"]

_BY = ("noise", "flux", "percentile")


@dataclass(frozen=True)
class Normalise(Step):
    """Divide sky-subtracted pixels by what is characteristic of them.

    Masked pixels do not count. The variance is divided by the square, the unit is dropped. A band
    without a valid pixel is left alone, and so are pictures: they are scaled already.

    Attributes
    ----------
    by : {"noise", "flux", "percentile"}
        What becomes one: the standard deviation of the sky; the total of the pixels above zero;
        or a percentile of the pixels.
    percentile : float
        That percentile, in (0, 100].
    together : bool
        Divide all bands by one number, the mean of theirs, which keeps the colours; or each by
        its own.
    """

    name: ClassVar[str] = "normalise"

    by: str = "noise"
    percentile: float = 99.0
    together: bool = True

    def __post_init__(self):
        if self.by not in _BY:
            raise ValueError(f"normalise: by must be one of {_BY}; got {self.by!r}")
        if not 0 < self.percentile <= 100:
            raise ValueError(f"normalise: percentile must be in (0, 100]; got {self.percentile}")

    def __call__(self, cutout):
        """Scale each band; see `Step`."""
        seen = ~cutout.mask.all(axis=(1, 2))
        if cutout.flags & Flag.PICTURE or not seen.any():
            return cutout
        found = np.array(
            [
                self._measured(plane[~mask]) if any_pixel else np.nan
                for plane, mask, any_pixel in zip(cutout.data, cutout.mask, seen, strict=True)
            ]
        )
        for band, value in zip(cutout.bands, found, strict=True):
            if value <= 0:
                raise CutoutError(
                    f"the {self.by} of the band {band!r} is {value:g}, and cannot become one; "
                    "choose another 'by', or put 'background' first",
                    Flag.PREPROCESS_FAILED,
                )
        if self.together:
            found = np.full(len(found), np.nanmean(found))
        factor = np.where(seen, 1 / found, 1)[:, np.newaxis, np.newaxis]
        variance = cutout.variance
        return cutout.replace(
            data=cutout.data * factor,
            variance=None if variance is None else variance * factor**2,
            unit=None,
            meta=self._meta(cutout, factor),
        )

    def _measured(self, pixels):
        if self.by == "noise":
            return sky_statistics(pixels)[1]
        if self.by == "flux":
            return np.clip(pixels, 0, None).sum(dtype=float)
        return np.percentile(pixels, self.percentile)

    def _meta(self, cutout, factor):
        """What else is known in the unit of the pixels, scaled with them."""
        meta = dict(cutout.meta)
        sky = meta.pop("sky", None)
        if np.shape(sky) == cutout.shape:
            meta["sky"] = sky * factor
        return meta
