import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import kstest, norm

from astro_deepgalaxy.network.latent import (
    FeatureError,
    KLDivergence,
    Sample,
    latent_decoder,
    latent_encoder,
    to_grid,
)

RNG = np.random.default_rng(0)


def run(layer, *arrays, **options):
    tensors = [np.asarray(a, dtype=np.float32) for a in arrays]
    return keras.ops.convert_to_numpy(layer(*tensors, **options))


def test_divergence_is_the_integral():
    mean, log_variance = RNG.normal(0, 1, (3, 4)), RNG.normal(0, 1, (3, 4))
    expected = np.zeros((3, 1))
    for (i, j), m in np.ndenumerate(mean):
        q = norm(m, np.exp(0.5 * log_variance[i, j]))
        low, high = q.ppf([1e-14, 1 - 1e-14])
        expected[i] += quad(
            lambda x, q=q: q.pdf(x) * (q.logpdf(x) - norm.logpdf(x)), low, high, limit=200
        )[0]
    assert np.allclose(run(KLDivergence(), mean, log_variance), expected, rtol=1e-4)
    assert np.allclose(run(KLDivergence(), np.zeros((1, 4)), np.zeros((1, 4))), 0)


def test_divergence_is_the_mean_over_draws():
    mean, log_variance = np.array([[0.5, -1.0]]), np.array([[-1.0, 0.4]])
    sigma = np.exp(0.5 * log_variance)
    z = RNG.normal(mean, sigma, (200_000, 2))
    each = (norm.logpdf(z, mean, sigma) - norm.logpdf(z)).sum(axis=1)
    found = run(KLDivergence(), mean, log_variance)[0, 0]
    assert abs(found - each.mean()) < 5 * each.std() / np.sqrt(len(each))


def test_draws_have_the_mean_and_the_variance():
    n = 40_000
    mean = np.broadcast_to([0.5, -3.0], (n, 2))
    log_variance = np.broadcast_to([np.log(4.0), np.log(0.01)], (n, 2))
    sample = Sample(seed=1)
    draws = run(sample, mean, log_variance, training=True)
    standard = (draws - mean) / np.exp(0.5 * log_variance)
    for column in standard.T:
        assert kstest(column, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(standard.T)[0, 1]) < 5 / np.sqrt(n)
    again = run(sample, mean, log_variance, training=True)
    assert abs(np.corrcoef(draws[:, 0], again[:, 0])[0, 1]) < 5 / np.sqrt(n)
    assert np.array_equal(draws, run(Sample(seed=1), mean, log_variance, training=True))


def test_there_is_no_draw_outside_training():
    mean, log_variance = RNG.normal(size=(2, 5, 3)).astype(np.float32)
    assert np.array_equal(run(Sample(), mean, log_variance), mean)


def test_gradients_pass_through_a_draw():
    mean, log_variance = tf.constant([[1.0, 2.0]]), tf.constant([[0.0, 2.0]])
    with tf.GradientTape() as tape:
        tape.watch([mean, log_variance])
        draw = Sample(seed=2)(mean, log_variance, training=True)
    by_mean, by_log_variance = tape.gradient(draw, [mean, log_variance])
    assert np.allclose(by_mean, 1)
    # d/dv of m + exp(v / 2) e
    assert np.allclose(by_log_variance, 0.5 * (draw - mean), rtol=1e-5)


def test_feature_error_against_loops():
    maps = RNG.normal(2, 1, (4, 3, 3, 5)) * np.arange(1, 6)
    through = maps + RNG.normal(0, 0.5, maps.shape)
    variance = np.mean([maps[..., c].var() for c in range(5)])
    expected = [np.mean((m - t) ** 2) for m, t in zip(maps, through, strict=True)]
    expected = np.array(expected)[:, np.newaxis] / (variance + 0.01 * np.mean(maps**2))
    assert np.allclose(run(FeatureError(), maps, through), expected, rtol=1e-4)
    assert np.all(run(FeatureError(), maps, maps) == 0)


@given(st.floats(0.1, 1e3), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_giving_the_mean_of_each_channel_has_an_error_of_about_1_at_any_scale(scale, n):
    maps = scale * np.maximum(np.random.default_rng(n).normal(size=(n, 4, 4, 6)), 0)
    means = np.broadcast_to(maps.mean(axis=(0, 1, 2)), maps.shape)
    assert abs(run(FeatureError(), maps, means).mean() - 1) < 0.05


def test_a_single_image_has_an_error_of_the_same_size():
    # The last batch of an epoch may have only one, and a map of one pixel.
    image = RNG.uniform(1, 2, (1, 1, 1, 6))
    assert run(FeatureError(), image, image + 0.1 * image)[0, 0] < 1.1


def test_the_encoder_is_not_asked_to_make_its_features_easy():
    maps, through = tf.constant(RNG.random((2, 2, 2, 3))), tf.constant(RNG.random((2, 2, 2, 3)))
    with tf.GradientTape() as tape:
        tape.watch([maps, through])
        error = FeatureError(dtype="float64")(maps, through)
    by_maps, by_through = tape.gradient(error, [maps, through])
    assert by_maps is None
    assert np.any(by_through)


def test_a_grid_of_means():
    maps = RNG.random((2, 6, 8, 3)).astype(np.float32)
    found = keras.ops.convert_to_numpy(to_grid(keras.ops.convert_to_tensor(maps), (3, 2)))
    for y in range(3):
        for x in range(2):
            block = maps[:, 2 * y : 2 * y + 2, 4 * x : 4 * x + 4].mean(axis=(1, 2))
            assert np.allclose(found[:, y, x], block, atol=1e-6)


@pytest.mark.parametrize("size", [(3, 3), (2, 2), (1, 1), (7, 5), (4, 4), (8, 8), (32, 32)])
def test_any_grid_keeps_what_is_constant(size):
    flat = np.full((1, *size, 2), [0.3, -2.0], dtype=np.float32)
    found = keras.ops.convert_to_numpy(to_grid(keras.ops.convert_to_tensor(flat), (4, 4)))
    assert found.shape == (1, 4, 4, 2)
    assert np.allclose(found, [0.3, -2.0], atol=1e-5)


# The feature maps of a backbone of stride 32 at 96, 128 and 256 px, and at 32 and 512.
SIZES = (3, 4, 8, 1, 16)


@pytest.mark.parametrize("make", [latent_encoder, latent_decoder])
def test_weights_fit_any_image_size(make):
    shapes = [[tuple(w.shape) for w in make((n, n, 6), size=5, hidden=7).weights] for n in SIZES]
    assert all(other == shapes[0] for other in shapes)


def test_the_same_features_have_the_same_latent_at_any_image_size():
    features = RNG.random(6).astype(np.float32)
    models = [latent_encoder((n, n, 6), size=5, hidden=7) for n in SIZES]
    answers = []
    for model in models:
        model.set_weights(models[0].get_weights())
        maps = np.broadcast_to(features, (1, *model.input_shape[1:]))
        answers.append(keras.ops.convert_to_numpy(model(maps)["z"]))
    for other in answers[1:]:
        assert np.allclose(other, answers[0], atol=1e-5)


def test_where_things_are_matters():
    model = latent_encoder((4, 4, 1), size=3, hidden=8)
    maps = np.zeros((2, 4, 4, 1), dtype=np.float32)
    maps[0, 0, 0], maps[1, 3, 3] = 1, 1
    z = keras.ops.convert_to_numpy(model(maps)["z"])
    assert not np.allclose(z[0], z[1])


@pytest.mark.parametrize("n", SIZES)
def test_the_decoder_leads_back_to_the_map(n):
    assert latent_decoder((n, n, 6), size=5, hidden=7).output_shape == (None, n, n, 6)
