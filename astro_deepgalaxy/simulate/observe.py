"""A telescope: from the light of a merger to a FITS image of the sky."""

import math
from dataclasses import dataclass

import numpy as np
from astropy.cosmology import Planck18
from astropy.io import fits
from scipy.signal import fftconvolve
from scipy.special import erf

__all__ = ["Observation", "observe", "psf"]

_SUN = 4.65  # absolute AB magnitude of the Sun in SDSS r (Willmer 2018, ApJS 236, 47)
_MOFFAT_BETA = 4.765  # of atmospheric turbulence (Trujillo et al. 2001, MNRAS 328, 977)
_OVERSAMPLING = 9


@dataclass(frozen=True)
class Observation:
    """How a merger is observed.

    Attributes
    ----------
    redshift : float
        Redshift of the merger (Planck 2018 cosmology).
    ra, dec : float
        Position of the middle of the image in degrees (ICRS).
    roll : float
        Position angle of the image's y-axis in degrees, from north through east.
    psf_shape : str
        ``gaussian`` or ``moffat``.
    psf_fwhm : float
        Full width at half maximum of the point-spread function in arcsec.
    sky_brightness : float
        In AB mag / arcsec^2.
    sky_gradient : float
        Change of the sky level from one side of the image to the other, relative to the level.
    sky_angle : float
        Direction in which the sky brightens, in degrees from the x-axis to the y-axis.
    exposure : float
        Exposure time in s.
    zero_point : float
        AB magnitude of a source that gives one electron a second.
    gain : float
        Electrons per count (adu).
    read_noise : float
        In electrons.

    Raises
    ------
    ValueError
        If a value is out of range; the message names the field.
    """

    redshift: float = 0.05
    ra: float = 180.0
    dec: float = 30.0
    roll: float = 0.0
    psf_shape: str = "moffat"
    psf_fwhm: float = 1.2
    sky_brightness: float = 21.0
    sky_gradient: float = 0.01
    sky_angle: float = 0.0
    exposure: float = 600.0
    zero_point: float = 25.0
    gain: float = 2.0
    read_noise: float = 5.0

    def __post_init__(self):
        for name, value in vars(self).items():
            if name != "psf_shape" and not math.isfinite(value):
                raise ValueError(f"Observation: {name} must be finite; got {value}")
        for name in ("redshift", "psf_fwhm", "exposure", "gain"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Observation: {name} must be positive; got {getattr(self, name)}")
        if self.read_noise < 0:
            raise ValueError(f"Observation: read_noise must not be negative; got {self.read_noise}")
        if abs(self.dec) > 90:
            raise ValueError(f"Observation: dec must be in [-90, 90] degrees; got {self.dec}")
        if abs(self.sky_gradient) > 1:
            raise ValueError(
                f"Observation: sky_gradient must be in [-1, 1]; got {self.sky_gradient}"
            )
        if self.psf_shape not in ("gaussian", "moffat"):
            raise ValueError(
                f"Observation: psf_shape must be 'gaussian' or 'moffat'; got {self.psf_shape!r}"
            )


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
        Flux per pixel, with its sum 1, centred on the middle one; square with an odd side.
    """
    if shape == "gaussian":
        sigma = fwhm / math.sqrt(8 * math.log(2))
        half = max(1, math.ceil(5 * sigma))
        profile = np.diff(erf((np.arange(2 * half + 2) - half - 0.5) / (sigma * math.sqrt(2))))
        kernel = np.outer(profile, profile)
    else:
        half = max(1, math.ceil(4 * fwhm))
        n = (2 * half + 1) * _OVERSAMPLING
        offset = ((np.arange(n) + 0.5) / _OVERSAMPLING - half - 0.5) ** 2
        width2 = fwhm**2 / (4 * (2 ** (1 / _MOFFAT_BETA) - 1))
        fine = (1 + (offset[:, None] + offset) / width2) ** -_MOFFAT_BETA
        kernel = fine.reshape(2 * half + 1, _OVERSAMPLING, -1, _OVERSAMPLING).sum(axis=(1, 3))
    return kernel / kernel.sum()


def observe(luminosity, kpc_per_pixel, observation, rng):
    """Observe an ideal image.

    The light is dimmed by distance, blurred by the point-spread function and laid on a sky with
    a slight slope; then photons are counted and read out. Neither the K-correction nor dust is
    taken into account.

    Parameters
    ----------
    luminosity : array_like
        Luminosity of each pixel in solar luminosities in the r band, (y, x).
    kpc_per_pixel : float
        Side of a pixel at the merger in kpc.
    observation : Observation
        The circumstances.
    rng : numpy.random.Generator
        Source of the noise.

    Returns
    -------
    `~astropy.io.fits.PrimaryHDU`
        Counts as float32 with the sky still in, a celestial WCS and what a telescope knows.

    Raises
    ------
    ValueError
        If the image is not two-dimensional or a number is negative or not finite.
    """
    luminosity = np.asarray(luminosity, float)
    if luminosity.ndim != 2:
        raise ValueError(f"the image must be (y, x); got the shape {luminosity.shape}")
    if not (np.isfinite(luminosity).all() and (luminosity >= 0).all()):
        raise ValueError("the luminosities must be finite and not negative")
    if not kpc_per_pixel > 0:
        raise ValueError(f"kpc_per_pixel must be positive; got {kpc_per_pixel}")
    redshift = observation.redshift
    scale = kpc_per_pixel / (Planck18.kpc_proper_per_arcmin(redshift).value / 60)  # arcsec
    magnitude = _SUN + Planck18.distmod(redshift).value
    brightness = _electrons(observation, magnitude)
    source = fftconvolve(
        luminosity * brightness,
        psf(observation.psf_shape, observation.psf_fwhm / scale),
        mode="same",
    )
    ny, nx = luminosity.shape
    angle = math.radians(observation.sky_angle)
    slope = np.add.outer(
        math.sin(angle) * (np.arange(ny) - (ny - 1) / 2) / ny,
        math.cos(angle) * (np.arange(nx) - (nx - 1) / 2) / nx,
    )
    sky = _electrons(observation, observation.sky_brightness) * scale**2
    electrons = np.maximum(source, 0) + sky * (1 + observation.sky_gradient * slope)
    electrons = rng.poisson(electrons) + observation.read_noise * rng.normal(size=electrons.shape)
    counts = (electrons / observation.gain).astype(np.float32)
    return fits.PrimaryHDU(counts, fits.Header(_cards(observation, scale / 3600, counts.shape)))


def _electrons(observation, magnitude):
    """Electrons that a source of a magnitude gives in the exposure."""
    return 10 ** (0.4 * (observation.zero_point - magnitude)) * observation.exposure


def _cards(observation, scale, shape):
    """Header cards; `scale` in degrees a pixel."""
    ny, nx = shape
    roll = math.radians(observation.roll)
    return [
        ("BUNIT", "adu"),
        ("WCSAXES", 2),
        ("CTYPE1", "RA---TAN"),
        ("CTYPE2", "DEC--TAN"),
        ("CRPIX1", (nx + 1) / 2),
        ("CRPIX2", (ny + 1) / 2),
        ("CRVAL1", observation.ra),
        ("CRVAL2", observation.dec),
        ("CUNIT1", "deg"),
        ("CUNIT2", "deg"),
        ("CD1_1", -scale * math.cos(roll)),
        ("CD1_2", scale * math.sin(roll)),
        ("CD2_1", scale * math.sin(roll)),
        ("CD2_2", scale * math.cos(roll)),
        ("RADESYS", "ICRS"),
        ("SIMULATE", True, "made by a simulation"),
        ("TELESCOP", "astro_deepgalaxy"),
        ("FILTER", "r"),
        ("EXPTIME", observation.exposure, "[s] exposure time"),
        ("GAIN", observation.gain, "[electron/adu]"),
        ("RDNOISE", observation.read_noise, "[electron] read noise"),
        ("MAGZERO", observation.zero_point, "[mag] AB, one electron a second"),
        ("SEEING", observation.psf_fwhm, "[arcsec] FWHM of the PSF"),
        ("REDSHIFT", observation.redshift),
    ]
