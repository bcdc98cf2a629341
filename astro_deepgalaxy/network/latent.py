"""The variational autoencoder that compresses the last feature map into a short latent z."""

import keras
from keras import layers, ops

__all__ = ["FeatureError", "KLDivergence", "Sample", "latent_decoder", "latent_encoder"]


def latent_encoder(feature_shape, size=32, hidden=256, grid=(4, 4)):
    """From a feature map to the mean and the logarithm of the variance of z.

    The map is brought to a declared grid first, so that images of any size share the weights. It
    is flattened, not averaged: where things are matters (Cai et al. 2020).

    Parameters
    ----------
    feature_shape : tuple of int
        Shape of the feature map, (y, x, channel).
    size : int
        Length of z.
    hidden : int
        Width of the two dense layers between.
    grid : tuple of int
        Pixels (y, x) to which the map is brought.

    Returns
    -------
    keras.Model
        From feature maps to ``{"z", "z_log_variance"}``, each (n, size).
    """
    feature_map = keras.Input(feature_shape, name="feature_map")
    x = layers.Flatten(name="flatten")(to_grid(feature_map, grid))
    x = layers.Dense(hidden, activation="tanh", name="hidden1")(x)
    x = layers.Dense(hidden, name="hidden2")(x)
    outputs = {
        "z": layers.Dense(size, dtype="float32", name="z")(x),
        "z_log_variance": layers.Dense(size, dtype="float32", name="z_log_variance")(x),
    }
    return keras.Model(feature_map, outputs, name="latent_encoder")


def latent_decoder(feature_shape, size=32, hidden=256, grid=(4, 4)):
    """From z back to a feature map, the mirror of `latent_encoder`.

    Parameters
    ----------
    feature_shape, size, hidden, grid
        As there.

    Returns
    -------
    keras.Model
        From (n, size) to feature maps.
    """
    z = keras.Input((size,), name="z")
    ny, nx, channels = feature_shape
    x = layers.Dense(hidden, name="hidden1")(z)
    x = layers.Dense(hidden, activation="tanh", name="hidden2")(x)
    x = layers.Dense(grid[0] * grid[1] * channels, name="flat")(x)
    x = layers.Reshape((*grid, channels), name="grid")(x)
    return keras.Model(z, to_grid(x, (ny, nx)), name="latent_decoder")


def to_grid(feature_map, grid):
    """Bring a feature map to a number of pixels: means of whole blocks, or interpolation."""
    size, grid = tuple(feature_map.shape[1:3]), tuple(grid)
    if size == grid:
        return feature_map
    if all(n % m == 0 for n, m in zip(size, grid, strict=True)):
        blocks = tuple(n // m for n, m in zip(size, grid, strict=True))
        return layers.AveragePooling2D(blocks)(feature_map)
    if all(m % n == 0 for n, m in zip(size, grid, strict=True)):
        blocks = tuple(m // n for n, m in zip(size, grid, strict=True))
        return layers.UpSampling2D(blocks, interpolation="bilinear")(feature_map)
    return layers.Resizing(*grid, antialias=any(n > m for n, m in zip(size, grid, strict=True)))(
        feature_map
    )


class Sample(layers.Layer):
    """A draw of z from its Gaussian in training, and its mean otherwise.

    The draw is mean + sigma x standard normal, so that gradients pass (Kingma & Welling 2014).
    """

    def __init__(self, seed=None, **options):
        super().__init__(**options)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, mean, log_variance, training=False):
        """Draw z; both arguments are (n, L)."""
        if not training:
            return mean
        draw = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * draw

    def compute_output_shape(self, mean_shape, log_variance_shape):
        """The shape of the mean."""
        return mean_shape


class KLDivergence(layers.Layer):
    """Kullback-Leibler divergence of the posterior of z from a unit Gaussian in nats, (n, 1)."""

    def call(self, mean, log_variance):
        """Sum over the entries of z (Kingma & Welling 2014, appendix B)."""
        each = 0.5 * (ops.exp(log_variance) + mean**2 - 1 - log_variance)
        return ops.sum(each, axis=-1, keepdims=True)

    def compute_output_shape(self, mean_shape, log_variance_shape):
        """One number for each image."""
        return (mean_shape[0], 1)


class FeatureError(layers.Layer):
    """How much of a feature map is lost on the way through z, (n, 1).

    Mean squared difference over the variance of the map's entries in their channel and batch,
    averaged over the channels: 1 is as good as giving each channel's mean, whatever the scale of
    the features. The map itself is the target: no gradient passes through it, or the encoder
    would make it easy rather than useful.
    """

    def call(self, feature_map, through_latent):
        """Compare (n, y, x, channel) with its image through z."""
        target = ops.stop_gradient(feature_map)
        # Over the pixels too: the last batch of an epoch may be a single image. The second term
        # counts when that has a single pixel.
        scale = ops.mean(ops.var(target, axis=(0, 1, 2))) + 0.01 * ops.mean(ops.square(target))
        error = ops.mean(ops.square(target - through_latent), axis=(1, 2, 3))
        return ops.expand_dims(error / (scale + 1e-6), -1)

    def compute_output_shape(self, feature_map_shape, through_latent_shape):
        """One number for each image."""
        return (feature_map_shape[0], 1)
