import numpy as np
import pytest
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy import Cutout, Flag
from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.preprocess.crop import Crop


def tan(crpix=(50, 50), scale=0.4):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 10.0, -30.0
    wcs.wcs.cdelt = -scale / 3600, scale / 3600
    wcs.wcs.crpix = crpix
    return wcs


def galaxies(shape, *blobs, noise=1.0, seed=0):
    """Exponential discs (x, y, peak, scale length) on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    image = rng.normal(0, noise, shape)
    for x0, y0, peak, length in blobs:
        image += peak * np.exp(-np.hypot(x - x0, y - y0) / length)
    return image


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(8, 60), st.integers(8, 60)),
    st.integers(4, 80),
    st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_the_same_square_as_cutout2d(shape, side, place):
    ny, nx = shape
    wcs = tan(crpix=(nx / 3, ny / 2))
    # A position well inside a pixel, so that rounding cannot tip either way.
    x, y = int(place[0] * nx) + 0.2, int(place[1] * ny) + 0.2
    image = np.arange(nx * ny, dtype=float).reshape(shape)
    cutout = Cutout(image, wcs=wcs, variance=image + 1, meta={"position": wcs.pixel_to_world(x, y)})
    out = Crop(size=side, unit="pixel", on="position")(cutout)
    truth = Cutout2D(image, (x, y), side, wcs=wcs, mode="partial", fill_value=np.nan, copy=True)
    assert out.shape == (1, side, side)
    gaps = np.isnan(truth.data)
    assert np.array_equal(out.mask[0], gaps)
    assert np.array_equal(out.data[0][~gaps], truth.data[~gaps])
    assert np.array_equal(out.variance[0][~gaps], truth.data[~gaps] + 1)
    assert bool(out.flags & Flag.EDGE) == bool(gaps.any())
    assert np.allclose(out.wcs.wcs.crpix, truth.wcs.wcs.crpix)


def test_a_square_in_arcsec():
    out = Crop(size=12.0, unit="arcsec", on="centre")(Cutout(np.ones((100, 100)), wcs=tan()))
    assert out.shape == (1, 30, 30)
    with pytest.raises(CutoutError, match="WCS"):
        Crop(size=12.0, unit="arcsec", on="centre")(Cutout(np.ones((100, 100))))


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_near_and_far_galaxies_fill_the_square_alike(scale):
    n = 120 * scale
    image = galaxies((n, n), (n * 0.45, n * 0.55, 300, 4 * scale))
    out = Crop()(Cutout(image))
    assert out.shape[1] / scale == pytest.approx(
        Crop()(Cutout(galaxies((120, 120), (54, 66, 300, 4)))).shape[1], rel=0.2
    )
    y, x = np.indices(out.shape[1:])
    light = np.clip(out.data[0] - 20, 0, None)
    middle = (out.shape[1] - 1) / 2
    assert np.allclose(
        [(x * light).sum() / light.sum(), (y * light).sum() / light.sum()],
        middle,
        atol=0.08 * out.shape[1],
    )


@pytest.mark.parametrize("ratio", [1.0, 0.4])
@pytest.mark.parametrize("angle", [0, 40, 90])
def test_both_galaxies_of_a_pair_are_inside(ratio, angle):
    dx, dy = 30 * np.cos(np.radians(angle)), 30 * np.sin(np.radians(angle))
    first, second = (128 - dx, 128 - dy), (128 + dx, 128 + dy)
    image = galaxies((256, 256), (*first, 200, 7), (*second, 200 * ratio, 7))
    wcs = tan()
    out = Crop()(Cutout(image, wcs=wcs))
    side = out.shape[1]
    assert side < 256
    for x, y in (first, second):
        new = np.array(out.wcs.world_to_pixel(wcs.pixel_to_world(x, y)))
        assert (new > 14).all()
        assert (new < side - 15).all()


def test_a_star_at_the_border_is_not_the_target():
    image = galaxies((200, 200), (105, 95, 60, 8))
    y, x = np.indices(image.shape)
    image += 9000 * np.exp(-((x - 190) ** 2 + (y - 12) ** 2) / (2 * 1.5**2))
    out = Crop()(Cutout(image, wcs=tan()))
    middle = out.wcs.pixel_to_world(*[(out.shape[1] - 1) / 2] * 2)
    assert np.allclose(tan().world_to_pixel(middle), (105, 95), atol=8)


def test_a_given_position_chooses_the_galaxy():
    wcs = tan()
    image = galaxies((300, 300), (150, 150, 300, 6), (250, 60, 40, 4))
    meta = {"position": wcs.pixel_to_world(251, 61)}
    out = Crop()(Cutout(image, wcs=wcs, meta=meta))
    middle = out.wcs.pixel_to_world(*[(out.shape[1] - 1) / 2] * 2)
    assert np.allclose(wcs.world_to_pixel(middle), (250, 60), atol=6)
    assert out.shape[1] < 120


def test_empty_sky_is_cut_in_the_middle_with_a_flag():
    out = Crop(size=20, unit="pixel")(Cutout(np.zeros((50, 60)), wcs=tan()))
    assert out.flags == Flag.NO_SOURCE
    assert np.allclose(out.wcs.wcs.crpix, (30, 35))


def test_a_position_off_the_image_is_an_error():
    wcs = tan()
    cutout = Cutout(np.ones((50, 50)), wcs=wcs, meta={"position": wcs.pixel_to_world(80, 10)})
    with pytest.raises(CutoutError, match="outside"):
        Crop(size=10, unit="pixel", on="position")(cutout)


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"unit": "furlong"}, {"on": "moon"}, {"on": "centre"}]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="crop"):
        Crop(**options)
