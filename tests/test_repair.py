import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy import Cutout, Flag
from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.preprocess.repair import Repair
from astro_deepgalaxy.testing import check_step

SHAPE = (160, 160)


def galaxy_and_stars(seed=0):
    """A disc and stars of three pixels FWHM, without noise, and where the stars are."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(SHAPE)
    image = 400 * np.exp(-np.hypot(x - 80.2, (y - 77.4) / 0.7) / 10)
    places = [(a, b) for a in range(15, 160, 32) for b in (12, 145)]
    peaks = 10 ** rng.uniform(1.5, 3.5, len(places))
    for (a, b), peak in zip(places, peaks, strict=True):
        image += peak * np.exp(-((x - a - 0.3) ** 2 + (y - b + 0.2) ** 2) / (2 * 1.27**2))
    return image, places


def tracks(seed=0, n=25):
    """Straight tracks of cosmic rays, one pixel wide."""
    rng = np.random.default_rng(seed)
    image = np.zeros(SHAPE)
    for _ in range(n):
        length, turn, charge = rng.integers(1, 12), rng.uniform(0, np.pi), 10 ** rng.uniform(2, 3.5)
        y, x = rng.uniform(20, 140, 2)
        steps = np.arange(0, length, 0.5)
        rows, columns = y + steps * np.sin(turn), x + steps * np.cos(turn)
        image[rows.astype(int), columns.astype(int) % 160] += charge
    return image


def test_it_keeps_the_promises_of_a_step():
    check_step("repair")
    check_step("repair", sigma=2.0)


def test_one_dead_pixel_by_hand():
    rng = np.random.default_rng(1)
    image, variance = rng.normal(5, 1, (9, 9)), rng.uniform(0.5, 2, (9, 9))
    y, x = np.mgrid[-3:4, -3:4]
    weight = np.exp(-(x**2 + y**2) / 2)
    weight[3, 3] = 0
    weight /= weight.sum()
    around = image[1:8, 1:8]
    mean = (weight * around).sum()
    scatter = (weight * (around - mean) ** 2).sum() + (weight**2 * variance[1:8, 1:8]).sum()
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    image[4, 4] = 1e6
    out = Repair()(Cutout(image, mask=mask, variance=variance))
    assert not out.mask.any()
    assert out.flags == Flag.MISSING_DATA
    assert out.data[0, 4, 4] == pytest.approx(mean, rel=1e-5)
    assert out.variance[0, 4, 4] == pytest.approx(scatter, rel=1e-5)
    others = ~mask
    assert np.array_equal(out.data[0][others], image.astype(np.float32)[others])
    assert np.array_equal(out.variance[0][others], variance.astype(np.float32)[others])


def test_dead_pixels_of_a_galaxy_are_recovered():
    clean, _ = galaxy_and_stars()
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 1, SHAPE)
    dead = rng.random(SHAPE) < 0.02
    dead[:, 70] = True
    image = np.where(dead, np.nan, clean + noise)
    out = Repair()(Cutout(image, variance=np.ones(SHAPE)))
    filled = dead & ~out.mask[0]
    assert filled.sum() > 0.98 * dead.sum()
    assert out.data[0][~out.mask[0]].sum() == pytest.approx(clean[~out.mask[0]].sum(), rel=0.003)
    # They differ from what would have been measured by as much as the variance says.
    pull = (out.data[0] - clean - noise)[filled] / np.sqrt(out.variance[0][filled])
    assert 0.8 < np.sqrt(np.mean(pull**2)) < 1.2
    assert np.median(out.variance[0][filled]) > 1


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 9), st.booleans())
def test_holes_are_filled_up_to_their_width(across, along, largest, upright):
    hole = np.zeros((60, 60), bool)
    hole[20 : 20 + across, 10 : 10 + along] = True
    if upright:
        hole = hole.T
    out = Repair(largest=largest)(Cutout(np.ones((60, 60)), mask=hole))
    if min(across, along) <= largest:
        assert not out.mask.any()
        assert np.allclose(out.data, 1)
        assert out.flags == Flag.MISSING_DATA
    else:
        assert np.array_equal(out.mask[0], hole)
        assert out.flags == 0


def test_a_gap_along_the_border_stays():
    mask = np.zeros((40, 40), bool)
    mask[:, :2] = True
    mask[20, 37:] = True
    out = Repair(largest=4)(Cutout(np.ones((40, 40)), mask=mask))
    assert out.mask[0][:, :2].all()
    assert not out.mask[0][20].any() or out.mask[0][20, 2:].sum() == 0
    whole = Cutout(np.full((20, 20), np.nan))
    assert Repair()(whole).mask.all()


def test_a_ragged_hole_stays_as_a_whole():
    y, x = np.indices((50, 50))
    hole = np.hypot(x - 25, y - 25) < 8
    hole[25, 5:45] = True
    out = Repair(largest=3)(Cutout(np.ones((50, 50)), mask=hole))
    assert np.array_equal(out.mask[0], hole)


def test_bands_have_their_own_defects():
    image = np.random.default_rng(4).normal(0, 1, (2, 30, 30)) + np.array([[[0]], [[100]]])
    mask = np.zeros((2, 30, 30), bool)
    mask[0, 10, 10] = mask[1, 20, 20] = True
    out = Repair()(Cutout(image, bands="gr", mask=mask))
    assert abs(out.data[0, 10, 10]) < 3
    assert abs(out.data[1, 20, 20] - 100) < 3
    assert np.array_equal(out.data[~mask], image.astype(np.float32)[~mask])


@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e6])
def test_cosmic_rays_go_and_stars_stay(unit):
    pytest.importorskip("astroscrappy")
    clean, places = galaxy_and_stars()
    rays = tracks()
    image = clean + rays + np.random.default_rng(3).normal(0, 1, SHAPE)
    out = Repair(cosmic_rays=True)(Cutout(image * unit))
    changed = out.data[0] != (image * unit).astype(np.float32)
    hit = rays > 10
    assert changed[hit].mean() > 0.97
    assert (changed & ~hit).mean() < 0.005
    assert not any(changed[y - 1 : y + 2, x - 1 : x + 2].any() for x, y in places)
    assert rays.sum() > 0.1 * clean.sum()
    assert out.data[0][~out.mask[0]].sum() / unit == pytest.approx(
        clean[~out.mask[0]].sum(), rel=0.01
    )


def test_the_noise_of_bright_sources_counts():
    pytest.importorskip("astroscrappy")
    clean, _ = galaxy_and_stars()
    rng = np.random.default_rng(5)
    gain = 1.0
    image = clean + rng.normal(0, 1, SHAPE) * np.sqrt(1 + clean / gain)
    found = {
        "sky": Repair(cosmic_rays=True)(Cutout(image)),
        "gain": Repair(cosmic_rays=True, gain=gain)(Cutout(image)),
        "variance": Repair(cosmic_rays=True)(Cutout(image, variance=1 + clean / gain)),
    }
    wrong = {name: (out.data[0] != image.astype(np.float32)).sum() for name, out in found.items()}
    assert wrong["gain"] <= 5
    assert wrong["variance"] <= 5
    assert wrong["sky"] > 50


def test_dead_pixels_are_not_taken_for_cosmic_rays():
    pytest.importorskip("astroscrappy")
    clean, _ = galaxy_and_stars()
    rng = np.random.default_rng(6)
    image = clean + rng.normal(0, 1, SHAPE)
    dead = rng.random(SHAPE) < 0.01
    image[dead] = np.nan
    out = Repair(cosmic_rays=True)(Cutout(image))
    changed = (out.data[0] != image.astype(np.float32)) & ~dead
    assert changed.sum() <= 5


def test_pictures_are_not_searched():
    pytest.importorskip("astroscrappy")
    image = np.random.default_rng(7).normal(100, 1, (40, 40))
    image[20, 20] = 255
    picture = Cutout(image, flags=Flag.PICTURE)
    assert np.array_equal(Repair(cosmic_rays=True)(picture).data, picture.data)
    assert not np.array_equal(Repair(cosmic_rays=True)(Cutout(image)).data, picture.data)


def test_without_astroscrappy(monkeypatch):
    monkeypatch.setitem(sys.modules, "astroscrappy", None)
    image = Cutout(np.random.default_rng(8).normal(0, 1, (40, 40)))
    assert np.array_equal(Repair()(image).data, image.data)
    with pytest.raises(CutoutError, match=r"astroscrappy.*pip install"):
        Repair(cosmic_rays=True)(image)


@pytest.mark.parametrize(
    "options",
    [
        {"largest": 0},
        {"largest": 100},
        {"sigma": 0.1},
        {"nsigma": 0},
        {"contrast": -1},
        {"gain": 0},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="repair"):
        Repair(**options)


def test_tiny_images_are_not_searched():
    """In a process of its own: what writes beyond its memory may crash later, or not at all."""
    pytest.importorskip("astroscrappy")
    code = """
import numpy as np
from astro_deepgalaxy import Cutout
from astro_deepgalaxy.preprocess.repair import Repair
rng = np.random.default_rng(0)
for _ in range(5):
    for ny in range(1, 9):
        for nx in range(1, 9):
            image = rng.normal(0, 1, (ny, nx))
            image[ny // 2, nx // 2] = 1e4
            out = Repair(cosmic_rays=True)(Cutout(image))
            assert out.shape == (1, ny, nx)
            assert min(ny, nx) > 7 or np.array_equal(out.data[0], image.astype(np.float32))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unit", [1e36, 1e-40])
def test_pixels_near_the_limits_of_float32(unit):
    pytest.importorskip("astroscrappy")
    image = np.random.default_rng(9).normal(3, 1, (40, 40)) * unit
    image[20, 20] = np.nan
    for step in (Repair(), Repair(cosmic_rays=True), Repair(cosmic_rays=True, gain=2.0)):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            out = step(Cutout(image, variance=np.full((40, 40), 1e38)))
        assert 0 < out.data[0, 20, 20] / unit < 6
        assert out.variance[0, 20, 20] > 1e36


def test_a_variance_that_is_not_a_number_stays_where_it_is():
    pytest.importorskip("astroscrappy")
    image = np.random.default_rng(10).normal(0, 1, (40, 40))
    image[10, 10] = image[30, 30] = np.nan
    variance = np.ones((40, 40))
    variance[10, 12] = np.nan
    out = Repair(cosmic_rays=True)(Cutout(image, variance=variance))
    assert not out.mask.any()
    assert not np.isfinite(out.variance[0, 10, 10])
    assert out.variance[0, 30, 30] > 0
    assert np.isfinite(out.variance).sum() == 1598
