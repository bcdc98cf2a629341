import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy import Cutout, Flag
from astro_deepgalaxy.preprocess.centre import Centre
from astro_deepgalaxy.testing import check_step

METHODS = ("com", "quadratic", "2dg")


def tan():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 150.0, 20.0
    wcs.wcs.crpix = 30, 70
    wcs.wcs.cdelt = -1e-4, 1e-4
    return wcs


def galaxy(shape, x, y, peak=100, sigma=4.0, noise=0.5):
    rows, columns = np.indices(shape)
    light = peak * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return light + np.random.default_rng(3).normal(10, noise, shape)


@pytest.mark.parametrize("method", METHODS)
def test_it_keeps_the_promises_of_a_step(method):
    check_step("centre", method=method)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(60, 150), st.integers(60, 150)),
    st.tuples(st.floats(-0.17, 0.17), st.floats(-0.17, 0.17)),
)
def test_the_galaxy_comes_to_the_middle_by_whole_pixels(shape, off):
    ny, nx = shape
    y, x = (ny - 1) / 2 + off[0] * ny, (nx - 1) / 2 + off[1] * nx
    image = galaxy(shape, x, y)
    wcs = tan()
    out = Centre()(Cutout(image, wcs=wcs, variance=image))
    assert out.shape[1:] == shape
    # The sky coordinates of the galaxy lie in the middle pixel, within the error of a centroid.
    new = np.array(out.wcs.world_to_pixel(wcs.pixel_to_world(x, y)))
    assert np.all(np.abs(new - [(nx - 1) / 2, (ny - 1) / 2]) < 0.6)
    # Every pixel is an old one, at the place that its WCS says.
    dx, dy = np.round(np.array([x, y]) - new).astype(int)
    moved = np.roll(image.astype(np.float32), (-dy, -dx), axis=(0, 1))
    assert np.array_equal(out.data[0][~out.mask[0]], moved[~out.mask[0]])
    assert np.array_equal(out.variance[0][~out.mask[0]], moved[~out.mask[0]])
    assert (~out.mask).sum() == (ny - abs(dy)) * (nx - abs(dx))
    assert bool(out.flags & Flag.EDGE) == bool(dx or dy)


@pytest.mark.parametrize("method", METHODS)
def test_the_methods_agree_on_a_round_galaxy(method):
    image = galaxy((101, 101), 60.1, 44.9, noise=0.05)
    out = Centre(method=method)(Cutout(image))
    assert np.unravel_index(np.nanargmax(out.data[0]), (101, 101)) == (50, 50)


def test_a_peak_and_the_middle_of_the_light_are_not_the_same():
    # A bright knot at one end of a long galaxy.
    image = galaxy((101, 101), 50, 50, sigma=8, noise=0.1) + galaxy((101, 101), 60, 50, 300, 2)
    peak = Centre(method="quadratic")(Cutout(image, wcs=tan()))
    light = Centre(method="com")(Cutout(image, wcs=tan()))
    assert peak.wcs.wcs.crpix[0] == 30 - 10
    assert 30 - 10 < light.wcs.wcs.crpix[0] < 30


def test_the_source_at_a_position_is_the_one():
    wcs = tan()
    image = galaxy((120, 120), 55, 60) + galaxy((120, 120), 85, 90, 40)
    cutout = Cutout(image, wcs=wcs, meta={"position": wcs.pixel_to_world(86, 91)})
    out = Centre()(cutout)
    assert np.allclose(out.wcs.world_to_pixel(wcs.pixel_to_world(85, 90)), 59.5, atol=0.6)
    assert np.allclose(
        Centre()(Cutout(image, wcs=wcs)).wcs.world_to_pixel(wcs.pixel_to_world(55, 60)),
        59.5,
        atol=0.6,
    )


def test_a_galaxy_too_far_away_is_refused():
    cutout = Cutout(galaxy((100, 100), 90, 50))
    out = Centre(reach=0.3)(cutout)
    assert out.flags == Flag.NO_CENTRAL_SOURCE
    assert np.array_equal(out.data, cutout.data)
    assert Centre(reach=0.5)(cutout).flags == Flag.EDGE


def test_a_position_without_a_source_near_is_refused():
    wcs = tan()
    cutout = Cutout(
        galaxy((100, 100), 50, 50), wcs=wcs, meta={"position": wcs.pixel_to_world(95, 5)}
    )
    assert Centre()(cutout).flags == Flag.NO_CENTRAL_SOURCE


def test_empty_sky_stays():
    cutout = Cutout(np.zeros((40, 50)))
    out = Centre()(cutout)
    assert out.flags == Flag.NO_SOURCE
    assert np.array_equal(out.data, cutout.data)


def test_the_sky_of_a_mosaic_moves_along():
    image = galaxy((80, 80), 45, 37)
    out = Centre()(Cutout(image, meta={"sky": image[np.newaxis] + 1}))
    good = ~out.mask
    assert np.allclose(out.meta["sky"][good], out.data[good] + 1)


@pytest.mark.parametrize("options", [{"method": "3dg"}, {"reach": 0}, {"reach": float("nan")}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="centre"):
        Centre(**options)
