import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from astro_deepgalaxy.network import GalaxyNetwork, NetworkConfig
from astro_deepgalaxy.network.decoder import SubPixels, decoder

# Strides of the stages: simple and tinynet; most of keras.applications; ConvNeXt.
PATTERNS = {
    "simple": (2, 4),
    "tinynet": (2, 4, 8, 16),
    "most": (2, 4, 8, 16, 32),
    "convnext": (4, 8, 16, 32),
}
CHANNELS = 3


def build(strides, size, filters=None):
    shape = (size // strides[-1], size // strides[-1], CHANNELS)
    return decoder(shape, 1, strides, filters)


def drawn(model, rng):
    """Weights of the same shapes: kernels of He et al. (2015), moving averages that matter."""
    return [
        rng.normal(0, np.sqrt(2 / np.prod(w.shape[:-1])), w.shape)
        if w.ndim > 1
        else rng.uniform(0.5, 1.5, w.shape)
        for w in model.get_weights()
    ]


@pytest.mark.parametrize("strides", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("size", [96, 128, 256])
def test_it_leads_back_to_the_pixels_in_the_steps_of_the_encoder(strides, size):
    model = build(strides, size)
    assert model.output.shape == (None, size, size, 1)
    sizes = [layer.output.shape[1] for layer in model.layers if "_up" in layer.name]
    assert sizes == [size // stride for stride in strides[:-1]][::-1]
    assert len(model.inputs) == 1


def constant_by_hand(weights, vector):
    """What a field of constant features becomes far from the borders."""
    weights = list(weights)
    while len(weights) > 2:
        kernel, gamma, beta, mean, variance = weights[:5]
        del weights[:5]
        vector = np.einsum("yxcf,c->f", kernel, vector)
        vector = gamma * (vector - mean) / np.sqrt(variance + 1e-3) + beta
        vector = np.maximum(vector, 0)
    kernel, bias = weights
    pixels = 1 / (1 + np.exp(-np.einsum("yxcf,c->f", kernel, vector) - bias))
    side = math.isqrt(len(pixels))
    return pixels.reshape(side, side)


@pytest.mark.parametrize("strides", PATTERNS.values(), ids=PATTERNS)
def test_the_same_weights_do_the_same_at_any_size(strides):
    rng = np.random.default_rng(0)
    models = {size: build(strides, size) for size in (192, 256, 384)}
    weights = drawn(models[192], rng)
    features = rng.uniform(0.5, 1.5, CHANNELS)
    expected = constant_by_hand(weights, features)
    assert expected.shape == (strides[0], strides[0])
    assert expected.min() > 0.001
    assert expected.max() < 0.999
    # Two convolutions at each size and one at the end, in pixels of the image.
    border = strides[0] + 2 * sum(strides)
    images = {}
    for size, model in models.items():
        model.set_weights(weights)
        flat = np.broadcast_to(features, (1, *model.input_shape[1:])).astype(np.float32)
        images[size] = keras.ops.convert_to_numpy(model(flat, training=False))[0, ..., 0]
    for size in (256, 384):
        everywhere = np.tile(expected, (size // strides[0],) * 2)
        inside = (slice(border, size - border),) * 2
        assert images[size][inside].size > 0
        assert np.allclose(images[size][inside], everywhere[inside], atol=2e-4)
        # What the borders do is seen.
        assert np.abs(images[size] - everywhere).max() > 1e-3
    corner = 192 - border
    assert corner > 0
    assert np.allclose(images[192][:corner, :corner], images[384][:corner, :corner], atol=1e-4)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_sub_pixels_as_tensorflow_has_them(factor):
    maps = np.random.default_rng(2).normal(size=(2, 3, 5, 3 * factor**2)).astype(np.float32)
    pixels = keras.ops.convert_to_numpy(SubPixels(factor)(maps))
    assert pixels.shape == (2, 3 * factor, 5 * factor, 3)
    expected = maps if factor == 1 else tf.nn.depth_to_space(maps, factor).numpy()
    assert np.array_equal(pixels, expected)


def test_an_untrained_decoder_draws_no_checkerboard():
    model = decoder((4, 4, CHANNELS), 2, (2, 4, 8), [8, 8, 8])
    features = np.random.default_rng(3).normal(size=(1, 4, 4, CHANNELS)).astype(np.float32)
    image = keras.ops.convert_to_numpy(model(features))[0]
    assert np.array_equal(image[::2, ::2], image[1::2, 1::2])
    assert np.array_equal(image[::2, ::2], image[::2, 1::2])
    assert np.ptp(image[..., 0]) > 0
    assert not np.allclose(image[..., 0], image[..., 1])


def test_wide_images():
    model = decoder((2, 3, 8), 2, (2, 4, 8, 16, 32))
    assert model.output.shape == (None, 64, 96, 2)


def test_images_stay_between_0_and_1():
    model = build((2, 4), 32)
    features = np.random.default_rng(1).normal(0, 1e3, (2, 8, 8, CHANNELS)).astype(np.float32)
    image = keras.ops.convert_to_numpy(model(features))
    assert image.min() >= 0
    assert image.max() <= 1


def test_filters():
    widths = [w.shape[-1] for w in build((2, 4), 32, [7, 5]).weights if len(w.shape) == 4]
    assert widths == [7, 7, 5, 5, 4]
    widths = [w.shape[-1] for w in build((2, 4, 8, 16, 32), 64).weights if len(w.shape) == 4]
    assert widths[::2] == [256, 128, 64, 32, 16, 4]


@pytest.mark.parametrize(
    ("strides", "filters", "message"),
    [
        ((2, 3), None, r"must be multiples of each other; got \(2, 3\)"),
        ((2, 4), [8], "each of the 2 stages"),
        ((2, 4, 8, 16, 32, 64), None, "each of the 6 stages"),
    ],
)
def test_what_cannot_be_decoded(strides, filters, message):
    with pytest.raises(ValueError, match=message):
        decoder((4, 4, 8), 1, strides, filters)


@pytest.mark.parametrize(
    ("shape", "filters"),
    [
        ((45, 45), [4, 8]),
        ((33, 33), [4, 8, 8]),
        ((34, 34), [4] * 5),
        ((48, 48), [4] * 5),  # the last strides are 16 and 24
        ((64, 48), [4] * 5),
    ],
)
def test_image_sizes_that_the_stages_do_not_divide(shape, filters):
    net = GalaxyNetwork(NetworkConfig((*shape, 1), {}, "simple", {"filters": filters}, decoder={}))
    stride = 2 ** len(filters)
    with pytest.raises(
        ValueError, match=rf"multiples of {stride}, the last .* these have {shape[0]} x"
    ):
        _ = net.decoder
