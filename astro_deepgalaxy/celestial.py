"""ICRS positions of pixels, without the time that coordinate objects take."""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS, NoConvergence
from astropy.wcs.utils import wcs_to_celestial_frame

__all__ = [
    "with_pixels",
    "icrs_to_pixel",
    "image_wcs",
    "local_frame",
    "pixel_to_icrs",
    "position_degrees",
    "tangent_wcs",
]


def pixel_to_icrs(wcs, x, y):
    """Right ascension and declination of pixels.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Two-dimensional celestial WCS of any frame.
    x, y : array_like
        Pixel coordinates, counted from 0.

    Returns
    -------
    ra, dec : numpy.ndarray
        Degrees; NaN where the projection has no sky.
    """
    x, y = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
    pixels = np.column_stack([x.ravel(), y.ravel()])
    if wcs.has_distortion:
        pixels = wcs.pix2foc(pixels, 0)
    found = wcs.wcs.p2s(pixels, 0)
    world = np.where(found["stat"][:, np.newaxis] == 0, found["world"], np.nan)
    lon, lat = world[:, wcs.wcs.lng], world[:, wcs.wcs.lat]
    if not _is_icrs(wcs):
        with np.errstate(invalid="ignore"):
            sky = SkyCoord(lon, lat, unit="deg", frame=wcs_to_celestial_frame(wcs)).icrs
        lon, lat = sky.ra.deg, sky.dec.deg
    return lon.reshape(x.shape), lat.reshape(x.shape)


def icrs_to_pixel(wcs, ra, dec):
    """Pixels of positions in the sky.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Two-dimensional celestial WCS of any frame.
    ra, dec : array_like
        Right ascension and declination in degrees.

    Returns
    -------
    x, y : numpy.ndarray
        Pixel coordinates, counted from 0; NaN where the projection does not reach.
    """
    ra, dec = np.broadcast_arrays(np.asarray(ra, dtype=float), np.asarray(dec, dtype=float))
    lon, lat = ra.ravel(), dec.ravel()
    if not _is_icrs(wcs):
        sky = SkyCoord(lon, lat, unit="deg").transform_to(wcs_to_celestial_frame(wcs))
        lon, lat = sky.spherical.lon.deg, sky.spherical.lat.deg
    world = np.empty((len(lon), 2))
    world[:, wcs.wcs.lng], world[:, wcs.wcs.lat] = lon, lat
    if wcs.has_distortion:
        try:
            x, y = wcs.all_world2pix(world, 0).T
        except NoConvergence as error:
            # Far outside the image the distortion need not have an inverse.
            pixels = error.best_solution
            bad = np.concatenate([i for i in (error.divergent, error.slow_conv) if i is not None])
            pixels[bad.astype(int)] = np.nan
            x, y = pixels.T
    else:
        found = wcs.wcs.s2p(world, 0)
        x, y = np.where(found["stat"][:, np.newaxis] == 0, found["pixcrd"], np.nan).T
    return x.reshape(ra.shape), y.reshape(ra.shape)


def local_frame(wcs, x, y):
    """Where a pixel is, and where the axes of the image point there.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Two-dimensional celestial WCS.
    x, y : float
        Pixel coordinates, counted from 0.

    Returns
    -------
    ra, dec : float
        Degrees.
    matrix : numpy.ndarray
        Degrees towards the east and the north (rows) for a pixel along x and y (columns): the CD
        matrix of a tangential WCS of that point (Calabretta & Greisen 2002).
    """
    half = np.array([0, 0.5, -0.5, 0, 0]), np.array([0, 0, 0, 0.5, -0.5])
    ra, dec = pixel_to_icrs(wcs, x + half[0], y + half[1])
    a, d = np.radians(ra), np.radians(dec)
    sin, cos, apart = np.sin(d), np.cos(d), a - a[0]
    plane = np.degrees([cos * np.sin(apart), sin * cos[0] - cos * sin[0] * np.cos(apart)])
    return float(ra[0]), float(dec[0]), plane[:, [1, 3]] - plane[:, [2, 4]]


def position_degrees(position):
    """Right ascension and declination of a position in degrees.

    Parameters
    ----------
    position : `~astropy.coordinates.SkyCoord` or tuple of float
        The position; a tuple is ICRS and in degrees already.

    Returns
    -------
    ra, dec : float
    """
    if isinstance(position, tuple):
        return position
    icrs = position.icrs
    return float(icrs.ra.deg), float(icrs.dec.deg)


def with_pixels(wcs, crpix, factor=(1.0, 1.0)):
    """The same projection for pixels of another size and place; without distortion.

    It is built anew: a copy of a WCS whose pixels are changed leaks memory each time.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Two-dimensional celestial WCS; it is not changed.
    crpix : tuple of float
        New reference pixel (x, y), counted from 1.
    factor : tuple of float
        New pixels per old pixel along x and y.

    Returns
    -------
    `~astropy.wcs.WCS`
    """
    old = wcs.wcs
    new = WCS(naxis=2, fix=False)
    new.wcs.ctype, new.wcs.cunit = old.ctype, old.cunit
    new.wcs.crval, new.wcs.crpix = old.crval, crpix
    if old.has_cd():
        new.wcs.cd = old.cd / np.asarray(factor)
    else:
        # The matrix of a CROTA too.
        new.wcs.pc, new.wcs.cdelt = old.get_pc() / np.asarray(factor), old.get_cdelt()
    new.wcs.lonpole, new.wcs.latpole = old.lonpole, old.latpole
    new.wcs.set_pv(old.get_pv())
    new.wcs.radesys, new.wcs.equinox = old.radesys, old.equinox
    new.wcs.set()
    return new


def tangent_wcs(ra, dec, matrix, x, y):
    """A tangential ICRS WCS.

    Parameters
    ----------
    ra, dec : float
        Position of the tangent point in degrees.
    matrix : array_like
        CD matrix in degrees, as `local_frame` gives it.
    x, y : float
        Pixel coordinates of the tangent point, counted from 0.

    Returns
    -------
    `~astropy.wcs.WCS`
    """
    wcs = WCS(naxis=2, fix=False)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.cunit = u.deg, u.deg
    wcs.wcs.crval = ra, dec
    wcs.wcs.crpix = x + 1, y + 1
    wcs.wcs.cd = matrix
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def image_wcs(ra, dec, cd, shape):
    """The WCS of a prepared image, tangential at its middle.

    Parameters
    ----------
    ra, dec : float
        Position of its middle in degrees.
    cd : array_like
        The four entries of its CD matrix in degrees, as `local_frame` gives them.
    shape : tuple of int
        Its pixels (y, x).

    Returns
    -------
    `~astropy.wcs.WCS` or None
        None if the matrix is not known.
    """
    cd = np.reshape(cd, (2, 2))
    if not np.isfinite(cd).all():
        return None
    return tangent_wcs(ra, dec, cd, (shape[1] - 1) / 2, (shape[0] - 1) / 2)


def _is_icrs(wcs):
    header = wcs.wcs
    header.set()
    equatorial = header.lngtyp.strip() == "RA"
    return equatorial and (
        header.radesys == "ICRS" or (not header.radesys and np.isnan(header.equinox))
    )
