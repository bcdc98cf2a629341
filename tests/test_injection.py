"""Simulated light in real images of the sky: flux, place and noise, against astropy."""

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.cosmology import Planck18
from astropy.io import fits
from astropy.wcs import WCS

from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.io import read_cutout
from astro_deepgalaxy.simulate.background import read_background
from astro_deepgalaxy.simulate.observe import Observation, observe
from astro_deepgalaxy.simulate.telescopes import telescope_observation

SCALE = 0.4  # arcsec


def sky_wcs(scale=SCALE):
    """A WCS that is turned, with its reference pixel off the image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [-30.0, 500.0]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    angle = math.radians(25)
    wcs.wcs.pc = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    return wcs


def write(path, data, wcs=True, **cards):
    """A FITS file with a background."""
    header = sky_wcs().to_header() if wcs else fits.Header()
    header.update(cards)
    fits.PrimaryHDU(np.asarray(data, dtype=np.float32), header).writeto(path)
    return path


def numbered(shape=(150, 200)):
    """Pixels that all differ, so that a piece tells where it was cut."""
    return np.arange(math.prod(shape), dtype=float).reshape(shape)


def kpc(observation, scale=SCALE):
    """Side of a pixel at the merger."""
    return scale * Planck18.kpc_proper_per_arcmin(observation.redshift).value / 60


def star(light, side=41):
    image = np.zeros((side, side))
    image[side // 2, side // 2] = light
    return image


@pytest.mark.parametrize(
    ("cards", "zero_point"),
    [
        ({"BUNIT": "nanomaggy"}, 22.5),
        ({"BUNIT": "nanomaggies"}, 22.5),
        ({"BUNIT": "nJy"}, 31.4),
        ({"MAGZERO": 30.0, "BUNIT": "adu"}, 30.0),
        ({"MAGZPT": "27.0"}, 27.0),
        ({"PHOTZP": 26.0}, 26.0),
        ({"ZP": 25.0}, 25.0),
        ({"FLUXMAG0": 10**10.8}, 27.0),
    ],
)
def test_flux_of_an_injected_galaxy(tmp_path, cards, zero_point):
    path = write(tmp_path / "sky.fits", np.full((90, 120), 7.0), **cards)
    background = read_background(path)
    assert background.zero_point == pytest.approx(zero_point, abs=1e-3)
    observation = Observation(redshift=0.04, zero_point=25.5, exposure=900.0, psf_fwhm=1.1)
    hdu = observe(star(3e10), kpc(observation), observation, np.random.default_rng(1), background)
    counts = (hdu.data.astype(float) - 7.0).sum()
    magnitude = 4.65 - 2.5 * math.log10(3e10) + Planck18.distmod(0.04).value
    assert zero_point - 2.5 * math.log10(counts) == pytest.approx(magnitude, abs=0.01)
    for key, value in cards.items():
        assert hdu.header[key] == value


def test_only_the_light_itself_brings_noise(tmp_path):
    path = write(tmp_path / "sky.fits", np.zeros((30, 30)), MAGZERO=25.0)
    background = read_background(path)
    observation = telescope_observation("sdss", redshift=0.1)
    light = np.full((30, 30), 3e7)
    rng = np.random.default_rng(3)
    images = [
        observe(light, kpc(observation), observation, rng, background).data[8:22, 8:22]
        for _ in range(200)
    ]
    electrons = 10 ** (0.4 * (observation.zero_point - 25.0)) * observation.exposure
    mean, variance = np.mean(images) * electrons, np.var(images, axis=0).mean() * electrons**2
    assert variance == pytest.approx(mean, rel=0.03)


def test_a_piece_has_the_sky_coordinates_of_the_background(tmp_path):
    pixels = numbered()
    background = read_background(write(tmp_path / "sky.fits", pixels, BUNIT="nanomaggy"))
    assert background.pixel_scale == pytest.approx(SCALE)
    observation = telescope_observation("sdss")
    rng = np.random.default_rng(5)
    places = set()
    for _ in range(20):
        hdu = observe(np.zeros((40, 50)), kpc(observation), observation, rng, background)
        y, x = np.argwhere(pixels == hdu.data[0, 0])[0]
        places.add((y, x))
        np.testing.assert_array_equal(hdu.data, pixels[y : y + 40, x : x + 50])
        found = WCS(hdu.header).pixel_to_world([0, 49, 20], [0, 0, 39])
        expected = sky_wcs().pixel_to_world([x, x + 49, x + 20], [y, y, y + 39])
        assert found.separation(expected).max() < 1e-4 * u.arcsec
    assert len(places) > 15
    again = [
        observe(
            np.zeros((40, 50)), kpc(observation), observation, np.random.default_rng(8), background
        ).data
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*again)


def test_distortions_survive(tmp_path):
    wcs = sky_wcs()
    header = wcs.to_header()
    header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "MAGZERO": 25.0})
    header.update({"A_ORDER": 2, "A_2_0": 1e-4, "B_ORDER": 2, "B_0_2": 2e-4})
    path = tmp_path / "sky.fits"
    fits.PrimaryHDU(numbered(), header).writeto(path)
    background = read_background(path)
    piece, found = background.piece((30, 30), np.random.default_rng(2))
    y, x = np.argwhere(numbered() == piece[0, 0])[0]
    expected = WCS(header).pixel_to_world(x + 29, y + 15)
    assert WCS(found).pixel_to_world(29, 15).separation(expected) < 1e-4 * u.arcsec


def test_gaps_are_avoided(tmp_path):
    pixels = numbered((60, 60))
    pixels[:, 25] = np.nan
    pixels[5, :] = np.nan
    background = read_background(write(tmp_path / "sky.fits", pixels, MAGZERO=25.0))
    free = background.places((20, 20))
    for y, x in np.ndindex(free.shape):
        assert free[y, x] == np.isfinite(pixels[y : y + 20, x : x + 20]).all()
    rng = np.random.default_rng(1)
    for _ in range(30):
        piece, _ = background.piece((20, 20), rng)
        assert np.isfinite(piece).all()
    assert background.places((54, 34)).sum() == 1
    for shape in ((55, 10), (10, 35), (61, 61)):
        with pytest.raises(CutoutError, match="does not fit into the good pixels"):
            background.places(shape)


def test_header_tells_what_the_background_knows_and_no_more(tmp_path):
    cards = {"EXPTIME": 53.9, "GAIN": 4.7, "FILTER": "r", "TELESCOP": "2.5m", "BUNIT": "nJy"}
    secret = {"OBJECT": "M 51", "RA": 1.0, "STAGE": "remnant"}
    path = write(tmp_path / "sky.fits", np.zeros((50, 50)), **cards, **secret)
    observation = telescope_observation("sdss", redshift=0.07)
    rng = np.random.default_rng(1)
    hdu = observe(star(1e9), kpc(observation), observation, rng, read_background(path))
    hdu.writeto(tmp_path / "image.fits")
    data, header = fits.getdata(tmp_path / "image.fits", header=True)
    assert data.dtype == np.dtype(">f4")
    assert {key: header[key] for key in cards} == cards
    assert header["SIMULATE"] is True
    assert header["REDSHIFT"] == 0.07
    assert not set(secret) & set(header)
    # Neither the random circumstances of a sky of its own, nor the place of the galaxy.
    assert not {"RDNOISE", "SEEING", "MAGZERO"} & set(header)
    assert read_cutout(tmp_path / "image.fits").wcs is not None


def test_an_observed_sky_is_a_background(tmp_path):
    """The zero points of what `observe` writes and of what it reads are the same thing."""
    observation = telescope_observation("hsc", redshift=0.05)
    rng = np.random.default_rng(1)
    size = kpc(observation, 0.168)
    sky = observe(np.zeros((80, 80)), size, observation, rng)
    sky.writeto(tmp_path / "sky.fits")
    background = read_background(tmp_path / "sky.fits")
    injected = observe(star(1e11, 80), size, observation, rng, background)
    direct = observe(star(1e11, 80), size, observation, rng)
    difference = (injected.data.sum(dtype=float), direct.data.sum(dtype=float))
    light = difference[0] - sky.data.sum(dtype=float)
    assert light == pytest.approx(difference[1] - sky.data.sum(dtype=float), rel=0.02)


def test_a_band_of_a_cube(tmp_path):
    cube = np.stack([np.full((30, 30), value) for value in (1.0, 2.0, 3.0)])
    named = write(tmp_path / "cube.fits", cube, BANDS="grz", BUNIT="nanomaggy")
    assert (read_background(named, "r").pixels == 2).all()
    with pytest.raises(CutoutError, match="has the bands g, r, z, none of them 'VIS'"):
        read_background(named, "VIS")
    with pytest.raises(CutoutError, match="has the bands 0, 1, 2, none of them 'r'"):
        read_background(write(tmp_path / "other.fits", cube, BUNIT="nanomaggy"), "r")


def test_a_compressed_extension_with_a_shared_flux_scale(tmp_path):
    """As the pipelines of HSC and DES write them."""
    primary = fits.PrimaryHDU()
    primary.header["FLUXMAG0"] = 10**10.8
    noise = np.random.default_rng(1).normal(size=(100, 100)).astype(np.float32)
    image = fits.CompImageHDU(noise, sky_wcs().to_header(), name="SCI")
    path = tmp_path / "sky.fits.fz"
    fits.HDUList([primary, image]).writeto(path)
    for name in (path, f"{path}[SCI]"):
        background = read_background(name)
        assert background.zero_point == pytest.approx(27.0)
        assert background.pixels.shape == (100, 100)


def test_a_changed_file_is_read_again(tmp_path):
    import os

    path = write(tmp_path / "sky.fits", np.zeros((30, 30)), MAGZERO=25.0)
    assert read_background(path) is read_background(path)
    path.unlink()
    write(path, np.ones((30, 30)), MAGZERO=26.0)
    os.utime(path, ns=(1, 1))
    assert read_background(path).zero_point == 26


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({}, "does not say how bright a count is; add MAGZERO"),
        ({"BUNIT": "adu"}, "does not say how bright a count is"),
        ({"BUNIT": "electron/s"}, "does not say how bright a count is"),
        ({"BUNIT": "%&/"}, "does not say how bright a count is"),
        ({"FLUXMAG0": -1.0}, "does not say how bright a count is"),
        ({"MAGZERO": "faint"}, "MAGZERO must be a number; got 'faint'"),
        ({"wcs": False, "MAGZERO": 25.0}, "has no celestial WCS"),
    ],
)
def test_backgrounds_that_do_not_say_enough_are_refused(tmp_path, cards, words):
    path = write(tmp_path / "sky.fits", np.zeros((30, 30)), **cards)
    with pytest.raises(CutoutError) as caught:
        read_background(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_garbage_is_refused(tmp_path):
    path = tmp_path / "sky.fits"
    path.write_bytes(b"SIMPLE  =                    T" + b"\0" * 50)
    with pytest.raises(CutoutError, match="cannot be read as FITS"):
        read_background(path)
    with pytest.raises(CutoutError, match="cannot be opened"):
        read_background(tmp_path / "missing.fits")
    with pytest.raises(CutoutError, match="no finite pixel"):
        read_background(write(tmp_path / "nan.fits", np.full((9, 9), np.nan), MAGZERO=25.0))


def test_another_pixel_scale_is_refused(tmp_path):
    background = read_background(write(tmp_path / "sky.fits", np.zeros((30, 30)), MAGZERO=25.0))
    observation = telescope_observation("sdss")
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match=r"pixels of 0\.4 arcsec, but .* has 0\.5 arcsec"):
        observe(star(1.0, 21), kpc(observation, 0.5), observation, rng, background)


def test_a_galaxy_in_a_real_field(real_images):
    """NGC 6976 and neighbours in nanomaggies, with gaps at the border."""
    path = real_images / "ngc6976_sdss" / "reprojected_sdss_r.fits.bz2"
    background = read_background(path, "r")
    assert background.zero_point == 22.5
    observation = telescope_observation("sdss", redshift=0.05)
    size = kpc(observation, background.pixel_scale)
    rng = np.random.default_rng(2)
    hdu = observe(star(1e11, 61), size, observation, rng, background)
    field = read_cutout(path)
    corner = WCS(hdu.header).pixel_to_world(0, 0)
    x, y = (round(float(value)) for value in field.wcs.world_to_pixel(corner))
    piece = field.data[0, y : y + 61, x : x + 61]
    assert np.isfinite(piece).all()
    light = (hdu.data.astype(float) - piece).sum()
    magnitude = 4.65 - 27.5 + Planck18.distmod(0.05).value
    assert 22.5 - 2.5 * math.log10(light) == pytest.approx(magnitude, abs=0.01)
