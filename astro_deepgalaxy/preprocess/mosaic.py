"""Cutouts from the mosaics of a survey, stitched across the borders of its tiles."""

import os
from dataclasses import replace
from functools import lru_cache
from numbers import Real
from pathlib import Path

import numpy as np
from astropy.io import fits

from ..celestial import icrs_to_pixel, pixel_to_icrs
from ..cutout import Cutout
from ..flags import CutoutError, Flag
from .mesh import interpolate
from .planes import open_plane
from .stitch import Grid, Part, combine
from .tiles import Tile, list_tiles

__all__ = ["Mosaics", "Tile"]

_LEAST_WEIGHT = 1e-30  # less would make a variance that float32 does not hold


class Mosaics:
    """The tiles of a survey in one or more bands.

    A cutout has the pixels of the tile in whose middle its position lies most, in the first band
    that has one. Where more tiles of a band cover a pixel it is their mean, weighted by the
    weight maps if there are any. Tiles on the same grid of pixels are taken as they are; others,
    and bands of other pixels, are averaged onto the grid
    (`~astro_deepgalaxy.preprocess.warp.average_onto`) with their flux, or with their surface
    brightness if their unit is one.

    Parameters
    ----------
    tiles : dict, `~astropy.table.Table`, path, or sequence of Tile
        ``{band: files}``, each a path, a glob or a list of them; or a table, or the file of one,
        with the columns ``band`` and ``file`` and optionally ``weight``, ``mask`` and ``psf``
        (relative to the table's file). The order of the bands is that of the cutouts.
    fov : float
        Side of a cutout in arcseconds, where the catalogue has no column ``fov``.
    weight, mask, psf : dict, optional
        ``{band: files}`` for each tile of the band in order; one PSF may serve all.

    Raises
    ------
    ValueError
        If a file is missing or has no celestial WCS, the planes do not fit the tiles, or the
        tiles have units that cannot be converted.
    """

    def __init__(self, tiles, fov=None, *, weight=None, mask=None, psf=None):
        self.tiles = list_tiles(tiles, {"weight": weight, "mask": mask, "psf": psf})
        # Wherever the work is done, the files are those that were meant here.
        self.located = tuple(_located(tile) for tile in self.tiles)
        if fov is not None and not (isinstance(fov, Real) and 0 < fov < np.inf):
            raise ValueError(f"mosaics: fov must be a positive number of arcsec; got {fov!r}")
        self.fov = None if fov is None else float(fov)
        self.bands = tuple(dict.fromkeys(tile.band for tile in self.tiles))
        self.sky_folder = None
        # Where each tile is in the sky: its middle, and how far it reaches in radians.
        self._middles = np.empty((len(self.tiles), 3))
        self._reach = np.empty(len(self.tiles))
        for i, tile in enumerate(self.located):
            self._middles[i], self._reach[i] = _footprint(tile)
        self.unit, self._factors = _common_unit(self.located)
        self._band_of = np.array([self.bands.index(tile.band) for tile in self.tiles])

    def with_sky(self, folder):
        """The same mosaics with their measured background.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            Where `~astro_deepgalaxy.preprocess.mosaic_sky.measure_sky` wrote it.

        Returns
        -------
        Mosaics
        """
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, sky_folder=Path(folder))
        return new

    def to_dict(self):
        """The tiles and the field of view as JSON data."""
        return {"tiles": [vars(tile).copy() for tile in self.tiles], "fov": self.fov}

    def cutout(self, ra, dec, fov=None, id="", redshift=np.nan):
        """Cut out a square.

        Parameters
        ----------
        ra, dec : float
            ICRS position of its middle in degrees.
        fov : float, optional
            Side in arcseconds; by default that of the mosaics.
        id : str
            Name of the cutout.
        redshift : float
            Redshift to keep with it; NaN for none.

        Returns
        -------
        Cutout
            All bands on one grid, with the position, the PSFs and the sky of the mosaic in
            ``meta`` as far as they are known.

        Raises
        ------
        CutoutError
            If no tile covers the position, or a file cannot be read.
        """
        fov = self.fov if fov is None or not np.isfinite(fov) else fov
        name = id or f"{ra:.6f} {dec:+.6f}"
        if not (np.isfinite([ra, dec]).all() and abs(dec) <= 90):
            raise CutoutError(f"{name}: has no position in the sky", Flag.NO_DATA)
        if fov is None or not fov > 0:
            raise CutoutError(
                f"{name}: the field of view is {fov}; expected the side of a cutout in arcsec (fov)"
            )
        near = self._near(ra, dec, fov)
        grid = self._grid(near, ra, dec, fov, name)
        found = [
            combine(grid, [self._part(grid, i) for i in near if self._band_of[i] == b])
            for b in range(len(self.bands))
        ]
        meta = {"position": (ra, dec)}
        if np.isfinite(redshift):
            meta["redshift"] = redshift
        if any(band.psf is not None for band in found):
            meta["psf"] = [band.psf for band in found]
        skies = [np.zeros(grid.shape, np.float32) if b.mask.all() else b.sky for b in found]
        if all(sky is not None for sky in skies):
            meta["sky"] = np.stack(skies)
        data = np.stack([band.data for band in found])
        mask = np.stack([band.mask for band in found])
        if mask.all():
            raise CutoutError(f"{name}: the tiles have no valid pixel there", Flag.NO_DATA)
        flags = Flag(0)
        for band in found:
            level = band.saturation
            if level is not None and (band.data[~band.mask] >= level).any():
                flags |= Flag.SATURATED
        if not all(band.footprint.all() for band in found):
            flags |= Flag.EDGE
        # A band that is missing here is masked; one without weights leaves all without variance.
        nothing = np.full(grid.shape, np.nan, dtype=np.float32)
        variance = None
        if all(band.variance is not None or band.mask.all() for band in found):
            variance = np.stack([nothing if b.variance is None else b.variance for b in found])
        return Cutout(
            data,
            id=id,
            file=self.tiles[grid.tile].file,
            bands=self.bands,
            mask=mask,
            variance=variance,
            wcs=grid.wcs,
            unit=self.unit,
            flags=flags,
            meta=meta,
        )

    def _near(self, ra, dec, fov):
        """Numbers of the tiles that may cover a square."""
        a, d = np.radians(ra), np.radians(dec)
        there = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
        reach = self._reach + np.radians(fov / 3600 / np.sqrt(2))
        return np.flatnonzero(self._middles @ there >= np.cos(np.minimum(reach, np.pi)))

    def _grid(self, near, ra, dec, fov, name):
        best, depth, band = None, -np.inf, None
        for i in sorted(near, key=lambda i: self._band_of[i]):
            if best is not None and self._band_of[i] != band:
                break
            plane = open_plane(self.located[i].file)
            x, y = (float(c) for c in icrs_to_pixel(plane.wcs, ra, dec))
            ny, nx = plane.shape
            inside = min(x + 0.5, y + 0.5, nx - 0.5 - x, ny - 0.5 - y)
            if inside >= 0 and inside > depth:
                best, depth, band, at = i, inside, self._band_of[i], (x, y)
        if best is None:
            raise CutoutError(f"{name}: no tile covers the position", Flag.NO_DATA)
        return Grid.about(open_plane(self.located[best].file), at, fov, best)

    def _part(self, grid, i):
        """What one tile has on the grid, or None if it does not reach it."""
        tile, factor = self.located[i], self._factors[i]
        plane = open_plane(tile.file)
        offset = grid.offset(plane)
        window = grid.window(plane, offset)
        if window is None:
            return None
        rows, columns = window
        data = plane.read(rows, columns)
        mask = ~np.isfinite(data)
        if tile.mask:
            mask |= _companion(tile.mask, plane).read(rows, columns) != 0
        variance = weight = sky = None
        if tile.weight:
            weight = _companion(tile.weight, plane).read(rows, columns)
            mask |= ~((weight > _LEAST_WEIGHT) & (weight < np.inf))
            weight = np.where(mask, 0, weight) / np.float32(factor**2)
            variance = 1 / np.where(mask, np.nan, weight)
        if self.sky_folder is not None:
            sky = _sky(self.sky_folder / f"{i:05d}.fits", plane.shape, rows, columns)
        if factor != 1:
            data, sky = data * factor, None if sky is None else sky * factor
        part = Part(
            data,
            mask,
            np.ones(data.shape, dtype=bool),
            variance,
            weight,
            sky,
            open_plane(tile.psf).psf if tile.psf else None,
            None if plane.saturation is None else plane.saturation * factor,
        )
        return grid.place(part, plane, rows, columns, offset)


def _located(tile):
    names = {k: os.path.abspath(v) for k, v in vars(tile).items() if v and k != "band"}
    return replace(tile, **names)


def _common_unit(tiles):
    """The unit of the first tile, and what the pixels of each are multiplied by for it."""
    units = [open_plane(tile.file).unit for tile in tiles]
    factors = []
    for tile, unit in zip(tiles, units, strict=True):
        if unit == units[0]:
            factors.append(np.float32(1))
        elif None not in (unit, units[0]) and unit.is_equivalent(units[0]):
            factors.append(np.float32(unit.to(units[0])))
        else:
            raise ValueError(
                f"mosaics: {tile.file} is in {unit or 'no unit'}, which is not that of "
                f"{tiles[0].file}, {units[0] or 'none'}"
            )
    return units[0], factors


def _footprint(tile):
    """Unit vector of the middle of a tile, and the radius of the circle that holds it."""
    try:
        plane = open_plane(tile.file)
        for name in (tile.weight, tile.mask):
            if name:
                _companion(name, plane)
        if tile.psf:
            _ = open_plane(tile.psf).psf
    except CutoutError as error:
        raise ValueError(f"mosaics: {error}") from error
    if plane.wcs is None:
        raise ValueError(f"mosaics: {tile.file}: has no celestial WCS")
    ny, nx = plane.shape
    x = np.array([(nx - 1) / 2, -0.5, nx - 0.5, -0.5, nx - 0.5])
    y = np.array([(ny - 1) / 2, -0.5, -0.5, ny - 0.5, ny - 0.5])
    ra, dec = np.radians(pixel_to_icrs(plane.wcs, x, y))
    points = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    if not np.isfinite(points).all():
        return np.array([0.0, 0.0, 1.0]), np.pi  # all of the sky: it is always looked at
    away = np.arccos(np.clip(points[1:] @ points[0], -1, 1))
    return points[0], away.max() * 1.01


def _companion(name, plane):
    other = open_plane(name)
    if other.shape != plane.shape:
        raise CutoutError(
            f"{name}: has the shape {other.shape}; its tile {plane.name} has {plane.shape}"
        )
    return other


def _sky(path, shape, rows, columns):
    """Background of a window of a tile; None if none was measured."""
    try:
        level, box = _level(path, path.stat().st_ino, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return None
    return interpolate(level, box, shape, rows, columns)


@lru_cache(maxsize=256)
def _level(path, *_):
    with fits.open(path, memmap=False) as hdus:
        return hdus[0].data.astype(np.float32), hdus[0].header["BOX"]
