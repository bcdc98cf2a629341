"""A telescope: from the stars of a merger to a FITS image of the sky."""

import math
from dataclasses import dataclass

import numpy as np
from astropy.cosmology import Planck18
from astropy.io import fits
from scipy.signal import fftconvolve
from scipy.special import erf

__all__ = ["Exposure", "expose", "field_in_kpc", "psf", "to_fits"]

_SUN = 4.65  # absolute AB magnitude of the Sun in SDSS r (Willmer 2018, ApJS 236, 47)
_MASS_TO_LIGHT = 2.0  # of the stars in the r band, in solar units
_MOFFAT_BETA = 4.765  # of atmospheric turbulence (Trujillo et al. 2001, MNRAS 328, 977)
_OVERSAMPLING = 5


@dataclass(frozen=True)
class Exposure:
    """How a merger is observed.

    Attributes
    ----------
    redshift : float
        Redshift of the merger (Planck 2018 cosmology).
    seconds : float
        Exposure time in s.
    seeing : float
        Full width at half maximum of the point-spread function in arcsec.
    psf : str
        Its shape: ``moffat`` or ``gaussian``.
    sky : float
        Brightness of the sky in AB mag / arcsec^2.
    gradient : float
        Change of the sky level from the left to the right side of the image, relative to it.
    ra, dec : float
        Position of the middle of the image in degrees (ICRS).
    position_angle : float
        Position angle of the image's y-axis in degrees, from north through east.
    pixel_scale : float
        Side of a pixel in arcsec.
    zero_point : float
        AB magnitude of a source that gives one electron a second.
    read_noise : float
        In electrons.

    Raises
    ------
    ValueError
        If a value is out of range; the message names the field.
    """

    redshift: float = 0.05
    seconds: float = 300.0
    seeing: float = 1.3
    psf: str = "moffat"
    sky: float = 21.0
    gradient: float = 0.0
    ra: float = 180.0
    dec: float = 0.0
    position_angle: float = 0.0
    pixel_scale: float = 1.0
    zero_point: float = 26.0
    read_noise: float = 6.0

    def __post_init__(self):
        for name, value in vars(self).items():
            if name != "psf" and not math.isfinite(value):
                raise ValueError(f"Exposure: {name} must be finite; got {value}")
        for name in ("redshift", "seconds", "seeing", "pixel_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Exposure: {name} must be positive; got {getattr(self, name)}")
        if self.read_noise < 0:
            raise ValueError(f"Exposure: read_noise must not be negative; got {self.read_noise}")
        if abs(self.gradient) > 1:
            raise ValueError(f"Exposure: gradient must be in [-1, 1]; got {self.gradient}")
        if abs(self.dec) > 90:
            raise ValueError(f"Exposure: dec must be in [-90, 90] degrees; got {self.dec}")
        if self.psf not in ("moffat", "gaussian"):
            raise ValueError(f"Exposure: psf must be 'moffat' or 'gaussian'; got {self.psf!r}")

    def electrons(self, magnitude):
        """Mean number of electrons that a source of an AB magnitude gives.

        Parameters
        ----------
        magnitude : float
            Apparent AB magnitude.

        Returns
        -------
        float
        """
        return 10 ** (0.4 * (self.zero_point - magnitude)) * self.seconds


def field_in_kpc(exposure, pixels):
    """Side of the field of view at the redshift of the merger.

    Parameters
    ----------
    exposure : Exposure
        Gives the redshift and the pixel scale.
    pixels : int
        Pixels a side.

    Returns
    -------
    float
        In kpc, proper.
    """
    kpc_per_arcsec = Planck18.kpc_proper_per_arcmin(exposure.redshift).value / 60
    return float(kpc_per_arcsec * exposure.pixel_scale * pixels)


def psf(shape, fwhm):
    """Image of a point source.

    Parameters
    ----------
    shape : str
        ``gaussian`` or ``moffat`` (with the index 4.765 of atmospheric turbulence).
    fwhm : float
        Full width at half maximum in pixels.

    Returns
    -------
    numpy.ndarray
        Share of the light in each pixel, its sum being 1; square with an odd side, the source
        in the middle.
    """
    if shape == "gaussian":
        sigma = fwhm / math.sqrt(8 * math.log(2))
        half = max(1, math.ceil(5 * sigma))
        borders = np.arange(2 * half + 2) - half - 0.5
        profile = np.diff(erf(borders / (sigma * math.sqrt(2))))
        kernel = np.outer(profile, profile)
    else:
        half = max(1, math.ceil(4 * fwhm))
        n = (2 * half + 1) * _OVERSAMPLING
        offset2 = ((np.arange(n) + 0.5) / _OVERSAMPLING - half - 0.5) ** 2
        width2 = fwhm**2 / (4 * (2 ** (1 / _MOFFAT_BETA) - 1))
        fine = (1 + (offset2[:, None] + offset2) / width2) ** -_MOFFAT_BETA
        kernel = fine.reshape(2 * half + 1, _OVERSAMPLING, -1, _OVERSAMPLING).sum(axis=(1, 3))
    return kernel / kernel.sum()


def expose(stellar_mass, exposure, rng):
    """Take an image: dim the light by distance, blur it, add the sky, count the photons.

    The stars have a mass-to-light ratio of 2 in the r band. Neither the K-correction nor dust is
    taken into account.

    Parameters
    ----------
    stellar_mass : array_like
        Mass of the stars in each pixel in Msun, (y, x).
    exposure : Exposure
        The circumstances.
    rng : numpy.random.Generator
        Source of the noise.

    Returns
    -------
    numpy.ndarray
        Electrons in each pixel with the sky still in, (y, x) float32.

    Raises
    ------
    ValueError
        If the image is not two-dimensional, or a mass is negative or not finite.
    """
    stellar_mass = np.asarray(stellar_mass, dtype=float)
    if stellar_mass.ndim != 2:
        raise ValueError(f"the stellar mass must be (y, x); got the shape {stellar_mass.shape}")
    if not (np.isfinite(stellar_mass).all() and (stellar_mass >= 0).all()):
        raise ValueError("the stellar mass must be finite and not negative in every pixel")
    sun = exposure.electrons(_SUN + Planck18.distmod(exposure.redshift).value)
    kernel = psf(exposure.psf, exposure.seeing / exposure.pixel_scale)
    source = fftconvolve(stellar_mass * (sun / _MASS_TO_LIGHT), kernel, mode="full")
    ny, nx = stellar_mass.shape
    half = len(kernel) // 2
    source = np.maximum(source[half : half + ny, half : half + nx], 0)
    slope = exposure.gradient * (np.arange(nx) - (nx - 1) / 2) / nx
    sky = exposure.electrons(exposure.sky) * exposure.pixel_scale**2 * (1 + slope)
    electrons = rng.poisson(source + sky) + exposure.read_noise * rng.normal(size=(ny, nx))
    return electrons.astype(np.float32)


def to_fits(electrons, exposure, name):
    """Image and header as an observatory would write them; what is true stays with the labels.

    Parameters
    ----------
    electrons : numpy.ndarray
        The image, (y, x).
    exposure : Exposure
        How it was taken.
    name : str
        Name of the object.

    Returns
    -------
    `~astropy.io.fits.PrimaryHDU`
        With a celestial WCS (gnomonic projection).
    """
    ny, nx = electrons.shape
    scale = exposure.pixel_scale / 3600
    angle = math.radians(exposure.position_angle)
    hdu = fits.PrimaryHDU(np.asarray(electrons, dtype=np.float32))
    hdu.header.extend(
        [
            ("WCSAXES", 2),
            ("CTYPE1", "RA---TAN"),
            ("CTYPE2", "DEC--TAN"),
            ("CRPIX1", (nx + 1) / 2),
            ("CRPIX2", (ny + 1) / 2),
            ("CRVAL1", exposure.ra, "[deg]"),
            ("CRVAL2", exposure.dec, "[deg]"),
            ("CUNIT1", "deg"),
            ("CUNIT2", "deg"),
            ("CD1_1", -scale * math.cos(angle)),
            ("CD1_2", scale * math.sin(angle)),
            ("CD2_1", scale * math.sin(angle)),
            ("CD2_2", scale * math.cos(angle)),
            ("RADESYS", "ICRS"),
            ("BUNIT", "electron"),
            ("OBJECT", name),
            ("TELESCOP", "astro_deepgalaxy"),
            ("FILTER", "r"),
            ("EXPTIME", exposure.seconds, "[s]"),
            ("GAIN", 1.0, "[electron/adu]"),
            ("RDNOISE", exposure.read_noise, "[electron] read noise"),
            ("MAGZERO", exposure.zero_point, "[mag] AB, of one electron a second"),
            ("SEEING", exposure.seeing, "[arcsec] FWHM of the PSF"),
            ("REDSHIFT", exposure.redshift, "of the galaxies"),
            ("SIMULATE", True, "image of a simulation"),
        ]
    )
    return hdu
