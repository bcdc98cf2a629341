import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.ndimage import gaussian_filter
from scipy.stats import norm
from skimage.metrics import structural_similarity

from astro_deepgalaxy.network.losses import get_loss


def loss(name, true, predicted):
    arrays = [np.asarray(a, dtype=np.float32) for a in (true, predicted)]
    return keras.ops.convert_to_numpy(get_loss(name)(*arrays))


def probabilities(n, k, seed):
    return np.random.default_rng(seed).dirichlet(np.ones(k), n)


def test_ranked_probability_against_loops():
    true, predicted = probabilities(4, 7, 0), probabilities(4, 7, 1)
    expected = np.zeros(4)
    for i in range(4):
        for k in range(7):
            expected[i] += (sum(predicted[i][: k + 1]) - sum(true[i][: k + 1])) ** 2
    assert np.allclose(loss("ranked_probability", true, predicted), expected, rtol=1e-5)


def test_ranked_probability_of_sharp_forecasts_is_the_distance():
    forecasts = np.eye(71)
    found = loss("ranked_probability", np.broadcast_to(forecasts[30], (71, 71)), forecasts)
    assert np.allclose(found, np.abs(np.arange(71) - 30), atol=1e-5)


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_no_forecast_is_better_than_the_true_one_on_average(seed):
    truth, other = probabilities(2, 6, seed)
    outcomes = np.eye(6)
    mean = [
        truth @ loss(name, outcomes, np.broadcast_to(forecast, (6, 6)))
        for name in ("ranked_probability", "ordinal")
        for forecast in (truth, other)
    ]
    assert mean[0] <= mean[1] + 1e-6
    assert mean[2] <= mean[3] + 1e-5


def test_ordinal_is_the_sum_of_both():
    true, predicted = probabilities(3, 5, 2), probabilities(3, 5, 3)
    entropy = -(true * np.log(predicted)).sum(axis=1)
    both = entropy + loss("ranked_probability", true, predicted)
    assert np.allclose(loss("ordinal", true, predicted), both, rtol=1e-4)


def mixture(n, k, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n, k)), rng.normal(0, 2, (n, k)), rng.normal(-0.5, 0.5, (n, k))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_mixture_density_against_scipy(k):
    logits, means, log_widths = mixture(6, k, 4)
    values = np.random.default_rng(5).normal(0, 2, (6, 1))
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    density = (weights * norm.pdf(values, means, np.exp(log_widths))).sum(axis=1)
    found = loss("mixture_density", values, np.concatenate([logits, means, log_widths], axis=1))
    assert np.allclose(found, -np.log(density), rtol=1e-4, atol=1e-5)


def test_mixture_density_is_a_density():
    parameters = np.concatenate(mixture(1, 3, 6), axis=1)
    total = quad(lambda x: np.exp(-loss("mixture_density", [[x]], parameters)[0]), -20, 20)[0]
    assert abs(total - 1) < 1e-4


def test_mixture_density_far_away_and_met_exactly():
    parameters = np.array([[0.0, 0.0, 1.0, 2.0, -60.0, -60.0]])
    assert np.isfinite(loss("mixture_density", [[1e4]], parameters)).all()
    # As narrow as the floor, 1e-3.
    found = loss("mixture_density", [[1.0]], parameters)[0]
    assert abs(found + np.log(0.5 * norm.pdf(0, 0, 1e-3))) < 1e-3
    tensor = tf.constant(parameters, dtype=tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = get_loss("mixture_density")(tf.constant([[1e3]]), tensor)
    assert np.isfinite(tape.gradient(value, tensor)).all()


@pytest.mark.parametrize(
    ("name", "difference"),
    [("mean_absolute_error", np.abs), ("mean_squared_error", np.square)],
)
def test_errors_of_images_are_one_number_each(name, difference):
    images, again = np.random.default_rng(7).random((2, 3, 4, 5, 2))
    expected = [difference(a - b).mean() for a, b in zip(images, again, strict=True)]
    assert np.allclose(loss(name, images, again), expected, rtol=1e-5)


def test_structural_is_the_similarity_where_there_is_light():
    rng = np.random.default_rng(5)
    true = rng.uniform(0, 1, (4, 24, 30, 2))
    true[0] = 0.0  # an empty sky
    true[1, :, :15] *= 0.1
    predicted = np.clip(true + rng.normal(0, 0.1, true.shape), 0, 1)
    expected = []
    for image, other in zip(true, predicted, strict=True):
        alike = structural_similarity(
            image,
            other,
            data_range=1,
            gaussian_weights=True,
            use_sample_covariance=False,
            channel_axis=-1,
            full=True,
        )[1]
        light = gaussian_filter(image, (1.5, 1.5, 0), radius=5)
        weights = light + light.mean() + 1e-4
        expected.append(
            np.average(0.84 * (1 - alike) + 0.16 * np.abs(image - other), weights=weights)
        )
    assert np.allclose(loss("structural", true, predicted), expected, atol=1e-5)
    assert np.allclose(loss("structural", true, true), 0, atol=1e-6)


def test_value_is_what_the_network_says():
    assert loss("value", np.zeros((3, 1)), [[1.0], [2.0], [4.0]]).tolist() == [1, 2, 4]


def test_losses_of_keras_go_by_their_names():
    assert get_loss("huber") is keras.losses.huber
    with pytest.raises(ValueError, match=r"unknown loss 'hubber'.*ranked_probability"):
        get_loss("hubber")
