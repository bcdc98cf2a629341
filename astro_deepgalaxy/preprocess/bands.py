"""From the bands of an image to the channels of the network."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..flags import CutoutError, Flag
from .steps import Step

__all__ = ["Bands"]

_LUMINANCE = {"red": 0.2126, "green": 0.7152, "blue": 0.0722}  # ITU-R BT.709


@dataclass(frozen=True)
class Bands(Step):
    """Choose bands by name, or combine all of them into one.

    An image of a single band is used for whatever single band is asked for, and a picture in
    colour gives its luminance (ITU-R BT.709): one-band surveys, simulations and pictures meet
    here. A combined pixel is masked where any of its bands is; a band without a single valid
    pixel is left out.

    Attributes
    ----------
    select : tuple of str or str
        Names of the bands to keep, in order, or one name. When empty, the bands are combined.
    weights : dict of str to float
        Weight of each band in the combination; the others count nothing. When empty, all bands
        count alike.
    """

    name: ClassVar[str] = "bands"

    select: tuple[str, ...] | str = ()
    weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        select = (self.select,) if isinstance(self.select, str) else tuple(self.select)
        object.__setattr__(self, "select", select)
        if self.select and self.weights:
            raise ValueError("bands: give either select or weights, not both")
        if len(set(self.select)) < len(self.select):
            raise ValueError(f"bands: a band is selected twice in {self.select}")
        if not all(np.isfinite(weight) and weight > 0 for weight in self.weights.values()):
            raise ValueError(f"bands: weights must be positive numbers; got {self.weights}")

    def __call__(self, cutout):
        """Choose or combine; see `Step`."""
        if self.select:
            return self._choose(cutout)
        if len(cutout.bands) == 1:
            return cutout
        return self._combine(cutout)

    def _choose(self, cutout):
        if len(self.select) == 1 == len(cutout.bands):
            return cutout
        if len(self.select) == 1 and cutout.flags & Flag.PICTURE and _is_colour(cutout):
            return self._combine(cutout)
        _require(cutout, self.select)
        i = [cutout.bands.index(name) for name in self.select]
        meta = dict(cutout.meta)
        if "psf" in meta:
            meta["psf"] = [meta["psf"][k] for k in i]
        return cutout.replace(
            data=cutout.data[i],
            mask=cutout.mask[i],
            variance=None if cutout.variance is None else cutout.variance[i],
            bands=self.select,
            meta=meta,
        )

    def _combine(self, cutout):
        if cutout.flags & Flag.PICTURE and _is_colour(cutout):
            weights = _LUMINANCE
        else:
            weights = self.weights or dict.fromkeys(cutout.bands, 1.0)
        _require(cutout, weights)
        w = np.array([weights.get(name, 0.0) for name in cutout.bands], dtype=np.float32)
        seen = ~cutout.mask.all(axis=(1, 2))
        if not (w * seen).any():
            raise CutoutError("none of the bands has a valid pixel", Flag.NO_DATA)
        # A survey may miss a band altogether: the others make do.
        used = (w > 0) & seen
        w = w[used] / w[used].sum()
        # A pixel counts where the bands that make it up are all there.
        mask = cutout.mask[used].any(axis=0)
        data = np.tensordot(w, np.where(cutout.mask[used], 0, cutout.data[used]), axes=1)
        variance = cutout.variance
        if variance is not None:
            # Of the other bands not even zero times the variance counts: it may not be a number.
            variance = np.tensordot(w**2, variance[used], axes=1)
        # The point-spread function of the sum is not that of any band.
        meta = {name: value for name, value in cutout.meta.items() if name != "psf"}
        return cutout.replace(
            data=np.where(mask, np.nan, data),
            mask=mask,
            variance=variance,
            bands=("luminance",),
            meta=meta,
        )


def _is_colour(cutout):
    return set(cutout.bands) == set(_LUMINANCE)


def _require(cutout, names):
    missing = [name for name in names if name not in cutout.bands]
    if missing:
        raise CutoutError(
            f"the image has no band {missing[0]!r}; it has {', '.join(cutout.bands)}",
            Flag.PREPROCESS_FAILED,
        )
