"""Sky subtraction."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage

from ..flags import Flag
from .steps import Step, detect, sky

__all__ = ["Background"]

_ENOUGH_SKY = 0.15


@dataclass(frozen=True)
class Background(Step):
    """Subtract the sky, estimated on a mesh with the sources masked.

    `photutils.background.Background2D` does the estimate. An image with too little sky between
    its sources, or too small for a mesh of two by two boxes, gets one level for all of it and,
    in the first case, the flag ``background_unreliable``. Pictures are treated like the rest.

    Attributes
    ----------
    box_size : int
        Side of a box of the mesh in pixels; smaller where the image has no room for 2 x 2.
    nsigma : float
        Pixels this many times the noise above the sky, and those near them, are masked.
    """

    name: ClassVar[str] = "background"

    box_size: int = 64
    nsigma: float = 2.0

    def __post_init__(self):
        if self.box_size < 8 or self.nsigma <= 0:
            raise ValueError(
                "background: box_size must be at least 8 pixels and nsigma positive; "
                f"got {self.box_size} and {self.nsigma}"
            )

    def __call__(self, cutout):
        """Subtract the sky of each band; see `Step`."""
        planes, reliable = [], True
        for plane, mask in zip(cutout.data, cutout.mask, strict=True):
            level, enough = self._level(plane, mask)
            planes.append(plane - level)
            reliable &= enough
        flags = cutout.flags if reliable else cutout.flags | Flag.BACKGROUND_UNRELIABLE
        return cutout.replace(data=np.array(planes), flags=flags)

    def _level(self, plane, mask):
        """Sky (an image or a number), and whether there was enough of it."""
        if mask.all():
            return 0.0, False
        sources = detect(plane, mask, self.nsigma) > 0
        sources = ndimage.binary_dilation(sources, iterations=max(2, min(plane.shape) // 40))
        free = ~(sources | mask)
        if free.mean() < _ENOUGH_SKY:
            return sky(plane[~mask])[0], False
        box = min(self.box_size, min(plane.shape) // 2)
        if box < 16:
            return sky(plane[free])[0], True
        from photutils.background import Background2D

        try:
            mesh = Background2D(
                plane, box, mask=sources | mask, filter_size=3, exclude_percentile=90
            )
        except ValueError:
            # Every box has more sources than sky.
            return sky(plane[free])[0], True
        return mesh.background, True
