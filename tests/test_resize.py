import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS, Sip
from hypothesis import given
from hypothesis import strategies as st

from astro_deepgalaxy import Cutout
from astro_deepgalaxy.preprocess.crop import Crop
from astro_deepgalaxy.preprocess.resample import resampling_matrix, transform_wcs
from astro_deepgalaxy.preprocess.resize import Resize


def sky_wcs(n=100, scale=0.4, angle=25.0, cd=True):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 150.0, 2.0
    wcs.wcs.crpix = n / 2, n / 2 + 3
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    matrix = np.array([[-c, s], [s, c]]) * scale / 3600
    if cd:
        wcs.wcs.cd = matrix
    else:
        wcs.wcs.cdelt = -scale / 3600, scale / 3600
        wcs.wcs.pc = matrix / np.array(wcs.wcs.cdelt)[:, np.newaxis]
    return wcs


@pytest.mark.parametrize(("n", "size"), [(100, 50), (100, 37), (96, 64), (40, 64)])
def test_mean_brightness_stays(n, size):
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    image = np.exp(-(x**2 + y**2) / (2 * (n / 10) ** 2))
    out = Resize(size=size)(Cutout(image))
    # Averages over areas keep the sum exactly; interpolation nearly.
    assert out.data.mean() == pytest.approx(image.mean(), rel=1e-5 if size <= n else 2e-3)


@given(st.integers(4, 200), st.integers(4, 200))
def test_resampling_keeps_constants_and_the_middle(n, size):
    weights = resampling_matrix(n, size).astype(float)
    assert weights.shape == (size, n)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert (weights >= 0).all()
    assert np.allclose(weights, weights[::-1, ::-1], atol=1e-5)


@given(st.integers(20, 200), st.integers(4, 200))
def test_a_ramp_stays_where_it_is(n, size):
    ramp = resampling_matrix(n, size).astype(float) @ np.arange(n)
    expected = (np.arange(size) + 0.5) * n / size - 0.5
    inside = (expected >= 0) & (expected <= n - 1)
    # An average over part of a pixel takes the pixel to be flat: f (1 - f) / 2 of it at most.
    assert np.allclose(ramp[inside], expected[inside], atol=0.126 if size < n else 1e-3)


@pytest.mark.parametrize("cd", [True, False])
@pytest.mark.parametrize("size", [48, 150])
def test_a_star_keeps_its_sky_position(cd, size):
    wcs = sky_wcs(cd=cd)
    y, x = np.mgrid[:100, :100]
    image = np.exp(-((x - 61.3) ** 2 + (y - 33.8) ** 2) / (2 * 3.0**2))
    position = wcs.pixel_to_world(61.3, 33.8)
    out = Resize(size=size)(Crop(size=80, unit="pixel", on="centre")(Cutout(image, wcs=wcs)))
    y, x = np.mgrid[:size, :size]
    light = out.data[0]
    found = (x * light).sum() / light.sum(), (y * light).sum() / light.sum()
    assert np.allclose(found, out.wcs.world_to_pixel(position), atol=0.1)
    assert out.pixel_scale.value == pytest.approx(0.4 * 80 / size, rel=1e-6)


def test_distortion_is_scaled_exactly():
    wcs = sky_wcs()
    wcs.wcs.ctype = "RA---TAN-SIP", "DEC--TAN-SIP"
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    a[2, 0], a[1, 1], b[0, 2] = 4e-5, -3e-5, 5e-5
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    new = transform_wcs(wcs, origin=(7, -5), factor=(0.5, 1.7))
    x, y = np.array([3.0, 80.0, 50.0]), np.array([90.0, 10.0, 44.0])
    new_x, new_y = (x - 7 + 0.5) * 0.5 - 0.5, (y + 5 + 0.5) * 1.7 - 0.5
    expected = SkyCoord(*wcs.all_pix2world(x, y, 0), unit="deg")
    found = SkyCoord(*new.all_pix2world(new_x, new_y, 0), unit="deg")
    assert (expected.separation(found) < 1e-6 * u.arcsec).all()
    assert (wcs.wcs.crpix == (50, 53)).all()


def test_variance_of_averages_is_that_of_the_noise():
    rng = np.random.default_rng(2)
    images = rng.normal(0, 3, (300, 40, 40))
    out = [Resize(size=16)(Cutout(image, variance=np.full((40, 40), 9.0))) for image in images]
    seen = np.var([o.data[0] for o in out], axis=0)
    assert np.median(seen / out[0].variance[0]) == pytest.approx(1, abs=0.05)


def test_masked_pixels_do_not_leak():
    image = np.ones((64, 64))
    image[20:30, 20:30] = 1e6
    mask = image > 10
    out = Resize(size=32)(Cutout(image, mask=mask))
    assert out.mask[0, 10:15, 10:15].all()
    assert out.mask.sum() == 25
    assert np.allclose(out.data[~out.mask], 1)


@pytest.mark.parametrize("size", [0, 3, -8, 16385])
def test_a_size_that_makes_no_image_is_refused(size):
    with pytest.raises(ValueError, match="size"):
        Resize(size=size)


def test_meta_on_the_same_pixels_is_kept():
    meta = {"psf": [np.ones((3, 3))], "sky": np.ones((1, 40, 40))}
    cutout = Cutout(np.ones((40, 40)), meta=meta)
    assert Resize(size=40)(cutout).meta.keys() == meta.keys()
    assert not Resize(size=20)(cutout).meta
    assert cutout.meta.keys() == meta.keys()


@pytest.mark.parametrize("size", [20, 37, 64])
def test_a_variance_that_is_not_a_number_stays_where_it_is(size):
    variance = np.full((40, 40), 4.0)
    truth = Resize(size=size)(Cutout(np.ones((40, 40)), variance=variance)).variance[0]
    variance[10, 25] = np.nan
    out = Resize(size=size)(Cutout(np.ones((40, 40)), variance=variance)).variance[0]
    y, x = np.nonzero(~np.isfinite(out))
    assert 0 < len(y) <= 16
    assert np.abs((y + 0.5) * 40 / size - 10.5).max() < 2
    assert np.abs((x + 0.5) * 40 / size - 25.5).max() < 2
    known = np.isfinite(out)
    assert np.allclose(out[known], truth[known], rtol=1e-5)
