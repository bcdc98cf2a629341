"""Cutting out the galaxies."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage

from ..flags import CutoutError, Flag
from .steps import Step, detect

__all__ = ["Crop"]

_UNITS = ("radius", "pixel", "arcsec")
_PLACES = ("source", "position", "centre")


@dataclass(frozen=True)
class Crop(Step):
    """Cut a square.

    Attributes
    ----------
    size : float
        Side of the square, in `unit`.
    unit : {"radius", "pixel", "arcsec"}
        ``radius`` is that of the source: the distance from its centre that holds 90 % of its
        light. Near and far galaxies then fill the square alike. The square is never larger than
        the image.
    on : {"source", "position", "centre"}
        What lies in the middle: the brightest source together with its companion, or
        the source at the cutout's ``meta["position"]`` if one was given; that position itself; or
        the middle of the image.

    Notes
    -----
    The companion is the brightest other source with at least a tenth of the light, not farther
    away than three times the sum of the two radii. Without any source the middle of the image is cut out
    and the flag ``no_source`` is set. What lies beyond the image is masked, with the flag
    ``edge``.
    """

    name: ClassVar[str] = "crop"

    size: float = 3.6
    unit: str = "radius"
    on: str = "source"

    def __post_init__(self):
        if self.unit not in _UNITS or self.on not in _PLACES:
            raise ValueError(
                f"crop: unit must be one of {_UNITS} and on one of {_PLACES}; "
                f"got {self.unit!r} and {self.on!r}"
            )
        if not self.size > 0:
            raise ValueError(f"crop: size must be positive; got {self.size}")
        if self.unit == "radius" and self.on != "source":
            raise ValueError("crop: a size in radii needs on='source'")

    def __call__(self, cutout):
        """Cut the square out; see `Step`."""
        _, ny, nx = cutout.shape
        centre, radius, flags = ((ny - 1) / 2, (nx - 1) / 2), min(ny, nx) / 2, cutout.flags
        if self.on == "position":
            centre = self._position(cutout)
        elif self.on == "source":
            found = _galaxies(cutout)
            if found is None:
                flags |= Flag.NO_SOURCE
            else:
                centre, radius = found
        side = self._side(cutout, radius, limit=max(ny, nx))
        y0, x0 = (round(c - (side - 1) / 2) for c in centre)
        return _cut(cutout.replace(flags=flags), y0, x0, side)

    def _side(self, cutout, radius, limit):
        """Side of the square in pixels."""
        if self.unit == "radius":
            side = min(self.size * radius, limit)
        elif self.unit == "pixel":
            side = self.size
        elif cutout.pixel_scale is None:
            raise CutoutError(
                f"{cutout.file or cutout.id}: a crop of {self.size} arcsec needs a WCS",
                Flag.PREPROCESS_FAILED,
            )
        else:
            side = self.size / cutout.pixel_scale.to_value("arcsec")
        return max(4, round(side))

    def _position(self, cutout):
        position = _pixel_position(cutout)
        if position is None:
            raise CutoutError(
                f"{cutout.file or cutout.id}: a crop on a position needs ra and dec in the table "
                "of images, and a WCS in the image",
                Flag.PREPROCESS_FAILED,
            )
        _, ny, nx = cutout.shape
        if not (-0.5 <= position[0] <= ny - 0.5 and -0.5 <= position[1] <= nx - 0.5):
            raise CutoutError(
                f"{cutout.file or cutout.id}: the position lies outside the image",
                Flag.PREPROCESS_FAILED,
            )
        return position


def _pixel_position(cutout):
    """Where ``meta["position"]`` lies, (y, x), or None."""
    position = cutout.meta.get("position")
    if position is None or cutout.wcs is None:
        return None
    x, y = cutout.wcs.world_to_pixel(position)
    return (float(y), float(x)) if np.isfinite([x, y]).all() else None


def _galaxies(cutout):
    """Centre (y, x) and radius of the brightest source with its companion, or None."""
    planes = np.where(cutout.mask, 0, cutout.data)
    plane, mask = planes.mean(axis=0), cutout.mask.all(axis=0)
    labels = detect(plane, mask)
    n = labels.max()
    if n == 0:
        return None
    light = np.clip(np.where(mask, 0, plane), 0, None)
    index = np.arange(1, n + 1)
    flux = ndimage.sum_labels(light, labels, index)
    centres = np.array(ndimage.center_of_mass(light + 1e-12, labels, index))
    radii = np.sqrt(ndimage.sum_labels(np.ones_like(light), labels, index) / np.pi)
    main = int(flux.argmax())
    position = _pixel_position(cutout)
    if position is not None:
        main = int(np.hypot(*(centres - position).T).argmin())
    distance = np.hypot(*(centres - centres[main]).T)
    near = (distance <= 3 * (radii + radii[main])) & (index != main + 1)
    companion = int(np.where(near, flux, 0).argmax())
    pair = [main + 1]
    if near[companion] and flux[companion] >= 0.1 * flux[main]:
        pair.append(companion + 1)
    member = np.isin(labels, pair)
    y, x = np.nonzero(member)
    # The plain mean keeps both galaxies of a pair inside, however unequal their light.
    weight = np.sqrt(light[member] + 1e-12)
    centre = np.average(y, weights=weight), np.average(x, weights=weight)
    away = np.hypot(y - centre[0], x - centre[1])
    order = np.argsort(away)
    total = np.cumsum(weight[order])
    radius = away[order][np.searchsorted(total, 0.9 * total[-1])]
    return centre, max(float(radius), 3.0)


def _cut(cutout, y0, x0, side):
    """A square whose first pixel is (y0, x0); what lies beyond the image is masked."""
    bands, ny, nx = cutout.shape
    ys, xs = slice(max(y0, 0), min(y0 + side, ny)), slice(max(x0, 0), min(x0 + side, nx))
    into = (
        slice(None),
        slice(ys.start - y0, ys.stop - y0),
        slice(xs.start - x0, xs.stop - x0),
    )

    def paste(planes, fill):
        out = np.full((bands, side, side), fill, dtype=planes.dtype)
        out[into] = planes[:, ys, xs]
        return out

    wcs = cutout.wcs
    if wcs is not None:
        wcs = wcs.deepcopy()
        wcs.wcs.crpix = wcs.wcs.crpix - [x0, y0]
        if wcs.sip is not None:
            from astropy.wcs import Sip

            sip = wcs.sip
            wcs.sip = Sip(sip.a, sip.b, sip.ap, sip.bp, sip.crpix - [x0, y0])
    outside = (ys.stop - ys.start, xs.stop - xs.start) != (side, side)
    return cutout.replace(
        data=paste(cutout.data, np.nan),
        mask=paste(cutout.mask, True),
        variance=None if cutout.variance is None else paste(cutout.variance, np.nan),
        wcs=wcs,
        flags=cutout.flags | Flag.EDGE if outside else cutout.flags,
    )
