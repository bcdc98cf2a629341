"""Cutting out the galaxies."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..flags import CutoutError, Flag
from .limits import LARGEST_SIDE, check_shape
from .resample import transform_wcs
from .sources import find_galaxies, pixel_position
from .steps import Step

__all__ = ["Crop", "cut"]

_UNITS = ("radius", "pixel", "arcsec")
_PLACES = ("source", "position", "centre")
_ETA = 0.2  # brightness of the ring over the mean inside of it, at the Petrosian radius
_RING = 0.8, 1.25  # edges of the ring, of its radius


@dataclass(frozen=True)
class Crop(Step):
    """Cut a square.

    Attributes
    ----------
    size : float
        Side of the square, in `unit`; at most 16384 pixels.
    unit : {"radius", "pixel", "arcsec"}
        ``radius`` is that of the galaxies, so that near and far ones fill the square alike. The
        square is then never larger than the image.
    on : {"source", "position", "centre"}
        What lies in the middle: the brightest source together with its companions, or
        the source at the cutout's ``meta["position"]`` if one was given; that position itself; or
        the middle of the image.
    radius : {"light", "segment", "petrosian"}
        What the radius of the galaxies is, for ``unit="radius"``. ``light``: the distance from
        their centre that holds 90 % of the square root of their light, so that the outer parts
        count. ``segment``: that of the circle with the area of their segments. ``petrosian``:
        where a ring about the centre, from 0.8 to 1.25 of the radius, has a fifth of the mean
        surface brightness inside of it (Petrosian 1976; Blanton et al. 2001); it depends neither
        on distance nor on depth, but on how smooth the galaxy is.

    Notes
    -----
    `~astro_deepgalaxy.preprocess.sources.find_galaxies` says which source is chosen, and what its
    companions are. Without any source the middle of the image is cut out and the flag
    ``no_source`` is set. What lies beyond the image is masked, with the flag ``edge``.
    """

    name: ClassVar[str] = "crop"

    size: float = 3.6
    unit: str = "radius"
    on: str = "source"
    radius: str = "light"

    def __post_init__(self):
        if self.unit not in _UNITS or self.on not in _PLACES:
            raise ValueError(
                f"crop: unit must be one of {_UNITS} and on one of {_PLACES}; "
                f"got {self.unit!r} and {self.on!r}"
            )
        if self.radius not in _RADII:
            raise ValueError(f"crop: radius must be one of {tuple(_RADII)}; got {self.radius!r}")
        if not self.size > 0:
            raise ValueError(f"crop: size must be positive; got {self.size}")
        if self.unit == "pixel" and self.size > LARGEST_SIDE:
            raise ValueError(f"crop: size must be at most {LARGEST_SIDE} pixels; got {self.size}")
        if self.unit == "radius" and self.on != "source":
            raise ValueError("crop: a size in radii needs on='source'")

    def __call__(self, cutout):
        """Cut the square out; see `Step`."""
        if self.unit == "arcsec" and cutout.wcs is None:
            raise CutoutError(
                f"a crop of {self.size} arcsec needs a WCS",
                Flag.PREPROCESS_FAILED,
            )
        _, ny, nx = cutout.shape
        centre, radius, flags = ((ny - 1) / 2, (nx - 1) / 2), min(ny, nx) / 2, cutout.flags
        if self.on == "position":
            centre = self._position(cutout)
        elif self.on == "source":
            found = find_galaxies(cutout)
            if found is None:
                flags |= Flag.NO_SOURCE
            else:
                centre = (found.centre + 0.5) * found.factor - 0.5
                radius = max(_RADII[self.radius](found) * found.factor, 3.0)
        side = self._side(cutout, radius, limit=max(ny, nx))
        y0, x0 = (round(c - (side - 1) / 2) for c in centre)
        return cut(cutout.replace(flags=flags), (y0, x0), (side, side))

    def _side(self, cutout, radius, limit):
        """Side of the square in pixels."""
        if self.unit == "radius":
            side = min(self.size * radius, limit)
        elif self.unit == "pixel":
            side = self.size
        else:
            scale = cutout.pixel_scale.to_value("arcsec")
            side = self.size / scale if scale > 0 else np.inf
        check_shape((side, side), len(cutout.bands), f"for {self.size:g} {self.unit}")
        return max(4, round(side))

    def _position(self, cutout):
        position = pixel_position(cutout)
        if position is None:
            raise CutoutError(
                "a crop on a position needs ra and dec in the table "
                "of images, and a WCS in the image",
                Flag.PREPROCESS_FAILED,
            )
        _, ny, nx = cutout.shape
        if not (-0.5 <= position[0] <= ny - 0.5 and -0.5 <= position[1] <= nx - 0.5):
            raise CutoutError(
                "the position lies outside the image",
                Flag.PREPROCESS_FAILED,
            )
        return position


def _light_radius(found):
    """Distance from the centre that holds 90 % of the root of the chosen light."""
    return _holding(found, found.weight, 0.9)


def _segment_radius(found):
    """Radius of the circle with the area of the chosen segments."""
    return float(np.sqrt(found.chosen.sum() / np.pi))


def _petrosian_radius(found):
    """Where the brightness of a ring has fallen to a fifth of the mean inside of it."""
    growth = _growth(found)
    # Inside of the half-light radius two nuclei may have a gap between them.
    start = max(_holding(found, found.light[found.chosen], 0.5), 1.0)
    inner, outer = _RING
    r = np.arange(start, max((len(growth) - 1) / outer, start + 1), 0.05)

    def inside(radius):
        return np.interp(radius**2, np.arange(len(growth)) ** 2, growth)

    ring = (inside(outer * r) - inside(inner * r)) / (outer**2 - inner**2)
    below = ring < _ETA * inside(r)
    return float(r[below.argmax()] if below.any() else r[-1])


def _growth(found):
    """Light within 0, 1, 2, ... binned pixels of the centre, other sources left out."""
    away = np.hypot(*(np.indices(found.labels.shape) - found.centre[:, np.newaxis, np.newaxis]))
    used = found.valid & (found.chosen | (found.labels == 0))
    # A pixel reaches half its width inwards and outwards: it is shared between two rings.
    reach = away[used] + 0.5
    ring = reach.astype(int)
    share = reach - ring

    def total(values):
        inner = np.bincount(np.maximum(ring - 1, 0), (1 - share) * values, ring.max() + 1)
        return inner + np.bincount(ring, share * values)

    count, light = total(1.0), total(found.excess[used])
    area = np.pi * np.diff(np.arange(len(count) + 1) ** 2)
    # Rings that lie mostly beyond the image say little.
    short = np.append(count < 0.25 * area, True)
    n = max(int(short.argmax()), 2)
    # What is missing of a ring is as bright as the rest of it.
    brightness = light[:n] / np.maximum(count[:n], 1e-6)
    return np.concatenate([[0], np.cumsum(brightness * area[:n])])


def _holding(found, weight, fraction):
    """Distance from the centre within which the chosen pixels have a fraction of a weight."""
    y, x = np.nonzero(found.chosen)
    away = np.hypot(y - found.centre[0], x - found.centre[1])
    order = np.argsort(away)
    total = np.cumsum(weight[order])
    i = np.searchsorted(total, fraction * total[-1])
    return float(away[order][min(i, len(order) - 1)])


_RADII = {
    "light": _light_radius,
    "segment": _segment_radius,
    "petrosian": _petrosian_radius,
}


def cut(cutout, origin, shape):
    """Cut a rectangle out of an image; what lies beyond the image is masked.

    Parameters
    ----------
    cutout : Cutout
        Image; its ``meta["sky"]`` is cut along, or dropped if it has another shape.
    origin : tuple of int
        Pixel (y, x), counted from 0 and perhaps negative, that becomes the first pixel.
    shape : tuple of int
        Pixels of the rectangle along y and x.

    Returns
    -------
    Cutout
        With the flag ``edge`` where the rectangle reaches over the border.

    Raises
    ------
    CutoutError
        If the rectangle has no valid pixel.
    """
    (y0, x0), (height, width), (_, ny, nx) = origin, shape, cutout.shape
    ys, xs = slice(max(y0, 0), min(y0 + height, ny)), slice(max(x0, 0), min(x0 + width, nx))
    into = (
        slice(None),
        slice(ys.start - y0, ys.stop - y0),
        slice(xs.start - x0, xs.stop - x0),
    )

    def paste(planes, fill):
        out = np.full((len(planes), height, width), fill, dtype=planes.dtype)
        out[into] = planes[:, ys, xs]
        return out

    mask = paste(cutout.mask, True)
    if mask.all():
        raise CutoutError("the square to cut out has no valid pixel", Flag.NO_DATA)
    meta = dict(cutout.meta)
    sky = meta.pop("sky", None)
    # That of other pixels, from before the image was resampled, is of no use.
    if np.shape(sky) == cutout.shape:
        meta["sky"] = paste(np.asarray(sky, dtype=np.float32), np.nan)
    outside = (ys.stop - ys.start, xs.stop - xs.start) != (height, width)
    return cutout.replace(
        data=paste(cutout.data, np.nan),
        mask=mask,
        variance=None if cutout.variance is None else paste(cutout.variance, np.nan),
        wcs=None if cutout.wcs is None else transform_wcs(cutout.wcs, origin=(x0, y0)),
        flags=cutout.flags | Flag.EDGE if outside else cutout.flags,
        meta=meta,
    )
