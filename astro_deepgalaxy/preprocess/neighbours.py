"""Taking the other sources out of an image."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage

from ..flags import Flag
from .sky import sky_statistics
from .sources import find_galaxies
from .steps import Step

__all__ = ["Neighbours"]

_OTHERS = ("keep", "mask", "replace")
_ENOUGH = 100


@dataclass(frozen=True)
class Neighbours(Step):
    """Keep a galaxy and its merging companions, and mask or replace the other sources.

    Which source is chosen, and what its companions are, is the rule of
    `~astro_deepgalaxy.preprocess.crop.Crop`: see
    `~astro_deepgalaxy.preprocess.sources.find_galaxies`. Sources are found in an image binned to
    about 128 pixels a side. Without a source nothing is done, with the flag ``no_source``.

    Attributes
    ----------
    others : {"keep", "mask", "replace"}
        What becomes of the other sources: nothing; they are masked; or their pixels are replaced
        by normal noise with the level and scatter of the sky around, whose square is then their
        variance. The noise is seeded by the pixels themselves, so that the same image always
        gives the same result.
    grow : float
        How much further than their segments the wings of the others are taken, as a fraction of
        the radius of each, and at least a binned pixel; 0 for not at all. Pixels nearer to the
        chosen galaxies stay.
    deblend : bool
        Part sources that touch first (`photutils.segmentation.deblend_sources`). A star on a
        galaxy can then be taken away, but so can a bright knot of the galaxy itself. Needs
        scikit-image, and is slow.

    Notes
    -----
    The sky should be subtracted or flat: put ``background`` first.
    """

    name: ClassVar[str] = "neighbours"

    others: str = "replace"
    grow: float = 0.3
    deblend: bool = False

    def __post_init__(self):
        if self.others not in _OTHERS:
            raise ValueError(f"neighbours: others must be one of {_OTHERS}; got {self.others!r}")
        if not 0 <= self.grow < float("inf"):
            raise ValueError(f"neighbours: grow must not be negative; got {self.grow}")

    def __call__(self, cutout):
        """Mask or replace the other sources; see `Step`."""
        if self.others == "keep":
            return cutout
        found = find_galaxies(cutout, deblend=self.deblend)
        if found is None:
            return cutout.flagged(Flag.NO_SOURCE)
        others = self._others(found)
        if not others.any():
            return cutout
        sky = found.enlarge((found.labels == 0) & ~others, cutout.shape[1:])
        others = found.enlarge(others, cutout.shape[1:])
        if self.others == "mask":
            return cutout.replace(mask=cutout.mask | others)
        return _replaced(cutout, others, sky)

    def _others(self, found):
        """Where the other sources and their wings are, (y, x) in binned pixels."""
        others = (found.labels > 0) & ~found.chosen
        if self.grow == 0 or not others.any():
            return others
        radius = np.sqrt(np.bincount(found.labels.ravel()) / np.pi)
        away, nearest = ndimage.distance_transform_edt(~others, return_indices=True)
        reach = np.maximum(self.grow * radius[found.labels[tuple(nearest)]], 1)
        return (away <= reach) & (away < ndimage.distance_transform_edt(~found.chosen))


def _replaced(cutout, others, sky):
    """The image with noise like that of its sky where the others are."""
    data = cutout.data.copy()
    variance = None if cutout.variance is None else cutout.variance.copy()
    rng = np.random.default_rng(_seed(cutout))
    for band, mask in enumerate(cutout.mask):
        free = data[band][sky & ~mask]
        if len(free) < _ENOUGH:
            free = data[band][~mask]
        level, noise = sky_statistics(free)
        gone = others & ~mask
        if not gone.any():
            continue
        data[band][gone] = rng.normal(level, noise, gone.sum())
        if variance is not None:
            variance[band][gone] = noise**2
    return cutout.replace(data=data, variance=variance)


def _seed(cutout):
    """A number that is another for every other image."""
    pixels = np.where(cutout.mask, 0, cutout.data).astype("<f4")
    return int.from_bytes(hashlib.blake2b(pixels.tobytes(), digest_size=16).digest(), "little")
