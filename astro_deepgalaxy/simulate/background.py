"""Real images of the sky into which simulated galaxies are put."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from ..flags import CutoutError
from ..io.fits import read_fits, split_extension
from .header import header_number, image_header

__all__ = ["Background", "read_background"]

_NANOMAGGIES = ("nanomaggy", "nanomaggies", "nanomaggie", "nmgy")
_ZERO_POINTS = ("MAGZERO", "MAGZPT", "PHOTZP", "ZP")
# Of the background's header, what is as true of a piece of it.
_KEPT = ("BUNIT", *_ZERO_POINTS, "FLUXMAG0", "TELESCOP", "INSTRUME", "FILTER", "DATE-OBS")
_KEPT += ("MJD-OBS", "EXPTIME", "GAIN", "RDNOISE", "SEEING")


@dataclass(frozen=True, eq=False)
class Background:
    """A real image of the sky.

    Attributes
    ----------
    path : str
        Its file.
    pixels : numpy.ndarray
        Counts, (y, x), not finite where there are none.
    wcs : `~astropy.wcs.WCS`
        Celestial WCS.
    header : `~astropy.io.fits.Header`
        Its header.
    pixel_scale : float
        In arcsec.
    zero_point : float
        AB magnitude of one count.
    bad : numpy.ndarray
        Number of pixels without a value below and left of each corner, (y + 1, x + 1).
    """

    path: str
    pixels: np.ndarray
    wcs: WCS
    header: fits.Header
    pixel_scale: float
    zero_point: float
    bad: np.ndarray

    def places(self, shape):
        """Where a stamp fits without touching a pixel that has no value.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns of the stamp.

        Returns
        -------
        numpy.ndarray of bool
            Whether the stamp may begin in a row and column.

        Raises
        ------
        CutoutError
            If it fits nowhere.
        """
        (ny, nx), bad = shape, self.bad
        free = bad[ny:, nx:] - bad[:-ny, nx:] - bad[ny:, :-nx] + bad[:-ny, :-nx] == 0
        if not free.any():
            width, height = self.pixels.shape[::-1]
            raise CutoutError(
                f"{self.path}: an image of {nx} x {ny} pixels does not fit into the good pixels of "
                f"the background ({width} x {height}); choose a larger one, a smaller field or a "
                "higher redshift"
            )
        return free

    def piece(self, shape, rng):
        """A piece at a random place.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns.
        rng : numpy.random.Generator
            Chooses the place.

        Returns
        -------
        pixels : numpy.ndarray
            Counts, (y, x).
        header : `~astropy.io.fits.Header`
            Its WCS, and what the background's header says about unit, flux scale and exposure.

        Raises
        ------
        CutoutError
            If no piece of this shape is without gaps.
        """
        free = self.places(shape)
        while True:  # quicker than a list of all places: few are not free
            y, x = (rng.integers(n) for n in free.shape)
            if free[y, x]:
                break
        rows, columns = slice(y, y + shape[0]), slice(x, x + shape[1])
        header = fits.Header([self.header.cards[key] for key in _KEPT if key in self.header])
        header.extend(self.wcs[rows, columns].to_header(relax=True), update=True)
        return self.pixels[rows, columns], header


def read_background(path, band=""):
    """Read a real image of the sky.

    The file last read is kept in memory.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        FITS file; ``file.fits[SCI]`` chooses an extension. Its flux scale is taken from the
        header: a flux as BUNIT (``nanomaggy``, ``nJy``, ...), the AB magnitude of one count as
        MAGZERO, MAGZPT, PHOTZP or ZP, or the counts of magnitude 0 as FLUXMAG0, in this order.
    band : str
        Which plane to take if there are several, by its name.

    Returns
    -------
    Background

    Raises
    ------
    CutoutError
        If it cannot be read, has no celestial WCS, no such band or no flux scale.
    """
    file, _ = split_extension(path)
    try:
        changed = file.stat().st_mtime_ns
    except OSError as error:
        raise CutoutError(f"{path}: cannot be opened: {error.strerror}") from error
    return _read(str(path), band, changed)


@lru_cache(maxsize=1)
def _read(path, band, changed):
    cutout = read_fits(path)
    if cutout.wcs is None:
        raise CutoutError(
            f"{path}: has no celestial WCS; a background needs one for its pixel scale"
        )
    if len(cutout.data) > 1 and band not in cutout.bands:
        raise CutoutError(
            f"{path}: has the bands {', '.join(cutout.bands)}, none of them {band!r}; "
            "write that band into a file of its own"
        )
    pixels = cutout.data[cutout.bands.index(band) if len(cutout.data) > 1 else 0]
    bad = np.zeros(np.add(pixels.shape, 1), np.int32)
    bad[1:, 1:] = (~np.isfinite(pixels)).cumsum(axis=0, dtype=np.int32).cumsum(axis=1)
    header = image_header(path)
    scale = cutout.pixel_scale.value
    return Background(path, pixels, cutout.wcs, header, scale, _zero_point(header, path), bad)


def _zero_point(header, path):
    """AB magnitude of one count."""
    unit = str(header.get("BUNIT", "")).strip()
    if unit.lower() in _NANOMAGGIES:
        return 22.5
    try:
        return float((1 * u.Unit(unit)).to_value(u.ABmag))
    except (ValueError, TypeError, u.UnitsError):
        pass
    for key in _ZERO_POINTS:
        number = header_number(header, key, path)
        if number is not None:
            return number
    flux = header_number(header, "FLUXMAG0", path)
    if flux is not None and flux > 0:
        return 2.5 * math.log10(flux)
    raise CutoutError(
        f"{path}: the header does not say how bright a count is; "
        "add MAGZERO, the AB magnitude of one count, or BUNIT = 'nanomaggy'"
    )
