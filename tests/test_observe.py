"""What the telescope does to an image, against astropy and photon statistics."""

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.convolution import convolve
from astropy.coordinates import SkyCoord
from astropy.cosmology import Planck18
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from astro_deepgalaxy.simulate.observe import Observation, observe


def blank(side=64):
    """An image without stars."""
    return np.zeros((side, side))


def counts(image, observation, seed=1, kpc_per_pixel=1.0):
    """Electrons of an observation."""
    hdu = observe(image, kpc_per_pixel, observation, np.random.default_rng(seed))
    return hdu.data.astype(float) * observation.gain


@pytest.mark.parametrize("redshift", [0.02, 0.05, 0.3])
def test_pixel_scale_follows_the_cosmology(redshift):
    observation = Observation(redshift=redshift)
    hdu = observe(blank(), 1.5, observation, np.random.default_rng(0))
    expected = (1.5 * u.kpc * Planck18.arcsec_per_kpc_proper(redshift)).to_value(u.arcsec)
    scales = proj_plane_pixel_scales(WCS(hdu.header)) * 3600
    np.testing.assert_allclose(scales, expected, rtol=1e-6)


@pytest.mark.parametrize(("ra", "dec", "roll"), [(10, 0, 0), (359.9, 60, 33), (200, -85, 250)])
def test_middle_and_orientation_of_the_image(ra, dec, roll):
    hdu = observe(blank(), 1.0, Observation(ra=ra, dec=dec, roll=roll), np.random.default_rng(0))
    wcs = WCS(hdu.header)
    middle, above, right = (
        wcs.pixel_to_world(31.5 + dx, 31.5 + dy) for dx, dy in ((0, 0), (0, 5), (5, 0))
    )
    assert middle.separation(SkyCoord(ra, dec, unit="deg")) < 0.001 * u.arcsec
    assert middle.position_angle(above).deg == pytest.approx(roll, abs=0.01)
    # On the sky, west (a position angle of 270) is right of north.
    assert middle.position_angle(right).deg == pytest.approx((roll + 270) % 360, abs=0.01)


def test_header_says_what_a_telescope_knows_and_no_more(tmp_path):
    observation = Observation()
    hdu = observe(blank(), 1.0, observation, np.random.default_rng(0))
    hdu.writeto(tmp_path / "image.fits")
    data, header = fits.getdata(tmp_path / "image.fits", header=True)
    assert data.dtype == np.dtype(">f4")
    assert u.Unit(header["BUNIT"]) == u.adu
    assert header["SIMULATE"] is True
    known = {"EXPTIME": 600.0, "GAIN": 2.0, "REDSHIFT": 0.05, "FILTER": "r", "RDNOISE": 5.0}
    assert {key: header[key] for key in known} == known
    assert not {"TIME", "STAGE", "SNAPSHOT", "MASSRAT", "SEPARAT"} & set(header)


def test_sky_level_and_noise():
    observation = Observation(sky_gradient=0.0)
    electrons = counts(blank(200), observation)
    side = (1 * u.kpc * Planck18.arcsec_per_kpc_proper(0.05)).to_value(u.arcsec)
    sky = 10 ** (0.4 * (25 - 21)) * 600 * side**2
    assert electrons.mean() == pytest.approx(sky, rel=1e-3)
    assert electrons.std() == pytest.approx(math.hypot(math.sqrt(sky), 5.0), rel=0.02)


def test_read_noise_where_there_is_no_light():
    observation = Observation(sky_brightness=60.0, read_noise=8.0)
    electrons = counts(blank(200), observation)
    assert electrons.mean() == pytest.approx(0, abs=0.2)
    assert electrons.std() == pytest.approx(8, rel=0.02)


@pytest.mark.parametrize("angle", [0.0, 90.0, 200.0])
def test_sky_gradient(angle):
    electrons = counts(blank(256), Observation(sky_gradient=0.1, sky_angle=angle))
    y, x = (np.mgrid[:256, :256] - 127.5) / 256
    design = np.column_stack([np.ones(x.size), x.ravel(), y.ravel()])
    level, along_x, along_y = np.linalg.lstsq(design, electrons.ravel())[0]
    expected = [0.1 * math.cos(math.radians(angle)), 0.1 * math.sin(math.radians(angle))]
    np.testing.assert_allclose([along_x / level, along_y / level], expected, atol=0.003)


def test_magnitude_of_the_galaxy():
    # 1e10 solar luminosities are M = 4.65 - 25; the header's zero point leads back to that.
    image = blank(101)
    image[50, 50] = 1e10
    observation = Observation(sky_brightness=40.0, read_noise=0.0, psf_fwhm=2.0)
    hdu = observe(image, 1.0, observation, np.random.default_rng(3))
    magnitude = hdu.header["MAGZERO"] - 2.5 * math.log10(hdu.data.sum(dtype=float))
    expected = 4.65 - 25 + Planck18.distmod(0.05).value
    assert magnitude == pytest.approx(expected, abs=0.005)


def test_width_of_a_star_is_the_seeing():
    image = blank(101)
    image[50, 50] = 1e13
    observation = Observation(
        psf_shape="gaussian", psf_fwhm=3.0, sky_brightness=40.0, read_noise=0.0
    )
    electrons = counts(image, observation, kpc_per_pixel=0.5)
    side = (0.5 * u.kpc * Planck18.arcsec_per_kpc_proper(0.05)).to_value(u.arcsec)
    x = np.arange(101) - 50
    variance = electrons.sum(axis=0) @ x**2 / electrons.sum()
    # The star is a point; its image is averaged over the pixels (variance 1/12).
    assert math.sqrt(variance - 1 / 12) * 2.354820045 * side == pytest.approx(3.0, rel=0.01)


@pytest.mark.parametrize("redshift", [0.05, 0.5])
def test_surface_brightness_dims_with_redshift(redshift):
    """Tolman: an extended source loses a factor of (1 + z)^4 of light per square arcsec."""
    y, x = np.mgrid[:81, :81] - 40.0
    density = 1e9  # Lsun / kpc^2
    disc = density * 0.5**2 * (np.hypot(x, y) < 30)
    quiet = Observation(redshift=redshift, psf_fwhm=0.1, sky_brightness=60.0, read_noise=0.0)
    hdu = observe(disc, 0.5, quiet, np.random.default_rng(1))
    (side, _) = proj_plane_pixel_scales(WCS(hdu.header)) * 3600
    counts = hdu.data[30:51, 30:51].astype(float).mean() / side**2
    found = hdu.header["MAGZERO"] - 2.5 * math.log10(counts)
    # Surface brightness does not depend on distance nearby: take it at 10 pc, where a square
    # arcsec is (10 pc)^2 seen under (1 arcsec)^2.
    area = ((10 * u.pc) * (1 * u.arcsec).to_value(u.rad)).to_value(u.kpc) ** 2
    nearby = 4.65 - 2.5 * math.log10(density * area)
    assert found == pytest.approx(nearby + 10 * math.log10(1 + redshift), abs=0.01)


def test_an_image_as_psf_is_convolved_as_astropy_does():
    rng = np.random.default_rng(4)
    kernel = rng.uniform(size=(7, 5)) * np.hanning(9)[1:-1, np.newaxis]
    image = np.zeros((40, 50))
    image[rng.integers(0, 40, 30), rng.integers(0, 50, 30)] = rng.uniform(1e11, 1e12, 30)
    quiet = Observation(
        psf_shape="image", psf_image=kernel, sky_brightness=60.0, read_noise=0.0, exposure=1e6
    )
    found = counts(image, quiet)
    expected = convolve(image, kernel, boundary="fill", normalize_kernel=True)
    expected *= 10 ** (0.4 * (25 - 4.65 - Planck18.distmod(0.05).value)) * 1e6
    assert found.sum() == pytest.approx(expected.sum(), rel=1e-5)
    np.testing.assert_allclose(found, expected, atol=6 * np.sqrt(expected.max()))
    assert "SEEING" not in observe(image, 1.0, quiet, rng).header


def test_the_band_and_the_sun_in_it():
    image = blank(21)
    image[10, 10] = 1e11
    quiet = {"sky_brightness": 60.0, "read_noise": 0.0}
    red = counts(image, Observation(band="r", solar_magnitude=4.65, **quiet)).sum()
    blue = counts(image, Observation(band="g", solar_magnitude=5.65, **quiet)).sum()
    assert red / blue == pytest.approx(10**0.4, rel=0.02)
    hdu = observe(image, 1.0, Observation(band="g"), np.random.default_rng(1))
    assert hdu.header["FILTER"] == "g"


def test_same_seed_same_image():
    first, again, other = (counts(blank(), Observation(), seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redshift", 0.0),
        ("psf_fwhm", -1.0),
        ("exposure", 0.0),
        ("gain", 0.0),
        ("read_noise", -1.0),
        ("dec", 91.0),
        ("sky_gradient", 2.0),
        ("psf_shape", "airy"),
        ("psf_shape", "image"),
        ("psf_beta", 1.0),
        ("psf_image", np.ones((3, 3))),
        ("pixel_scale", 0.0),
        ("pixel_scale", math.inf),
        ("zero_point", math.nan),
    ],
)
def test_fields_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        Observation(**{name: value})


@pytest.mark.parametrize(
    "image", [np.ones(4), np.ones((2, 3, 3)), np.zeros((3, 3)), np.full((3, 3), np.nan)]
)
def test_psf_images_of_nonsense_are_refused(image):
    with pytest.raises(ValueError, match=r"Observation: psf_image: .* must be"):
        Observation(psf_shape="image", psf_image=image)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros(5), "must be"),
        (np.full((5, 5), -1.0), "not negative"),
        (np.full((5, 5), np.nan), "finite"),
    ],
)
def test_impossible_images_are_refused(image, words):
    with pytest.raises(ValueError, match=words):
        observe(image, 1.0, Observation(), np.random.default_rng(0))
    with pytest.raises(ValueError, match="kpc_per_pixel"):
        observe(blank(), 0.0, Observation(), np.random.default_rng(0))
