"""Cutting out the galaxies."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage

from ..flags import CutoutError, Flag
from .resample import transform_wcs
from .sky import WORKING_SIZE, bin_plane, find_sources, sky_statistics
from .steps import Step

__all__ = ["Crop"]

_UNITS = ("radius", "pixel", "arcsec")
_PLACES = ("source", "position", "centre")
_NSIGMA = 2.0
_OF_PEAK = 0.01
_OF_PEAK_PICTURE = 0.06  # a stretched picture shows fainter things, and less noise
_CENTRAL = 0.2  # of the longer side: how far from the middle brightness counts less
_REACH = 2.0  # of the radius of the chosen source: how far off a companion may be


@dataclass(frozen=True)
class Crop(Step):
    """Cut a square.

    Attributes
    ----------
    size : float
        Side of the square, in `unit`.
    unit : {"radius", "pixel", "arcsec"}
        ``radius`` is that of the galaxies: the distance from their centre that holds 90 % of
        the square root of their light, so that the outer parts count. Near and far galaxies
        then fill the square alike. The square is never larger than the image.
    on : {"source", "position", "centre"}
        What lies in the middle: the brightest source together with its companions, or
        the source at the cutout's ``meta["position"]`` if one was given; that position itself; or
        the middle of the image.

    Notes
    -----
    Sources near the middle of the image are preferred: light counts less by a Gaussian of a fifth
    of the longer side. Companions are sources with at least a tenth of the light and a fifth of
    the area, whose border is not farther away than two radii of the chosen source. Without any
    source the middle of the image is cut out and the flag ``no_source`` is set. What lies beyond
    the image is masked, with the flag ``edge``.
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
                f"a crop of {self.size} arcsec needs a WCS",
                Flag.PREPROCESS_FAILED,
            )
        else:
            side = self.size / cutout.pixel_scale.to_value("arcsec")
        return max(4, round(side))

    def _position(self, cutout):
        position = _pixel_position(cutout)
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


def _pixel_position(cutout):
    """Where ``meta["position"]`` lies, (y, x), or None."""
    position = cutout.meta.get("position")
    if position is None or cutout.wcs is None:
        return None
    x, y = cutout.wcs.world_to_pixel(position)
    return (float(y), float(x)) if np.isfinite([x, y]).all() else None


def _galaxies(cutout):
    """Centre (y, x) and radius of the chosen source with its companions, or None."""
    _, ny, nx = cutout.shape
    factor = max(1, round(max(ny, nx) / WORKING_SIZE))
    mask = cutout.mask.all(axis=0)
    plane = np.where(cutout.mask, 0, cutout.data).mean(axis=0)
    plane, valid = bin_plane(plane, ~mask, factor)
    stretched = bool(cutout.flags & Flag.PICTURE)
    labels = find_sources(plane, valid, _NSIGMA, _OF_PEAK_PICTURE if stretched else _OF_PEAK)
    if not labels.any():
        return None
    level, _ = sky_statistics(plane[valid])
    light = np.where(valid, np.clip(plane - level, 0, None), 0)
    position = _pixel_position(cutout)
    if position is not None:
        position = (np.array(position) + 0.5) / factor - 0.5
    chosen = _choose(labels, light, position)
    y, x = np.nonzero(chosen)
    # The root keeps a bright nucleus from drawing the centre away from its companion.
    weight = np.sqrt(light[y, x] + 1e-12)
    centre = np.array([np.average(y, weights=weight), np.average(x, weights=weight)])
    away = np.hypot(y - centre[0], x - centre[1])
    order = np.argsort(away)
    total = np.cumsum(weight[order])
    radius = away[order][min(np.searchsorted(total, 0.9 * total[-1]), len(order) - 1)]
    return (centre + 0.5) * factor - 0.5, max(float(radius) * factor, 3.0)


def _choose(labels, light, position):
    """Where the chosen source and its companions are, (y, x) of bool."""
    n = labels.max() + 1
    flux = np.bincount(labels.ravel(), light.ravel(), n)
    area = np.bincount(labels.ravel(), minlength=n)
    y, x = np.indices(labels.shape)
    if position is None:
        # Whoever cuts out a galaxy puts it near the middle; the brightest star may be anywhere.
        middle = (np.array(labels.shape) - 1) / 2
        away = np.hypot(y - middle[0], x - middle[1]) / max(labels.shape)
        central = light * np.exp(-0.5 * (away / _CENTRAL) ** 2)
        score = np.bincount(labels.ravel(), central.ravel(), n)
        score[0] = -1
        main = int(score.argmax())
    else:
        away = np.hypot(y - position[0], x - position[1])
        main = int(labels.ravel()[np.where(labels > 0, away, np.inf).argmin()])
    gap = np.full(n, np.inf)
    np.minimum.at(gap, labels.ravel(), ndimage.distance_transform_edt(labels != main).ravel())
    near = gap <= _REACH * np.sqrt(area[main] / np.pi)
    kept = near & (flux >= 0.1 * flux[main]) & (area >= 0.2 * area[main])
    kept[0], kept[main] = False, True
    return kept[labels]


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

    mask = paste(cutout.mask, True)
    if mask.all():
        raise CutoutError("the square to cut out has no valid pixel", Flag.NO_DATA)
    outside = (ys.stop - ys.start, xs.stop - xs.start) != (side, side)
    return cutout.replace(
        data=paste(cutout.data, np.nan),
        mask=mask,
        variance=None if cutout.variance is None else paste(cutout.variance, np.nan),
        wcs=None if cutout.wcs is None else transform_wcs(cutout.wcs, origin=(x0, y0)),
        flags=cutout.flags | Flag.EDGE if outside else cutout.flags,
    )
