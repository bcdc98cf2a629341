import numpy as np
import pytest
from astropy.stats import SigmaClip
from hypothesis import given, settings
from hypothesis import strategies as st
from photutils.background import Background2D

from astro_deepgalaxy.preprocess.mesh import interpolate, measure_mesh

NOISE = 2.0


def field(shape, seed, level=50.0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    sky = level + 0.01 * x - 0.02 * y
    galaxy = 100 * np.exp(-np.hypot(x - shape[1] / 2.5, y - shape[0] / 3) / 8)
    return (rng.normal(sky, NOISE) + galaxy).astype(np.float32)


def photutils(image, mask, box, **options):
    options = {"exclude_percentile": 75, "filter_size": 3} | options
    return Background2D(image, box, mask=mask, sigma_clip=SigmaClip(3, maxiters=10), **options)


@settings(deadline=None, max_examples=40)
@given(
    ny=st.integers(120, 300),
    nx=st.integers(120, 300),
    box=st.integers(24, 40),
    masked=st.floats(0, 0.6),
    seed=st.integers(0, 99),
)
def test_the_sky_of_photutils(ny, nx, box, masked, seed):
    image = field((ny, nx), seed)
    mask = np.random.default_rng(seed).random((ny, nx)) < masked
    mask[: ny // 3, : nx // 3] |= masked > 0.3
    ours, theirs = measure_mesh(image, mask, box), photutils(image, mask, box)
    assert np.abs(ours.level - theirs.background_mesh).max() < 1e-3 * NOISE
    # Splines of few boxes at the full level lose a little of it in scipy.
    level = np.float32(image.mean())
    theirs = photutils(image - level, mask, box).background + level
    assert np.abs(ours.image() - theirs).max() < 5e-3 * NOISE


@pytest.mark.parametrize("filter_size", [1, 3, 5])
def test_filters_and_boxes_that_are_left_out(filter_size):
    image = field((256, 256), 1)
    mask = np.zeros(image.shape, dtype=bool)
    mask[64:128, 128:190] = True
    ours = measure_mesh(image, mask, 64, exclude_percentile=50, filter_size=filter_size)
    theirs = photutils(image, mask, 64, exclude_percentile=50, filter_size=filter_size)
    assert np.isnan(ours.raw).sum() == 1
    assert np.abs(ours.image() - theirs.background).max() < 5e-3 * NOISE


def test_a_constant_is_kept_at_any_level():
    image = np.full((150, 150), 1e6, dtype=np.float32)
    assert np.array_equal(measure_mesh(image, None, 50).image(), image)


def test_next_to_no_noise():
    y, x = np.mgrid[:150, :150]
    image = (1e-30 * np.exp(-np.hypot(x - 70, y - 70))).astype(np.float32)
    assert np.abs(measure_mesh(image, None, 50).image()).max() < 1e-29


def test_pixels_that_are_not_finite_do_not_count():
    image = field((200, 200), 2)
    spoilt = image.copy()
    spoilt[::7, ::5] = np.nan
    spoilt[3::7, ::5] = np.inf
    ours = measure_mesh(spoilt, None, 50).image()
    theirs = measure_mesh(image, ~np.isfinite(spoilt), 50).image()
    assert np.array_equal(ours, theirs)


def test_a_part_is_that_part_of_the_whole():
    mesh = measure_mesh(field((300, 250), 3), None, 40)
    part = interpolate(mesh.level, mesh.box, mesh.shape, slice(100, 180), slice(20, 70))
    assert np.allclose(part, mesh.image()[100:180, 20:70], rtol=1e-6)


def test_nothing_to_measure():
    assert measure_mesh(np.ones((99, 99), np.float32), np.ones((99, 99), bool), 33) is None


def test_the_residual_tells_flat_from_uneven_sky():
    rng = np.random.default_rng(4)
    flat = rng.normal(10, 1, (256, 256)).astype(np.float32)
    assert measure_mesh(flat, None, 64).residual < 0.1
    uneven = flat + 3 * ((np.indices(flat.shape) // 64).sum(axis=0) % 2)
    assert measure_mesh(uneven.astype(np.float32), None, 64).residual > 1
