"""A telescope: from the light of a merger to a FITS image of the sky."""

import math
from dataclasses import dataclass, field

import numpy as np
from astropy.cosmology import Planck18
from astropy.io import fits
from scipy.signal import fftconvolve

from .psf import MOFFAT_BETA, centred_psf, psf

__all__ = ["Observation", "observe"]

_TOLERANCE = 0.01


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
        ``gaussian``, ``moffat`` or ``image``.
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
    psf_beta : float
        Index of the Moffat profile; by default that of atmospheric turbulence.
    psf_image : numpy.ndarray, optional
        With the shape ``image``: a point source at the image's pixel scale, (y, x), centred as
        `~astro_deepgalaxy.simulate.psf.centred_psf` says.
    band : str
        Name of the band.
    solar_magnitude : float
        Absolute AB magnitude of the Sun in the band (Willmer 2018, ApJS 236, 47).
    pixel_scale : float, optional
        Side of the telescope's pixels in arcsec, at which to render what it is to observe.

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
    psf_beta: float = MOFFAT_BETA
    psf_image: np.ndarray | None = field(default=None, repr=False, compare=False)
    band: str = "r"
    solar_magnitude: float = 4.65
    pixel_scale: float | None = None

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not math.isfinite(value):
                raise ValueError(f"Observation: {name} must be finite; got {value}")
        for name in ("redshift", "psf_fwhm", "exposure", "gain", "pixel_scale"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Observation: {name} must be positive; got {value}")
        if not self.psf_beta > 1:
            raise ValueError(f"Observation: psf_beta must exceed 1; got {self.psf_beta}")
        if self.read_noise < 0:
            raise ValueError(f"Observation: read_noise must not be negative; got {self.read_noise}")
        if abs(self.dec) > 90:
            raise ValueError(f"Observation: dec must be in [-90, 90] degrees; got {self.dec}")
        if abs(self.sky_gradient) > 1:
            raise ValueError(
                f"Observation: sky_gradient must be in [-1, 1]; got {self.sky_gradient}"
            )
        if self.psf_shape not in ("gaussian", "moffat", "image"):
            raise ValueError(
                "Observation: psf_shape must be 'gaussian', 'moffat' or 'image'; "
                f"got {self.psf_shape!r}"
            )
        if (self.psf_shape == "image") != (self.psf_image is not None):
            raise ValueError("Observation: psf_image and psf_shape = 'image' need each other")
        if self.psf_image is not None:
            try:
                centred_psf(self.psf_image)
            except ValueError as error:
                raise ValueError(f"Observation: psf_image: {error}") from error


def observe(luminosity, kpc_per_pixel, observation, rng, background=None):
    """Observe an ideal image.

    The light is dimmed by distance, blurred by the point-spread function and laid on a sky with
    a slight slope; then photons are counted and read out. On a real background, the light gets
    no more than its own photon noise: sky, readout and neighbours are those of the background,
    a piece of it at a random place. Neither the K-correction nor dust is taken into account.

    Parameters
    ----------
    luminosity : array_like
        Luminosity of each pixel in solar luminosities in the band, (y, x).
    kpc_per_pixel : float
        Side of a pixel at the merger in kpc.
    observation : Observation
        The circumstances; of those, position, sky, gain and read noise do not matter on a
        background.
    rng : numpy.random.Generator
        Source of the noise and of the place.
    background : `~astro_deepgalaxy.simulate.background.Background`, optional
        A real image of the sky, with the same pixel scale.

    Returns
    -------
    `~astropy.io.fits.PrimaryHDU`
        Counts as float32 with the sky still in, a celestial WCS and what a telescope knows; on a
        background, its unit, WCS and flux scale.

    Raises
    ------
    ValueError
        If the image is not two-dimensional, a number is negative or not finite, or the
        background has another pixel scale or no room.
    """
    luminosity = np.asarray(luminosity, float)
    if luminosity.ndim != 2:
        raise ValueError(f"the image must be (y, x); got the shape {luminosity.shape}")
    if not (np.isfinite(luminosity).all() and (luminosity >= 0).all()):
        raise ValueError("the luminosities must be finite and not negative")
    if not kpc_per_pixel > 0:
        raise ValueError(f"kpc_per_pixel must be positive; got {kpc_per_pixel}")
    scale = kpc_per_pixel / (Planck18.kpc_proper_per_arcmin(observation.redshift).value / 60)
    source = _source(luminosity, scale, observation)
    if background is not None:
        return _inject(source, scale, observation, background, rng)
    electrons = source + _sky(source.shape, scale, observation)
    electrons = rng.poisson(electrons) + observation.read_noise * rng.normal(size=electrons.shape)
    counts = (electrons / observation.gain).astype(np.float32)
    cards = _place(observation, scale / 3600, counts.shape) + _circumstances(observation)
    return fits.PrimaryHDU(counts, fits.Header([("BUNIT", "adu"), *cards]))


def _electrons(observation, magnitude):
    """Electrons that a source of a magnitude gives in the exposure."""
    return 10 ** (0.4 * (observation.zero_point - magnitude)) * observation.exposure


def _source(luminosity, scale, observation):
    """Electrons from the stars; `scale` in arcsec a pixel."""
    magnitude = observation.solar_magnitude + Planck18.distmod(observation.redshift).value
    if observation.psf_image is not None:
        kernel = centred_psf(observation.psf_image)
    else:
        kernel = psf(observation.psf_shape, observation.psf_fwhm / scale, observation.psf_beta)
    brightness = _electrons(observation, magnitude)
    return np.maximum(fftconvolve(luminosity * brightness, kernel, mode="same"), 0)


def _sky(shape, scale, observation):
    """Electrons from the sky."""
    ny, nx = shape
    angle = math.radians(observation.sky_angle)
    slope = np.add.outer(
        math.sin(angle) * (np.arange(ny) - (ny - 1) / 2) / ny,
        math.cos(angle) * (np.arange(nx) - (nx - 1) / 2) / nx,
    )
    level = _electrons(observation, observation.sky_brightness) * scale**2
    return level * (1 + observation.sky_gradient * slope)


def _inject(source, scale, observation, background, rng):
    """Add the light to a random piece of a background."""
    if abs(scale / background.pixel_scale - 1) > _TOLERANCE:
        raise ValueError(
            f"{background.path}: has pixels of {background.pixel_scale:.4g} arcsec, but the image "
            f"to add has {scale:.4g} arcsec; render it at the background's pixel scale"
        )
    pixels, header = background.piece(source.shape, rng)
    counts = rng.poisson(source) / _electrons(observation, background.zero_point)
    header["SIMULATE"] = (True, "holds a simulated galaxy")
    header["REDSHIFT"] = observation.redshift
    return fits.PrimaryHDU((pixels + counts).astype(np.float32), header)


def _place(observation, scale, shape):
    """Cards of the WCS; `scale` in degrees a pixel."""
    ny, nx = shape
    roll = math.radians(observation.roll)
    return [
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
    ]


def _circumstances(observation):
    """Cards of what a telescope knows."""
    one_count = observation.zero_point - 2.5 * math.log10(observation.gain / observation.exposure)
    cards = [
        ("SIMULATE", True, "made by a simulation"),
        ("TELESCOP", "astro_deepgalaxy"),
        ("FILTER", observation.band),
        ("EXPTIME", observation.exposure, "[s] exposure time"),
        ("GAIN", observation.gain, "[electron/adu]"),
        ("RDNOISE", observation.read_noise, "[electron] read noise"),
        ("MAGZERO", one_count, "[mag] AB magnitude of one adu"),
    ]
    if observation.psf_image is None:
        cards.append(("SEEING", observation.psf_fwhm, "[arcsec] FWHM of the PSF"))
    return [*cards, ("REDSHIFT", observation.redshift)]
