import numpy as np
import pytest
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from astro_deepgalaxy import Cutout, Flag, Recipe
from astro_deepgalaxy.config import conf
from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.preprocess.crop import Crop
from astro_deepgalaxy.preprocess.resize import Resize


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
    "options",
    [{"size": 0}, {"unit": "furlong"}, {"on": "moon"}, {"on": "centre"}, {"radius": "big"}],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="crop"):
        Crop(**options)


def sersic(n, effective_radius, size=256, centre=(127.3, 128.4)):
    """A Sersic profile averaged over each pixel, its brightness at the effective radius one."""
    oversampling = 5
    y, x = (np.mgrid[: size * oversampling, : size * oversampling] + 0.5) / oversampling - 0.5
    r = np.hypot(x - centre[0], y - centre[1]) / effective_radius
    image = np.exp(-special.gammaincinv(2 * n, 0.5) * (r ** (1 / n) - 1))
    return image.reshape(size, oversampling, size, oversampling).mean(axis=(1, 3))


def petrosian_radius(n):
    """In effective radii, from the growth curve of a Sersic profile (Graham & Driver 2005)."""
    b = special.gammaincinv(2 * n, 0.5)

    def light(r):
        return special.gammainc(2 * n, b * r ** (1 / n))

    def eta(r):
        return (light(1.25 * r) - light(0.8 * r)) / (1.25**2 - 0.8**2) / light(r)

    return optimize.brentq(lambda r: eta(r) - 0.2, 0.3, 10)


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize(
    ("n", "effective_radius", "tolerance"),
    [(1, 8, 0.03), (1, 18, 0.02), (2, 12, 0.03), (4, 12, 0.04), (4, 16, 0.04)],
)
def test_the_petrosian_radius(n, effective_radius, tolerance, noise):
    image = sersic(n, effective_radius) + 5
    image += np.random.default_rng(0).normal(0, noise, image.shape)
    out = Crop(size=2.5, radius="petrosian")(Cutout(image))
    truth = petrosian_radius(n) * effective_radius
    assert out.shape[1] / 2.5 == pytest.approx(truth, rel=tolerance)


def test_the_petrosian_radius_leaves_other_sources_out():
    image = sersic(1, 10) + np.random.default_rng(0).normal(0, 0.01, (256, 256))
    alone = Crop(radius="petrosian")(Cutout(image)).shape
    image += galaxies((256, 256), (215, 128, 20, 1.5), noise=0)
    assert Crop(radius="petrosian")(Cutout(image)).shape == pytest.approx(alone, rel=0.05)


def test_the_petrosian_radius_of_a_wide_pair():
    # The middle between the two is dark.
    image = galaxies((256, 256), (95, 128, 200, 6), (161, 128, 180, 6))
    side = Crop(size=2, radius="petrosian")(Cutout(image)).shape[1]
    assert 66 + 20 < side < 256


def test_the_radius_of_the_segment():
    y, x = np.indices((200, 200))
    image = 50.0 * (np.hypot(x - 100, y - 100) < 30)
    image += np.random.default_rng(0).normal(0, 0.1, image.shape)
    out = Crop(size=2, radius="segment")(Cutout(image))
    # Found down to a hundredth of the peak, with the edge smoothed by a Gaussian of 3 pixels.
    assert out.shape[1] / 2 == pytest.approx(30 - 3 * special.ndtri(0.01), abs=1.5)


@pytest.mark.parametrize("radius", ["light", "segment", "petrosian"])
def test_near_and_far_versions_of_a_galaxy_look_alike(radius):
    crops = []
    for scale in (1.0, 1.6, 2.4):
        size = round(128 * scale)
        image = galaxies(
            (size, size),
            (size * 0.52, size * 0.47, 300, 5 * scale),
            (size * 0.62, size * 0.55, 200, 3 * scale),
        )
        crop = Crop(size=3, radius=radius)(Cutout(image))
        crops.append(Resize(size=32)(crop).data.ravel())
    assert np.corrcoef(crops)[0, 1:].min() > 0.97


def test_a_stored_recipe_without_the_radius_still_works():
    stored = {"steps": [{"step": "crop", "size": 3.0, "unit": "radius", "on": "source"}]}
    assert Recipe.from_dict(stored).steps == (Crop(size=3.0, radius="light"),)


def test_the_sky_of_a_mosaic_is_cut_along():
    image = galaxies((80, 80), (40, 40, 300, 4))
    out = Crop(size=20, unit="pixel", on="centre")(Cutout(image, meta={"sky": image[None] + 1}))
    assert np.allclose(out.meta["sky"], out.data + 1)
    small = Resize(size=40)(Cutout(image, meta={"sky": image[None]}))
    assert "sky" not in Crop(size=20, unit="pixel", on="centre")(small).meta


@pytest.mark.parametrize("scale", [1e-3, 1e-12, 1e-300])
def test_a_wrong_scale_does_not_fill_the_memory(scale):
    with pytest.raises(CutoutError, match=r"for 20 arcsec the image would be .*check the WCS"):
        Crop(size=20, unit="arcsec")(Cutout(np.ones((30, 30)), wcs=tan(scale=scale)))


def test_no_more_pixels_than_the_limit():
    step, cutout = Crop(size=100, unit="pixel"), Cutout(np.ones((2, 30, 30)))
    with conf.set_temp("max_image_pixels", 20_000):
        assert step(cutout).shape == (2, 100, 100)
    with conf.set_temp("max_image_pixels", 19_999), pytest.raises(CutoutError, match="19999"):
        step(cutout)
    with pytest.raises(ValueError, match="at most 16384 pixels"):
        Crop(size=16385, unit="pixel")
