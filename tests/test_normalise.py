import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy import Cutout, Flag
from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.preprocess.normalise import Normalise
from astro_deepgalaxy.testing import check_step

BY = ("noise", "flux", "percentile")


def bands(seed=0):
    """A galaxy in two bands on noise of 2 and 6."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((120, 120))
    galaxy = 300 * np.exp(-np.hypot(x - 60, y - 55) / 5)
    noise = rng.normal(0, 1, (2, 120, 120)) * np.array([[[2.0]], [[6.0]]])
    return galaxy * np.array([[[1.0]], [[2.0]]]) + noise


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("together", [True, False])
def test_it_keeps_the_promises_of_a_step(by, together):
    check_step("normalise", by=by, together=together)


def test_the_noise_becomes_one():
    out = Normalise(by="noise", together=False)(Cutout(bands(), bands="gr", unit="nJy"))
    corner = out.data[:, :30, :30]
    assert np.allclose(corner.std(axis=(1, 2)), 1, atol=0.1)
    assert out.unit is None


def test_the_positive_light_becomes_one():
    image, mask = bands(), np.zeros((120, 120), bool)
    mask[50:60, 50:60] = True
    out = Normalise(by="flux", together=False)(Cutout(image, mask=mask))
    used = np.where(mask, 0, image)
    truth = used / np.where(used > 0, used, 0).sum(axis=(1, 2), keepdims=True)
    assert np.allclose(out.data[:, ~mask], truth[:, ~mask], rtol=1e-5)


@pytest.mark.parametrize("percentile", [90.0, 99.5, 100.0])
def test_a_percentile_becomes_one(percentile):
    out = Normalise(by="percentile", percentile=percentile, together=False)(Cutout(bands()))
    below = (out.data <= 1 + 1e-6).mean(axis=(1, 2))
    assert np.allclose(below, percentile / 100, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(BY), st.booleans(), st.integers(-30, 25))
def test_the_unit_of_the_pixels_does_not_matter(by, together, power):
    image, variance = bands(), np.full((120, 120), 3.0)
    step, unit = Normalise(by=by, together=together), 2.0**power
    one = step(Cutout(image, variance=variance))
    other = step(Cutout(image * unit, variance=variance * unit**2))
    assert np.allclose(one.data, other.data, rtol=1e-4, atol=1e-30)
    assert np.allclose(one.variance, other.variance, rtol=1e-4)


@pytest.mark.parametrize("by", BY)
def test_together_the_colours_stay(by):
    image = bands()
    cutout = Cutout(image, variance=image**2, meta={"sky": image})
    out = Normalise(by=by)(cutout)
    factor = out.data[0, 60, 60] / cutout.data[0, 60, 60]
    assert np.allclose(out.data, cutout.data * factor, rtol=1e-5)
    assert np.allclose(out.variance, cutout.variance * factor**2, rtol=1e-5)
    assert np.allclose(out.meta["sky"], image * factor, rtol=1e-5)
    apart = Normalise(by=by, together=False)(cutout)
    # The one factor is that of the mean of what becomes one in each.
    each = cutout.data[:, 60, 60] / apart.data[:, 60, 60]
    assert factor == pytest.approx(1 / each.mean(), rel=1e-5)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("together", [True, False])
def test_a_missing_band_does_not_count(by, together):
    image = bands()
    step = Normalise(by=by, together=together)
    alone = step(Cutout(image[:1]))
    both = step(Cutout(np.array([image[0], np.full((120, 120), np.nan)])))
    assert np.allclose(both.data[0], alone.data[0])
    assert both.mask[1].all()
    empty = Cutout(np.full((20, 20), np.nan))
    assert step(empty).mask.all()


def test_what_cannot_become_one():
    with pytest.raises(CutoutError, match="noise of the band 'g' is 0"):
        Normalise(by="noise")(Cutout(np.ones((20, 20)), bands=("g",)))
    for by in ("flux", "percentile"):
        with pytest.raises(CutoutError, match="background"):
            Normalise(by=by)(Cutout(-np.ones((20, 20))))


def test_pictures_are_left_alone():
    picture = Cutout(bands(), flags=Flag.PICTURE)
    assert Normalise()(picture) is picture


@pytest.mark.parametrize("options", [{"by": "eye"}, {"percentile": 0}, {"percentile": 101}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="normalise"):
        Normalise(**options)
