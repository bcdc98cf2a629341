"""Tiles on the pixels of one cutout."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..celestial import icrs_to_pixel, local_frame, pixel_to_icrs, tangent_wcs
from ..config import conf
from ..flags import CutoutError, Flag
from .align import is_flux
from .resample import transform_wcs
from .warp import average_onto

__all__ = ["Grid", "Part", "combine", "resampled_psf"]

_SAME_PIXEL = 1e-3  # how well pixels of two tiles must coincide to be taken as they are
_SMALL = 1000  # pixels a side that are never too many
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
    variance, weight : numpy.ndarray or None
        Variance of the pixels and their weight in a mean, (y, x). The weight is that of the
        tile's own pixels, so that resampling, which blurs, gains none.
    sky : numpy.ndarray or None
        Background of the mosaic, (y, x).
    psf : numpy.ndarray or None
        Point-spread function (y, x).
    saturation : float or None
        Saturation level.
    """

    data: np.ndarray
    mask: np.ndarray
    footprint: np.ndarray
    variance: np.ndarray | None = None
    weight: np.ndarray | None = None
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
        Weighted by the weights if all have them; masked where none has a pixel. The PSF is that
        of the tile which covers most.
    """
    parts = [part for part in parts if part is not None]
    if not parts:
        empty = np.full(grid.shape, np.nan, dtype=np.float32)
        return Part(empty, np.ones(grid.shape, dtype=bool), np.zeros(grid.shape, dtype=bool))
    if len(parts) == 1:
        return parts[0]
    weighted = all(p.weight is not None for p in parts)
    weights = np.stack([np.where(p.mask, 0, p.weight if weighted else 1.0) for p in parts])
    total = weights.sum(axis=0, dtype=float)
    mask = ~(total > 0)
    share = (weights / np.where(mask, 1, total)).astype(np.float32)

    def mean(planes):
        return sum(s * np.where(s > 0, p, 0) for s, p in zip(share, planes, strict=True))

    variance = None
    if weighted:
        variance = sum(
            w**2 * np.where(w > 0, p.variance, 0) for w, p in zip(share, parts, strict=True)
        )
    return Part(
        np.where(mask, np.nan, mean([p.data for p in parts])),
        mask,
        np.logical_or.reduce([p.footprint for p in parts]),
        None if variance is None else np.where(mask, np.nan, variance),
        total.astype(np.float32) if weighted else None,
        mean([p.sky for p in parts]) if all(p.sky is not None for p in parts) else None,
        max(parts, key=lambda p: np.count_nonzero(~p.mask)).psf,
        min((p.saturation for p in parts if p.saturation is not None), default=None),
    )


@dataclass(frozen=True)
class Grid:
    """The pixels of a cutout: those of a tile, from one of them on.

    Attributes
    ----------
    tile : int
        Number of the tile.
    wcs : `~astropy.wcs.WCS`
        WCS of the cutout.
    side : int
        Pixels along y and x.
    plane : Plane
        Image of the tile.
    x0, y0 : int or None
        Its pixel that is the cutout's first; None for pixels of the cutout's own, where the tile
        has distortion tables.
    """

    tile: int
    wcs: object
    side: int
    plane: object
    x0: int | None
    y0: int | None

    @classmethod
    def about(cls, plane, at, fov, tile):
        """The pixels of a tile about one of its points (x, y), for a field of view in arcsec."""
        wcs, (x, y) = plane.wcs, at
        scale = plane.pixel_scale
        if not np.isfinite(scale):
            # An image of all the sky may have none in its middle.
            scale = 3600 * np.sqrt(abs(np.linalg.det(local_frame(wcs, x, y)[2])))
        if not scale > 0:
            raise CutoutError(f"{plane.name}: its WCS has no pixel scale there", Flag.NO_DATA)
        side = max(4, round(fov / scale))
        if side > _SMALL and side**2 > conf.max_image_pixels:
            raise CutoutError(
                f"{plane.name}: a cutout of {fov:g} arcsec would have {side} pixels a side; "
                "choose a smaller field of view"
            )
        x0, y0 = (round(c - (side - 1) / 2) for c in (x, y))
        if any((wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
            # Distortion tables cannot be cut with the pixels.
            new = tangent_wcs(*local_frame(wcs, x, y), (side - 1) / 2, (side - 1) / 2)
            return cls(tile, new, side, plane, None, None)
        return cls(tile, transform_wcs(wcs, origin=(x0, y0)), side, plane, x0, y0)

    @property
    def shape(self):
        """Shape of the cutout, (y, x)."""
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
            known = np.isfinite(there).all(axis=0)
            if not known.any():
                return None
            first = [int(np.floor(c[known].min())) - _MARGIN for c in there]
            last = [int(np.ceil(c[known].max())) + _MARGIN + 1 for c in there]
        else:
            first, last = offset, [o + self.side for o in offset]
        ny, nx = plane.shape
        columns = slice(max(first[0], 0), min(last[0], nx))
        rows = slice(max(first[1], 0), min(last[1], ny))
        if rows.stop - rows.start < 1 or columns.stop - columns.start < 1:
            return None
        return rows, columns

    def place(self, part, plane, rows, columns, offset):
        """What a window of a tile has, on the grid."""
        if offset is None:
            return self._resampled(part, plane, rows, columns)
        if part.data.shape == self.shape:
            return part
        ys, xs = (
            slice(p.start - o, p.stop - o) for p, o in ((rows, offset[1]), (columns, offset[0]))
        )

        def placed(pixels, fill):
            if pixels is None:
                return None
            new = np.full(self.shape, fill, dtype=pixels.dtype)
            new[ys, xs] = pixels
            return new

        return replace(
            part,
            data=placed(part.data, np.nan),
            mask=placed(part.mask, True),
            footprint=placed(part.footprint, False),
            variance=placed(part.variance, np.nan),
            weight=placed(part.weight, 0),
            sky=placed(part.sky, 0),
        )

    def _resampled(self, part, plane, rows, columns):
        if min(part.data.shape) < 2:
            return None
        wcs = transform_wcs(plane.wcs, origin=(columns.start, rows.start))
        everywhere = np.ones(part.data.shape, dtype=np.float32)
        layers = {"data": part.data, "weight": part.weight, "sky": part.sky, "seen": everywhere}
        layers = {name: layer for name, layer in layers.items() if layer is not None}
        masks = np.stack([part.mask if name != "seen" else ~(everywhere > 0) for name in layers])
        new, masks, _ = average_onto(
            np.stack(list(layers.values())), masks, None, wcs, self.wcs, self.shape
        )
        new = dict(zip(layers, new, strict=True))
        variance = None
        if part.variance is not None:
            _, _, variance = average_onto(
                part.data[None], part.mask[None], part.variance[None], wcs, self.wcs, self.shape
            )
        ratio, matrix = 1.0, self._matrix(wcs, ~masks[-1])
        if is_flux(plane.unit) and matrix is not None:
            # Flux a pixel goes with the area of a pixel.
            ratio = np.float32(abs(np.linalg.det(matrix)))
        return Part(
            new["data"] * ratio,
            masks[0],
            ~masks[-1],
            None if variance is None else variance[0] * ratio**2,
            new["weight"] / ratio**2 if "weight" in new else None,
            new["sky"] * ratio if "sky" in new else None,
            None if part.psf is None or matrix is None else resampled_psf(part.psf, matrix),
            None if part.saturation is None else part.saturation * ratio,
        )

    def _matrix(self, wcs, seen):
        """Pixels (x, y) of a tile for a pixel of the grid, in the middle of what it covers."""
        if not seen.any():
            return None
        y, x = (float(c.mean()) for c in np.nonzero(seen))
        there = icrs_to_pixel(wcs, *pixel_to_icrs(self.wcs, x, y))
        ours, theirs = local_frame(self.wcs, x, y)[2], local_frame(wcs, *there)[2]
        matrix = np.linalg.solve(theirs, ours) if np.isfinite(theirs).all() else np.array(np.nan)
        return matrix if np.isfinite(matrix).all() else None


def resampled_psf(psf, matrix):
    """A point-spread function on other pixels.

    Parameters
    ----------
    psf : numpy.ndarray
        Image (y, x) about its middle.
    matrix : numpy.ndarray
        Its pixels (x, y) for a new pixel along x and y (columns).

    Returns
    -------
    numpy.ndarray
        Image of odd sides whose sum is one.
    """
    fine = 3  # samples along a side of a pixel
    reach = np.abs(np.linalg.inv(matrix)) @ (np.array(psf.shape[::-1]) / 2)
    shape = 2 * np.ceil(reach[::-1]).astype(int) + 1
    turned = matrix[::-1, ::-1] / fine
    middle = (np.array(psf.shape) - 1) / 2
    offset = middle - turned @ ((shape * fine - 1) / 2)
    sampled = ndimage.affine_transform(psf, turned, offset, tuple(shape * fine), order=3)
    new = sampled.reshape(shape[0], fine, shape[1], fine).sum(axis=(1, 3))
    return (new / new.sum()).astype(np.float32)
