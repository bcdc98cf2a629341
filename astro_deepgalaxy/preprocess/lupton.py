"""From three bands to a colour picture."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from astropy.visualization import LuptonAsinhStretch, ManualInterval, make_lupton_rgb

from ..flags import CutoutError, Flag
from .steps import Step

__all__ = ["Lupton"]


@dataclass(frozen=True)
class Lupton(Step):
    """Map three bands to a colour picture in [0, 1].

    The mean of the three is stretched by an arcsinh, and each keeps its share of it, so that the
    colour of an object does not depend on its brightness (Lupton et al. 2004; the function
    `astropy.visualization.make_lupton_rgb`). Bands of the result are red, green and blue; it has
    neither unit nor variance, nor ``psf`` and ``sky`` in its ``meta``. A pixel that is masked in
    any of the three is black, with the flag ``missing_data``. Pictures pass unchanged.

    Attributes
    ----------
    bands : tuple of str or str
        Names of the bands that become red, green and blue; of a letter each also as one word.
    stretch : float
        Brightness, in the unit of the pixels, over which the picture is linear. A few times the
        noise: put ``normalise`` first, and it is in units of that.
    q : float
        How far above that the arcsinh reaches.
    minimum : float
        Brightness that becomes black.
    scale : tuple of float
        What the three bands are multiplied with first, to balance the colours; nothing when empty.
    """

    name: ClassVar[str] = "lupton"

    bands: tuple[str, ...] | str
    stretch: float = 5.0
    q: float = 8.0
    minimum: float = 0.0
    scale: tuple[float, ...] = ()

    def __post_init__(self):
        for field in ("bands", "scale"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        if len(self.bands) != 3 or not all(isinstance(name, str) for name in self.bands):
            raise ValueError(
                "lupton: bands must be three names, for red, green and blue; "
                f"got {', '.join(map(str, self.bands)) or 'none'}"
            )
        if not self.stretch > 0 or not self.q > 0:
            raise ValueError(
                f"lupton: stretch and q must be positive; got {self.stretch} and {self.q}"
            )
        if self.scale and not (len(self.scale) == 3 and all(value > 0 for value in self.scale)):
            raise ValueError(f"lupton: scale must be three positive numbers; got {self.scale}")

    def __call__(self, cutout):
        """Make the picture; see `Step`."""
        if cutout.flags & Flag.PICTURE:
            return cutout
        for name in self.bands:
            if name not in cutout.bands:
                raise CutoutError(
                    f"the image has no band {name!r}; it has {', '.join(cutout.bands)}",
                    Flag.PREPROCESS_FAILED,
                )
        i = [cutout.bands.index(name) for name in self.bands]
        mask = cutout.mask[i].any(axis=0)
        planes = cutout.data[i]
        if self.scale:
            planes = planes * np.array(self.scale, dtype=np.float32)[:, np.newaxis, np.newaxis]
        planes = np.where(mask, self.minimum, planes)
        with np.errstate(invalid="ignore", divide="ignore"):
            picture = make_lupton_rgb(
                *planes,
                interval=ManualInterval(vmin=self.minimum, vmax=None),
                stretch_object=LuptonAsinhStretch(stretch=self.stretch, Q=self.q),
                output_dtype=float,
            )
        return cutout.replace(
            data=np.moveaxis(picture, -1, 0),
            mask=mask,
            variance=None,
            unit=None,
            bands=("red", "green", "blue"),
            flags=cutout.flags | Flag.MISSING_DATA if mask.any() else cutout.flags,
            meta={key: value for key, value in cutout.meta.items() if key not in ("psf", "sky")},
        )
