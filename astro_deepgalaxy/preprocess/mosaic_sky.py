"""The background of whole mosaics, measured once and kept as a small mesh for each tile."""

from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy import ndimage

from ..flags import CutoutError
from ..jobs import atomic_path
from .mesh import box_levels, interpolate, smooth_mesh
from .planes import open_plane
from .sky import find_sources, of_peak

__all__ = ["measure_sky"]

_STRIP = 4_000_000  # pixels held at a time
_WINGS = 4  # pixels that the mask of a source grows


def measure_sky(tile, step, path):
    """Measure the background of a tile and write it, unless it stands there.

    The tile is read in strips, twice: once to find the sky, and once more with the sources above
    it masked. Memory does not grow with the tile.

    Parameters
    ----------
    tile : Tile
        The tile; its mask and the zeros of its weight are left out.
    step : Background
        The size of the boxes and the threshold of the sources.
    path : str or `~pathlib.Path`
        FITS image to write: the level of each box, with BOX, SHAPEY and SHAPEX in its header.

    Notes
    -----
    Nothing is written for a tile that cannot be read, is too small, or has no sky between its
    sources: cutouts of it have to make do with their own.
    """
    path = Path(path)
    if path.exists():
        return
    try:
        plane = open_plane(tile.file)
        sky = _measure(tile, plane, step)
    except CutoutError:
        return
    if sky is None:
        return
    header = fits.Header({"BOX": sky.box, "SHAPEY": sky.shape[0], "SHAPEX": sky.shape[1]})
    with atomic_path(path) as partial:
        fits.writeto(partial, sky.level, header)


def _measure(tile, plane, step):
    box = min(step.box_size, min(plane.shape) // 3)
    if box < 8:
        return None
    sky = _mesh(tile, plane, box, lambda pixels, bad, rows: bad)
    if step.nsigma > 0 and sky is not None:

        def with_sources(pixels, bad, rows):
            flat = np.where(bad, 0, pixels - interpolate(sky.level, box, plane.shape, rows))
            sources = find_sources(flat, ~bad, step.nsigma, of_peak(flat, ~bad)) > 0
            return bad | ndimage.binary_dilation(sources, iterations=_WINGS)

        sky = _mesh(tile, plane, box, with_sources)
    return sky


def _mesh(tile, plane, box, mask):
    ny, nx = plane.shape
    rows_at_once = max(1, _STRIP // nx // box) * box
    parts = []
    for start in range(0, ny, rows_at_once):
        rows, columns = slice(start, min(start + rows_at_once, ny)), slice(0, nx)
        pixels = plane.read(rows, columns)
        bad = ~np.isfinite(pixels)
        if tile.mask:
            bad |= open_plane(tile.mask).read(rows, columns) != 0
        if tile.weight:
            bad |= ~(open_plane(tile.weight).read(rows, columns) > 0)
        parts.append(box_levels(pixels, mask(pixels, bad, rows), box))
    raw, noise = (np.concatenate(p) for p in zip(*parts, strict=True))
    return smooth_mesh(raw, noise, box, plane.shape)
