"""Putting a galaxy into the middle."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from scipy import ndimage

from ..flags import Flag
from .crop import cut
from .sources import find_galaxies, mean_plane, pixel_position
from .steps import Step

__all__ = ["Centre"]

_METHODS = ("com", "quadratic", "2dg")


@dataclass(frozen=True)
class Centre(Step):
    """Move the picture by whole pixels, so that its galaxy lies in the middle.

    The galaxy is the source at the cutout's ``meta["position"]``, or the brightest one near the
    middle (see `~astro_deepgalaxy.preprocess.sources.find_galaxies`), without its companions. No
    pixel is resampled. What comes in from beyond the image is masked, with the flag ``edge``; the
    size of the image and its sky coordinates stay.

    Without a source the image is not changed, with the flag ``no_source``; likewise when the
    centroid is too far away or cannot be found, with ``no_central_source``.

    Attributes
    ----------
    method : {"com", "quadratic", "2dg"}
        Function of `photutils.centroids`: centre of the light of the segment; peak of a quadratic
        fitted to 5 x 5 pixels about the brightest one; or centre of a two-dimensional Gaussian
        fitted to the segment, which is slow.
    reach : float
        How far from the position, or else from the middle, the centroid may be, as a fraction of
        the longer side.
    """

    name: ClassVar[str] = "centre"

    method: str = "com"
    reach: float = 0.25

    def __post_init__(self):
        if self.method not in _METHODS:
            raise ValueError(f"centre: method must be one of {_METHODS}; got {self.method!r}")
        if not self.reach > 0:
            raise ValueError(f"centre: reach must be positive; got {self.reach}")

    def __call__(self, cutout):
        """Move the picture; see `Step`."""
        found = find_galaxies(cutout)
        if found is None:
            return cutout.flagged(Flag.NO_SOURCE)
        shape = cutout.shape[1:]
        middle = (np.array(shape) - 1) / 2
        expected = pixel_position(cutout) or middle
        centroid = self._centroid(cutout, found)
        away = np.hypot(*(centroid - expected))
        # Also where the fit has failed, and the centroid is not a number.
        if not away <= self.reach * max(shape):
            return cutout.flagged(Flag.NO_CENTRAL_SOURCE)
        y0, x0 = (int(shift) for shift in np.round(centroid - middle))
        return cutout if y0 == x0 == 0 else cut(cutout, (y0, x0), shape)

    def _centroid(self, cutout, found):
        """Centroid (y, x) of the chosen source."""
        from photutils.centroids import centroid_2dg, centroid_com, centroid_quadratic

        function = dict(
            zip(_METHODS, (centroid_com, centroid_quadratic, centroid_2dg), strict=True)
        )[self.method]
        plane, valid = mean_plane(cutout)
        segment = found.enlarge(found.labels == found.main, plane.shape) & valid
        box = ndimage.find_objects(segment.astype(int))[0]
        light = np.clip(plane[box] - found.level, 0, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)
            x, y = function(light, mask=~segment[box])
        return np.array([y + box[0].start, x + box[1].start])
