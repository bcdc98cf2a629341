import numpy as np
import pytest
from astropy.wcs import WCS
from scipy import stats

from astro_deepgalaxy import Cutout, Flag, read_cutout
from astro_deepgalaxy.preprocess.background import Background
from astro_deepgalaxy.preprocess.neighbours import Neighbours
from astro_deepgalaxy.testing import check_step

SHAPE = (256, 256)
STARS = ((40, 200, 900), (215, 60, 300), (210, 225, 2000))


def parts(noise=2.0, seed=0):
    """A pair of galaxies, stars (Moffat), and noise."""
    y, x = np.indices(SHAPE)
    pair = 200 * np.exp(-np.hypot(x - 110, y - 120) / 8)
    pair += 120 * np.exp(-np.hypot(x - 150, y - 140) / 6)
    stars = sum(p * (1 + ((x - a) ** 2 + (y - b) ** 2) / 9) ** -2.5 for a, b, p in STARS)
    return pair, stars, np.random.default_rng(seed).normal(0, noise, SHAPE)


def around(x, y, radius):
    rows, columns = np.indices(SHAPE)
    return np.hypot(columns - x, rows - y) <= radius


@pytest.mark.parametrize("others", ["keep", "mask", "replace"])
def test_it_keeps_the_promises_of_a_step(others):
    check_step("neighbours", others=others)


def test_stars_become_sky_and_the_pair_stays():
    pair, stars, noise = parts()
    out = Neighbours()(Cutout(pair + stars + noise, variance=np.full(SHAPE, 5.0)))
    assert not out.mask.any()
    for x, y, _ in STARS:
        here = around(x, y, 8)
        # Where a star was there is noise like that of the sky, and of the same variance.
        assert stats.kstest(out.data[0][here], stats.norm(0, 2).cdf).pvalue > 1e-3
        assert np.allclose(out.variance[0][here], 4, rtol=0.1)
    for x, y in ((110, 120), (150, 140)):
        here = around(x, y, 12)
        assert np.array_equal(out.data[0][here], (pair + stars + noise).astype(np.float32)[here])
        assert np.all(out.variance[0][here] == 5)


def test_wings_are_taken_too():
    pair, stars, noise = parts()
    image = Cutout(pair + stars + noise)
    left = []
    for grow in (0.0, 0.3, 1.0):
        out = Neighbours(others="mask", grow=grow)(image)
        left.append(stars[~out.mask[0]].sum() / stars.sum())
        assert not out.mask[0][around(110, 120, 15) | around(150, 140, 12)].any()
        assert np.array_equal(out.data, image.data)
    assert left[0] < 0.03
    assert left[1] < 0.7 * left[0]
    assert left[2] < 0.3 * left[0]


def test_the_noise_is_seeded_by_the_pixels():
    pair, stars, noise = parts()
    image = Cutout(pair + stars + noise, mask=around(128, 20, 3))
    first, again = Neighbours()(image), Neighbours()(image.replace(id="another name"))
    assert np.array_equal(first.data, again.data)
    data = image.data.copy()
    data[0, 0, 0] += 1e-3
    other = Neighbours()(image.replace(data=data))
    star = around(*STARS[0][:2], 5)
    assert not np.array_equal(first.data[0][star], other.data[0][star])
    assert np.array_equal(first.mask, image.mask)


def test_each_band_has_its_own_sky():
    pair, stars, _ = parts()
    noise = np.random.default_rng(1).normal(0, 1, (2, *SHAPE)) * np.array([[[1.0]], [[5.0]]])
    level = np.array([[[0.0]], [[30.0]]])
    out = Neighbours()(Cutout(pair + stars + noise + level, bands="gr"))
    star = around(*STARS[2][:2], 8)
    for band, (mean, sigma) in enumerate(((0, 1), (30, 5))):
        assert stats.kstest(out.data[band][star], stats.norm(mean, sigma).cdf).pvalue > 1e-3


def test_the_source_at_a_position_stays():
    pair, stars, noise = parts()
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.cdelt = -1e-4, 1e-4
    meta = {"position": wcs.pixel_to_world(*STARS[1][:2])}
    out = Neighbours(others="mask")(Cutout(pair + stars + noise, wcs=wcs, meta=meta))
    assert out.mask[0, 120, 110]
    assert not out.mask[0][around(*STARS[1][:2], 4)].any()


def test_nothing_to_do():
    pair, stars, noise = parts()
    everything = Cutout(pair + stars + noise)
    assert Neighbours(others="keep")(everything) is everything
    alone = Cutout(pair + noise)
    assert np.array_equal(Neighbours()(alone).data, alone.data)
    empty = Cutout(np.zeros((40, 40)))
    assert Neighbours()(empty).flags == Flag.NO_SOURCE


def test_a_star_on_a_galaxy_goes_when_parted():
    pytest.importorskip("skimage")
    y, x = np.indices(SHAPE)
    galaxy = 200 * np.exp(-np.hypot(x - 128, y - 128) / 15)
    star = 600 * np.exp(-((x - 160) ** 2 + (y - 150) ** 2) / 8)
    noise = np.random.default_rng(2).normal(0, 2, SHAPE)
    image = Cutout(galaxy + star + noise)
    assert Neighbours(others="mask")(image).mask.sum() == 0
    mask = Neighbours(others="mask", deblend=True)(image).mask[0]
    assert star[mask].sum() > 0.9 * star.sum()
    assert galaxy[mask].sum() < 0.1 * galaxy.sum()


def test_a_real_galaxy_is_cleaned_as_by_galclean(real_images):
    # The stamp as the program galclean (Ferreira & Ferrari 2018) has cleaned it.
    cleaned = read_cutout(real_images / "misc/galclean__example_seg.fits").data[0]
    image = read_cutout(real_images / "misc/galclean__example.fits")
    light = image.data[0] - cleaned
    light[np.abs(light) < 1] = 0
    ours = Neighbours(others="mask")(Background()(image)).mask[0]
    assert light.sum() > 10_000
    assert light[ours].sum() > 0.98 * light.sum()
    # The middle of the galaxy is left alone by both.
    assert not ours[100:160, 100:160].any()


@pytest.mark.parametrize("options", [{"others": "eat"}, {"grow": -1}, {"grow": float("nan")}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="neighbours"):
        Neighbours(**options)
