import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from astro_deepgalaxy.store.augment import Augmentation

NONE = Augmentation.none()


def seeds(n, seed=0):
    return Augmentation.seeds(seed, 0, np.arange(n))


def noise_images(n, ny=16, nx=16, channels=1):
    return np.random.default_rng(n).random((n, ny, nx, channels), dtype=np.float32)


def blobs(n, places, size=64, sigma=2.0):
    """The same image n times: round Gaussians at places (y, x) from the middle."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    image = sum(np.exp(-((y - v) ** 2 + (x - w) ** 2) / (2 * sigma**2)) for v, w in places)
    return np.repeat(image[np.newaxis, :, :, np.newaxis].astype(np.float32), n, axis=0)


def centroids(images):
    """Centroid (y, x) from the middle and variance along an axis of each image."""
    size = images.shape[1]
    place = np.arange(size) - (size - 1) / 2
    light = images[..., 0].astype(float)
    light /= light.sum(axis=(1, 2), keepdims=True)
    y, x = light.sum(axis=2) @ place, light.sum(axis=1) @ place
    spread = (light.sum(axis=2) @ place**2 - y**2 + light.sum(axis=1) @ place**2 - x**2) / 2
    return np.stack([y, x], axis=1), spread


def test_none_changes_nothing():
    images = noise_images(5)
    np.testing.assert_array_equal(NONE(images, seeds(5)), images)
    assert Augmentation() != NONE


def test_flips_are_the_eight_symmetries_to_the_bit():
    images = np.repeat(noise_images(1), 200, axis=0)
    out = replace(NONE, flip=True)(images, seeds(200)).numpy()
    turned = [np.rot90(images[0], k) for k in range(4)]
    expected = {image.tobytes() for image in turned + [image[:, ::-1] for image in turned]}
    assert {image.tobytes() for image in out} == expected


def test_a_rectangle_is_only_mirrored():
    images = np.repeat(noise_images(1, 10, 14, 3), 100, axis=0)
    out = replace(NONE, flip=True)(images, seeds(100)).numpy()
    expected = {images[0, ::a, ::b].tobytes() for a in (1, -1) for b in (1, -1)}
    assert {image.tobytes() for image in out} == expected


@pytest.mark.parametrize("more", [{}, {"rotation": 90.0, "zoom": 0.3, "resampled": 0.0}])
def test_whole_pixels_are_moved_exactly_and_mirrored_at_the_border(more):
    images = np.repeat(noise_images(1, 20, 20), 200, axis=0)
    out = replace(NONE, shift=0.2, **more)(images, seeds(200)).numpy()
    expected = {
        ndimage.shift(images[0, ..., 0], (dy, dx), order=0, mode="reflect").tobytes(): (dy, dx)
        for dy in range(-4, 5)
        for dx in range(-4, 5)
    }
    shifts = np.array([expected[image.tobytes()] for image in out])
    assert len(np.unique(shifts, axis=0)) > 60
    assert np.abs(shifts.mean(axis=0)).max() < 1


def test_rotation_is_that_of_scipy():
    n = 40
    turn = replace(NONE, rotation=True, resampled=1.0)
    # The same seeds turn a mark, which tells the angle, and an image of noise.
    y, x = centroids(turn(blobs(n, [(0, 10)]), seeds(n)).numpy())[0].T
    angles = np.degrees(np.arctan2(y, x))
    np.testing.assert_allclose(np.hypot(y, x), 10, atol=0.02)
    assert stats.kstest(angles, stats.uniform(-180, 360).cdf).pvalue > 0.01
    images = ndimage.gaussian_filter(noise_images(1, 64, 64), (0, 2, 2, 0)).repeat(n, axis=0)
    out = turn(images, seeds(n)).numpy()
    for angle, image in zip(angles, out, strict=True):
        expected = ndimage.rotate(images[0, ..., 0], -angle, reshape=False, order=1, mode="reflect")
        np.testing.assert_allclose(image[..., 0], expected, atol=4e-3)


def test_rotation_stays_within_its_limit():
    out = replace(NONE, rotation=20.0, resampled=1.0)(blobs(300, [(0, 10)]), seeds(300))
    angles = np.degrees(np.arctan2(*centroids(out.numpy())[0].T))
    assert stats.kstest(angles, stats.uniform(-20, 40).cdf).pvalue > 0.01


def test_only_a_share_is_resampled():
    images = noise_images(400)
    out = replace(NONE, rotation=180.0, zoom=0.2, resampled=0.3)(images, seeds(400)).numpy()
    same = (out == images).all(axis=(1, 2, 3))
    assert stats.binomtest(int((~same).sum()), 400, 0.3).pvalue > 0.01


def test_zoom_and_shift_move_the_light_as_told():
    n = 400
    options = replace(NONE, zoom=0.25, shift=0.1, resampled=1.0)
    places, spread = centroids(options(blobs(n, [(0, 0)]), seeds(n)).numpy())
    zooms = np.sqrt((spread - 0.15) / 4)  # interpolation widens a little
    assert (
        stats.kstest(np.log(zooms), stats.uniform(-np.log(1.25), 2 * np.log(1.25)).cdf).pvalue
        > 0.01
    )
    for along in places.T:
        assert stats.kstest(along, stats.uniform(-6.4, 12.8).cdf).pvalue > 0.01


def test_what_is_turned_is_turned_about_the_middle_then_moved():
    n = 50
    # Two marks at opposite sides of the middle: their centre says the shift alone.
    options = Augmentation(zoom=0, shift=0.1, resampled=1, blur=0, stars=0, noise=0, brightness=0)
    (one, _), (both, _) = (
        centroids(options(blobs(n, marks), seeds(n)).numpy())
        for marks in ([(0, 6)], [(0, 6), (0, -6)])
    )
    np.testing.assert_allclose(np.hypot(*(one - both).T), 6, atol=0.04)
    assert np.abs(both).max() <= 6.4 + 0.02


def test_blur_is_that_of_scipy():
    n = 60
    blur = replace(NONE, blur=2.5)
    point = np.zeros((n, 41, 41, 1), dtype=np.float32)
    point[:, 20, 20] = 1
    middle, beside = blur(point, seeds(n)).numpy()[:, 20, 20:22, 0].T
    sigmas = np.sqrt(0.5 / np.log(middle / beside))
    wide = sigmas > 0.5  # of narrower ones, the neighbour has no light to speak of
    assert stats.kstest(sigmas[wide], stats.uniform(0.5, 2.0).cdf).pvalue > 0.01
    images = noise_images(n, 24, 30, 3)
    out = blur(images, seeds(n)).numpy()
    for sigma, image, blurred in zip(sigmas[wide], images[wide], out[wide], strict=True):
        expected = ndimage.gaussian_filter(
            image, (sigma, sigma, 0), mode="reflect", radius=(10, 10, 0)
        )
        np.testing.assert_allclose(blurred, expected, atol=2e-6)


def test_noise_is_gaussian_and_of_its_own_width():
    images = np.full((200, 32, 32, 1), 0.5, dtype=np.float32)
    added = replace(NONE, noise=0.08)(images, seeds(200)).numpy() - images
    widths = added.std(axis=(1, 2, 3))
    assert stats.kstest(widths, stats.uniform(0, 0.08).cdf).pvalue > 0.01
    normal = added / widths[:, None, None, None]
    assert stats.kstest(normal[::20].ravel(), stats.norm.cdf).pvalue > 0.01
    # Independent from pixel to pixel and from image to image.
    flat = normal.reshape(200, -1)
    neighbours = flat[:, 1:] * flat[:, :-1], flat[1:] * flat[:-1]
    for products in neighbours:
        assert abs(products.mean()) < 4 / np.sqrt(products.size)


def test_brightness_is_one_factor():
    images = 0.5 * noise_images(300)
    factor = replace(NONE, brightness=0.4)(images, seeds(300)).numpy() / images
    np.testing.assert_allclose(factor.std(axis=(1, 2, 3)), 0, atol=1e-6)
    factors = factor.mean(axis=(1, 2, 3))
    assert stats.kstest(factors, stats.uniform(0.6, 0.8).cdf).pvalue > 0.01


def test_stars_are_round_gaussians_anywhere():
    n = 600
    options = replace(NONE, stars=1, star_width=(1.0, 1.5), star_brightness=(0.3, 0.8))
    out = options(np.zeros((n, 48, 48, 2), dtype=np.float32), seeds(n)).numpy()
    np.testing.assert_array_equal(out[..., 0], out[..., 1])
    there = out.max(axis=(1, 2, 3)) > 0.01
    assert stats.binomtest(int(there.sum()), n, 0.5).pvalue > 0.01
    places, spread = centroids(out[there])
    whole = np.abs(places).max(axis=1) < 16
    widths, peaks = np.sqrt(spread[whole]), out[there][whole].max(axis=(1, 2, 3))
    assert stats.kstest(widths, stats.uniform(1, 0.5).cdf).pvalue > 0.01
    fluxes = out[there][whole][..., 0].sum(axis=(1, 2)) / (2 * np.pi * widths**2)
    assert stats.kstest(fluxes, stats.uniform(0.3, 0.5).cdf).pvalue > 0.01
    assert (peaks <= fluxes + 1e-3).all()
    assert abs((np.abs(places) < 12).all(axis=1).mean() - 0.25) < 0.1


def test_the_number_of_stars_is_uniform():
    n = 300
    options = replace(NONE, stars=3, star_width=(0.5, 0.5), star_brightness=(0.3, 0.3))
    out = options(np.zeros((n, 200, 200, 1), dtype=np.float32), seeds(n)).numpy()
    found = out[..., 0].sum(axis=(1, 2)) / (2 * np.pi * 0.25 * 0.3)
    counts = np.bincount(np.rint(found).astype(int), minlength=4)
    assert len(counts) == 4
    assert stats.chisquare(counts).pvalue > 0.01


def test_the_border_has_no_seam():
    # Sky of one level, which a border filled with another value would show.
    images = np.full((50, 32, 32, 1), 0.3, dtype=np.float32)
    options = replace(Augmentation(), resampled=1.0, zoom=0.5, shift=0.3, stars=0, noise=0)
    out = replace(options, brightness=0.0)(images, seeds(50)).numpy()
    np.testing.assert_allclose(out, 0.3, atol=1e-5)


def test_an_image_does_not_depend_on_its_neighbours():
    images, seed = noise_images(9, 20, 20, 2), seeds(9)
    whole = Augmentation()(images, seed).numpy()
    order = np.array([4, 0, 7])
    np.testing.assert_allclose(Augmentation()(images[order], seed[order]), whole[order], atol=1e-5)
    np.testing.assert_allclose(Augmentation()(images[3:4], seed[3:4]), whole[3:4], atol=1e-5)


def test_seeds_tell_runs_epochs_and_rows_apart():
    images = np.repeat(noise_images(1), 6, axis=0)
    given = np.concatenate(
        [
            Augmentation.seeds(s, e, r)
            for s, e, r in ((0, 0, [0, 1, 1]), (0, 1, [0]), (1, 0, [0, 0]))
        ]
    )
    out = Augmentation()(images, given).numpy()
    assert len({image.tobytes() for image in out}) == 4
    np.testing.assert_array_equal(Augmentation()(images, given), out)


def test_it_works_in_a_graph_of_any_batch_size():
    import tensorflow as tf

    options = Augmentation()
    graph = tf.function(
        options.__call__,
        input_signature=[
            tf.TensorSpec((None, 16, 16, 1), tf.float32),
            tf.TensorSpec((None, 2), tf.int64),
        ],
    )
    for n in (1, 7):
        images = noise_images(n)
        np.testing.assert_allclose(graph(images, seeds(n)), options(images, seeds(n)), atol=1e-5)
    assert graph.experimental_get_tracing_count() == 1


@settings(max_examples=25, deadline=None)
@given(
    st.builds(
        Augmentation,
        flip=st.booleans(),
        rotation=st.floats(0, 180),
        zoom=st.floats(0, 0.99),
        shift=st.floats(0, 0.99),
        resampled=st.floats(0, 1),
        blur=st.floats(0, 20),
        stars=st.integers(0, 4),
        noise=st.floats(0, 0.99),
        brightness=st.floats(0, 0.99),
    ),
    st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12), st.integers(1, 3)),
    st.integers(0, 2**64),
)
def test_images_stay_images(options, shape, seed):
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    out = options(images, Augmentation.seeds(seed, 0, np.arange(shape[0]))).numpy()
    assert out.shape == shape
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1  # and so no pixel is NaN
    assert Augmentation(**json.loads(json.dumps(options.to_dict()))) == options


def test_options_are_those_documented():
    for field in fields(Augmentation):
        assert f"\n    {field.name} : " in Augmentation.__doc__


@pytest.mark.parametrize(
    "wrong",
    [
        {"rotation": 181},
        {"zoom": 1.0},
        {"shift": -0.1},
        {"noise": np.nan},
        {"brightness": 2},
        {"resampled": 1.1},
        {"blur": -1},
        {"stars": 1.5},
        {"star_width": (2.0, 1.0)},
        {"star_brightness": (0.0, 1.0)},
    ],
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValueError, match=f"augmentation: {next(iter(wrong))} must be"):
        Augmentation(**wrong)
