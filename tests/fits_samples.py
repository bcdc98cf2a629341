"""Small FITS files and what astropy makes of them, for the tests of reading."""

import warnings

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS


def image(shape=(20, 30), seed=0):
    """Noise on a level, (y, x) or (band, y, x)."""
    return np.random.default_rng(seed).normal(100, 5, shape).astype(np.float32)


def sky_header(**cards):
    """Header of a tangential WCS, with further cards."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 150.0, 2.0
    wcs.wcs.cdelt = -1e-4, 1e-4
    wcs.wcs.crpix = 15, 10
    header = wcs.to_header()
    header.update(cards)
    return header


def by_astropy(path, number=0):
    """Pixels (band, y, x) and WCS of an image, as astropy reads them."""
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False, uint=False) as hdus:
            header, data = hdus[number].header, hdus[number].data
        pixels = np.asarray(data, dtype=np.float32)
        return pixels.reshape(-1, *pixels.shape[-2:]), WCS(header, naxis=2)


def assert_same_sky(found, expected, shape):
    """Two WCS lead from the pixels of an image to the same positions in the same frame."""
    x, y = np.meshgrid(np.linspace(-3, shape[1] + 3, 7), np.linspace(-3, shape[0] + 3, 7))
    ours, theirs = (wcs.pixel_to_world(x, y) for wcs in (found, expected))
    assert ours.is_equivalent_frame(theirs.frame)
    for axis in ("lon", "lat"):
        positions = (getattr(sky.spherical, axis).deg for sky in (ours, theirs))
        np.testing.assert_array_equal(*positions)
