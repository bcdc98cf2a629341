"""Losses by name: those of Keras, and what Keras lacks."""

import math

import keras
import numpy as np
from keras import ops

__all__ = ["get_loss"]


def get_loss(name):
    """The loss of that name.

    Parameters
    ----------
    name : str
        "ranked_probability", "ordinal", "mixture_density", "mean_absolute_error",
        "mean_squared_error", "structural" or "value", or one of Keras.

    Returns
    -------
    keras.losses.Loss or callable

    Raises
    ------
    ValueError
        If there is no such loss.
    """
    own = {
        "ranked_probability": ranked_probability,
        "ordinal": ordinal,
        "mixture_density": mixture_density,
        "mean_absolute_error": mean_absolute_error,
        "mean_squared_error": mean_squared_error,
        "structural": structural,
        "value": value,
    }
    if name in own:
        return own[name]
    try:
        return keras.losses.get(name)
    except ValueError as error:
        raise ValueError(
            f"unknown loss {name!r}: give one of {', '.join(own)} or the name of a Keras loss"
        ) from error


def ranked_probability(true, predicted):
    """Ranked probability score of ordered classes (Epstein 1969), the discrete CRPS.

    Squared differences of the cumulative probabilities, summed over the classes: a class far from
    the true one costs more than its neighbour, and no other forecast than the true one does better
    on average.

    Parameters
    ----------
    true, predicted : tensor
        Probabilities (n, class).

    Returns
    -------
    tensor
        (n,), in classes.
    """
    difference = ops.cumsum(predicted - true, axis=-1)
    return ops.sum(ops.square(difference), axis=-1)


def ordinal(true, predicted):
    """Cross-entropy plus the `ranked_probability` score: sharp, and aware of the order.

    Parameters
    ----------
    true, predicted : tensor
        Probabilities (n, class).

    Returns
    -------
    tensor
        (n,).
    """
    entropy = keras.losses.categorical_crossentropy(true, predicted)
    return entropy + ranked_probability(true, predicted)


def mixture_density(true, predicted):
    """Negative logarithm of a mixture of Gaussians (Bishop 1994), in nats.

    Parameters
    ----------
    true : tensor
        Values (n, 1).
    predicted : tensor
        (n, 3 K): logits of the weights, means, logarithms of the widths.

    Returns
    -------
    tensor
        (n,).
    """
    logits, means, log_widths = ops.split(predicted, 3, axis=-1)
    # Without a floor one image that is met exactly would carry the whole loss.
    log_widths = ops.maximum(log_widths, math.log(1e-3))
    each = (
        ops.log_softmax(logits, axis=-1)
        - 0.5 * ops.square((true - means) / ops.exp(log_widths))
        - log_widths
        - 0.5 * math.log(2 * math.pi)
    )
    return -ops.logsumexp(each, axis=-1)


def mean_absolute_error(true, predicted):
    """Mean absolute difference of each image; that of Keras keeps the pixels apart.

    Parameters
    ----------
    true, predicted : tensor
        (n, ...).

    Returns
    -------
    tensor
        (n,).
    """
    return _mean_of_each(ops.abs(true - predicted))


def mean_squared_error(true, predicted):
    """Mean squared difference of each image; that of Keras keeps the pixels apart.

    Parameters
    ----------
    true, predicted : tensor
        (n, ...).

    Returns
    -------
    tensor
        (n,).
    """
    return _mean_of_each(ops.square(true - predicted))


def structural(true, predicted):
    """What two images lack in likeness: of structural similarity, and a little of each pixel.

    0.84 (1 - SSIM) + 0.16 mean |difference| (Zhao et al. 2017), with the windows of Wang et al.
    (2004), Gaussians of 1.5 pixels around each pixel of the image mirrored at its border, and a
    data range of 1. Where an image is dark there is little to be like: a pixel counts by the mean
    light of its window plus that of the image.

    Parameters
    ----------
    true, predicted : tensor
        Images (n, y, x, channel) in [0, 1].

    Returns
    -------
    tensor
        (n,).
    """
    channels = true.shape[-1]
    squares = [ops.square(true), ops.square(predicted), true * predicted]
    maps = ops.concatenate([true, predicted, *squares], axis=-1)
    edge = (len(_WINDOW) // 2,) * 2
    maps = ops.pad(maps, ((0, 0), edge, edge, (0, 0)), mode="symmetric")
    for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
        kernel = ops.convert_to_tensor(_WINDOW.reshape(shape), dtype=maps.dtype)
        maps = ops.depthwise_conv(maps, ops.repeat(kernel, 5 * channels, axis=2))
    mean, other, square, other_square, product = ops.split(maps, 5, axis=-1)
    variances = square - mean**2 + other_square - other**2
    likeness = (
        (2 * mean * other + _C1)
        * (2 * (product - mean * other) + _C2)
        / ((mean**2 + other**2 + _C1) * (variances + _C2))
    )
    weight = mean + ops.mean(mean, axis=(1, 2, 3), keepdims=True) + _C1
    lacking = 0.84 * (1 - likeness) + 0.16 * ops.abs(true - predicted)
    return ops.sum(weight * lacking, axis=(1, 2, 3)) / ops.sum(weight, axis=(1, 2, 3))


_WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
_WINDOW /= _WINDOW.sum()
_C1, _C2 = 0.01**2, 0.03**2


def value(true, predicted):
    """What the network computed as its own loss; there is no target.

    Parameters
    ----------
    true : tensor
        Not used.
    predicted : tensor
        (n, 1).

    Returns
    -------
    tensor
        (n,).
    """
    return ops.squeeze(predicted, axis=-1)


def _mean_of_each(values):
    return ops.mean(values, axis=tuple(range(1, len(values.shape))))
