"""From fluxes to [0, 1]."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from astropy.visualization import AsinhStretch

from ..flags import Flag
from .steps import Step

__all__ = ["Stretch"]


@dataclass(frozen=True)
class Stretch(Step):
    """Map sky-subtracted pixels to [0, 1]: zero stays zero, a high percentile becomes one.

    The arcsinh is linear for faint and logarithmic for bright pixels (Lupton et al. 1999). It
    turns over at the larger of a fraction of the top and twice the noise, so that noise is not
    blown up. The noise is taken from the pixels below zero.

    Pictures count as stretched already: they are only scaled to their top. Masked pixels become
    zero, with the flag ``missing_data``.

    Attributes
    ----------
    percentile : float
        Pixels at or above this percentile become one.
    softening : float
        Where the arcsinh turns over, as a fraction of the top, in (0, 1].
    """

    name: ClassVar[str] = "stretch"

    percentile: float = 99.7
    softening: float = 0.02

    def __post_init__(self):
        if not 50 < self.percentile <= 100 or not 0 < self.softening <= 1:
            raise ValueError(
                "stretch: percentile must be in (50, 100] and softening in (0, 1]; "
                f"got {self.percentile} and {self.softening}"
            )

    def __call__(self, cutout):
        """Stretch each band; see `Step`."""
        planes = [
            self._stretched(plane, mask, bool(cutout.flags & Flag.PICTURE))
            for plane, mask in zip(cutout.data, cutout.mask, strict=True)
        ]
        flags = cutout.flags | Flag.MISSING_DATA if cutout.mask.any() else cutout.flags
        # What a variance would mean after a non-linear map is another question: it is dropped.
        return cutout.replace(data=np.array(planes), variance=None, unit=None, flags=flags)

    def _stretched(self, plane, mask, picture):
        good = plane[~mask]
        top = np.percentile(good, self.percentile) if len(good) else 0.0
        if top <= 0:
            return np.zeros_like(plane)
        scaled = np.clip(np.where(mask, 0, plane) / top, 0, 1)
        if picture:
            return scaled
        below = good[good < 0]
        # The median does not mind a few bad pixels.
        noise = -1.4826 * np.median(below) / top if len(below) else 0.0
        return AsinhStretch(min(max(self.softening, 2 * noise), 1.0))(scaled)
