import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_deepgalaxy import Cutout, Flag
from astro_deepgalaxy.preprocess.stretch import Stretch


def galaxy(peak=500.0, noise=1.0, n=80, seed=0):
    y, x = np.mgrid[:n, :n] - n / 2
    return peak * np.exp(-np.hypot(x, y) / 6) + np.random.default_rng(seed).normal(0, noise, (n, n))


@given(st.floats(-6, 6))
def test_the_unit_does_not_matter(power):
    one = Stretch()(Cutout(galaxy()))
    other = Stretch()(Cutout(10.0**power * galaxy()))
    assert other.data.dtype == np.float32
    assert np.allclose(one.data, other.data, atol=2e-3)


def test_brighter_stays_brighter():
    image = galaxy(noise=0)
    data = Stretch()(Cutout(image)).data[0]
    assert data.min() >= 0
    assert data.max() == 1
    order = np.argsort(image.ravel())
    assert (np.diff(data.ravel()[order]) >= -1e-6).all()


def test_the_asinh_of_lupton():
    image = galaxy(noise=0)
    out = Stretch(percentile=100, softening=0.05)(Cutout(image)).data[0]
    scaled = image / image.max()
    assert np.allclose(out, np.arcsinh(scaled / 0.05) / np.arcsinh(1 / 0.05), atol=1e-5)


@pytest.mark.parametrize("peak", [20.0, 500.0, 5e4])
def test_noise_is_not_blown_up_and_tails_are_seen(peak):
    noise = 1.0
    out = Stretch()(Cutout(galaxy(peak, noise))).data[0]
    y, x = np.mgrid[:80, :80] - 40
    r = np.hypot(x, y)
    assert out[r > 38].std() < 0.15
    if peak == 5e4:
        # Four scale lengths out, at a fiftieth of the centre.
        assert out[(r > 23) & (r < 25)].mean() > 0.2


def test_bad_pixels_do_not_set_the_noise():
    image = galaxy()
    clean = Stretch()(Cutout(image)).data[0]
    image[0, :3] = -1e6
    assert np.allclose(Stretch()(Cutout(image)).data[0][2:], clean[2:], atol=0.02)


def test_pictures_are_only_scaled():
    image = np.linspace(0, 0.5, 400).reshape(20, 20)
    out = Stretch(percentile=100)(Cutout(image, flags=Flag.PICTURE))
    assert np.allclose(out.data[0], image * 2, atol=1e-6)


def test_masked_pixels_become_sky():
    image = galaxy()
    mask = np.zeros(image.shape, dtype=bool)
    mask[10:20] = True
    image[mask] = np.nan
    out = Stretch()(Cutout(image, variance=np.ones_like(image)))
    assert (out.data[0][mask] == 0).all()
    assert out.flags & Flag.MISSING_DATA
    assert out.variance is None


@pytest.mark.parametrize("value", [0.0, -5.0])
def test_nothing_above_the_sky_is_black(value):
    assert (Stretch()(Cutout(np.full((9, 9), value))).data == 0).all()


@pytest.mark.parametrize("options", [{"percentile": 20}, {"percentile": 101}, {"softening": 0}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="stretch"):
        Stretch(**options)
