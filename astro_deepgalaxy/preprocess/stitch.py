"""Tiles on the pixels of one cutout."""

from dataclasses import dataclass

import numpy as np

from ..celestial import icrs_to_pixel, local_frame, pixel_to_icrs, tangent_wcs
from ..config import conf
from ..flags import CutoutError
from .align import is_flux
from .resample import transform_wcs
from .warp import average_onto

__all__ = ["Grid", "Part", "combine"]

_SAME_PIXEL = 1e-3  # how well pixels of two tiles must coincide to be taken as they are
_MARGIN = 2  # pixels about a window that is reprojected


@dataclass(frozen=True)
class Part:
    """One band on the pixels of a cutout, from a tile or from many.

    Attributes
    ----------
    data, mask : numpy.ndarray
        Pixels (y, x) and where they must not be used.
    footprint : numpy.ndarray of bool
        Where the tile reaches, (y, x).
    variance, sky : numpy.ndarray or None
        Variance of the pixels and background of the mosaic, (y, x).
    psf : numpy.ndarray or None
        Point-spread function (y, x).
    saturation : float or None
        Saturation level.
    """

    data: np.ndarray
    mask: np.ndarray
    footprint: np.ndarray
    variance: np.ndarray | None = None
    sky: np.ndarray | None = None
    psf: np.ndarray | None = None
    saturation: float | None = None


def combine(grid, parts):
    """The mean of what the tiles of a band have on a grid.

    Parameters
    ----------
    grid : Grid
        Pixels of the cutout.
    parts : list of Part or None
        One for each tile; None for those that do not reach the grid.

    Returns
    -------
    Part
        Weighted by the inverse variances if all have one; masked where none has a pixel. The
        PSF is that of the tile which covers most.
    """
    parts = [part for part in parts if part is not None]
    if not parts:
        empty = np.full(grid.shape, np.nan, dtype=np.float32)
        return Part(empty, np.ones(grid.shape, dtype=bool), np.zeros(grid.shape, dtype=bool))
    if len(parts) == 1:
        return parts[0]
    weighted = all(p.variance is not None for p in parts)
    weights = np.stack(
        [np.where(p.mask, 0, 1 / p.variance if weighted else 1.0) for p in parts]
    ).astype(np.float32)
    total = weights.sum(axis=0)
    mask = ~(total > 0)
    share = weights / np.where(mask, 1, total)

    def mean(planes):
        return sum(s * np.where(s > 0, p, 0) for s, p in zip(share, planes, strict=True))

    levels = [p.saturation for p in parts if p.saturation is not None]
    return Part(
        np.where(mask, np.nan, mean([p.data for p in parts])),
        mask,
        np.logical_or.reduce([p.footprint for p in parts]),
        np.where(mask, np.nan, 1 / np.where(mask, 1, total)) if weighted else None,
        mean([p.sky for p in parts]) if all(p.sky is not None for p in parts) else None,
        max(parts, key=lambda p: np.count_nonzero(~p.mask)).psf,
        min(levels, default=None),
    )


@dataclass(frozen=True)
class Grid:
    """The pixels of a cutout: those of a tile, from one of them on."""

    tile: int
    wcs: object
    unit: object
    side: int
    plane: object
    x0: int | None  # None for a grid of its own
    y0: int | None

    @classmethod
    def about(cls, plane, at, fov, tile):
        """The pixels of a tile about one of its points (x, y), for a field of view in arcsec."""
        wcs, (x, y) = plane.wcs, at
        side = max(4, round(fov / plane.pixel_scale))
        if side**2 > conf.max_image_pixels:
            raise CutoutError(
                f"{plane.name}: a cutout of {fov:g} arcsec would have {side} pixels a side; "
                "choose a smaller field of view"
            )
        x0, y0 = (round(c - (side - 1) / 2) for c in (x, y))
        if any((wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
            # Distortion tables cannot be cut with the pixels.
            new = tangent_wcs(*local_frame(wcs, x, y), (side - 1) / 2, (side - 1) / 2)
            return cls(tile, new, plane.unit, side, plane, None, None)
        return cls(tile, transform_wcs(wcs, origin=(x0, y0)), plane.unit, side, plane, x0, y0)

    @property
    def shape(self):
        return self.side, self.side

    def offset(self, plane):
        """Pixel (x, y) of a tile that is the grid's first, or None if the pixels differ."""
        if self.x0 is None:
            return None
        if plane is self.plane:
            return self.x0, self.y0
        middle = (self.side - 1) / 2
        here = np.array([[0, self.side - 1, 0, middle], [0, 0, self.side - 1, middle]])
        there = np.array(icrs_to_pixel(plane.wcs, *pixel_to_icrs(self.wcs, *here)))
        shift = there - here
        whole = np.round(shift[:, 0])
        if not np.abs(shift - whole[:, np.newaxis]).max() < _SAME_PIXEL:
            return None
        return int(whole[0]), int(whole[1])

    def window(self, plane, offset):
        """Rows and columns of a tile that the grid needs, or None."""
        if offset is None:
            edge = np.linspace(-0.5, self.side - 0.5, 9)
            low, high = np.full(9, -0.5), np.full(9, self.side - 0.5)
            x = np.concatenate([edge, edge, low, high])
            y = np.concatenate([low, high, edge, edge])
            there = icrs_to_pixel(plane.wcs, *pixel_to_icrs(self.wcs, x, y))
            if not np.isfinite(there).all():
                return None
            first = [int(np.floor(c.min())) - _MARGIN for c in there]
            last = [int(np.ceil(c.max())) + _MARGIN + 1 for c in there]
        else:
            first, last = offset, [o + self.side for o in offset]
        ny, nx = plane.shape
        columns = slice(max(first[0], 0), min(last[0], nx))
        rows = slice(max(first[1], 0), min(last[1], ny))
        if rows.stop - rows.start < 1 or columns.stop - columns.start < 1:
            return None
        return rows, columns

    def place(self, plane, rows, columns, offset, layers, mask, variance):
        """Layers (layer, y, x), mask and variance (y, x) of a window on the grid."""
        if offset is not None and layers.shape[1:] == self.shape:
            return layers, mask, variance, np.ones(self.shape, dtype=bool)
        if offset is not None:
            ys, xs = (
                slice(part.start - o, part.stop - o)
                for part, o in ((rows, offset[1]), (columns, offset[0]))
            )
            new = np.full((len(layers), *self.shape), np.nan, dtype=np.float32)
            new_mask, footprint = np.ones(self.shape, dtype=bool), np.zeros(self.shape, dtype=bool)
            new[:, ys, xs], new_mask[ys, xs], footprint[ys, xs] = layers, mask, True
            if variance is not None:
                placed = np.full(self.shape, np.nan, dtype=np.float32)
                placed[ys, xs] = variance
                variance = placed
            return new, new_mask, variance, footprint
        if min(layers.shape[1:]) < 2:
            empty = np.full((len(layers), *self.shape), np.nan, dtype=np.float32)
            return empty, np.ones(self.shape, dtype=bool), None, np.zeros(self.shape, dtype=bool)
        wcs = transform_wcs(plane.wcs, origin=(columns.start, rows.start))
        masks = np.broadcast_to(mask, layers.shape)
        variances = None if variance is None else np.broadcast_to(variance, layers.shape)
        new, new_mask, variances = average_onto(layers, masks, variances, wcs, self.wcs, self.shape)
        everywhere = np.zeros((1, *mask.shape), dtype=bool)
        _, outside, _ = average_onto(
            np.zeros((1, *mask.shape), np.float32), everywhere, None, wcs, self.wcs, self.shape
        )
        ratio = 1.0
        if is_flux(plane.unit):
            # Flux a pixel goes with the area of a pixel.
            middle = (self.side - 1) / 2
            there = icrs_to_pixel(wcs, *pixel_to_icrs(self.wcs, middle, middle))
            ours, theirs = (
                local_frame(w, *c)[2] for w, c in ((self.wcs, (middle, middle)), (wcs, there))
            )
            ratio = np.float32(abs(np.linalg.det(ours) / np.linalg.det(theirs)))
        variance = None if variances is None else variances[0] * ratio**2
        return new * ratio, new_mask[0], variance, ~outside[0]
