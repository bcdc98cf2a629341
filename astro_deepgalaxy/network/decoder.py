"""D: from the last feature map back to the image."""

from itertools import pairwise

import keras
from keras import layers, ops

__all__ = ["FILTERS", "SubPixels", "decoder"]

FILTERS = (256, 128, 64, 32, 16)


def decoder(feature_shape, channels, strides, filters=None, batch_norm_momentum=0.9):
    """Mirror of an encoder: the way from its last feature map to pixels, through its stages.

    At the size of each stage there are two 3x3 convolutions with batch normalisation, and between
    the stages the map is enlarged. Of the finest map a last convolution gives each pixel that
    lies within one of the map's own (`SubPixels`): convolutions of many channels at the full
    size would take most of the time. Nothing but the last feature map comes in: connections from
    the earlier stages would let pixels pass by the latent space (Cai et al. 2020, their FCAE).

    Parameters
    ----------
    feature_shape : tuple of int
        Shape of the last feature map, (y, x, channel).
    channels : int
        Channels of the images.
    strides : sequence of int
        Strides of the encoder's stages, finest first.
    filters : sequence of int, optional
        Channels at the size of each stage, coarsest first; the last ones of `FILTERS` if not
        given, as many as there are stages.
    batch_norm_momentum : float
        Momentum of the moving averages.

    Returns
    -------
    keras.Model
        From a feature map to images (n, y, x, channel) in [0, 1]; fully convolutional.

    Raises
    ------
    ValueError
        If the strides are not multiples of each other, or `filters` has another length.
    """
    steps = _steps(strides)
    if filters is None:
        filters = FILTERS[-len(steps) :] if len(steps) <= len(FILTERS) else None
    if filters is None or len(filters) != len(steps):
        raise ValueError(
            f"decoder: give one number of filters for each of the {len(steps)} stages with the "
            f"strides {tuple(strides)}; got {filters}"
        )
    feature_map = keras.Input(feature_shape, name="feature_map")
    x = feature_map
    *between, within = steps
    for i, (step, n) in enumerate(zip((1, *between), filters, strict=True), start=1):
        if step > 1:
            # Nearest pixels and two convolutions: no checkerboard (Odena et al. 2016).
            x = layers.UpSampling2D(step, name=f"stage{i}_up")(x)
        for j in range(2):
            name = f"stage{i}_{j}"
            x = layers.Conv2D(n, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
            x = layers.BatchNormalization(momentum=batch_norm_momentum, name=f"{name}_bn")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
    image = layers.Conv2D(
        channels * within**2,
        3,
        padding="same",
        activation="sigmoid",
        kernel_initializer=_AlikeInEachPixel(channels),
        dtype="float32",
        name="image",
    )(x)
    return keras.Model(feature_map, SubPixels(within, name="pixels")(image), name="decoder")


class SubPixels(layers.Layer):
    """Take channels apart into the pixels within a pixel (Shi et al. 2016).

    Parameters
    ----------
    factor : int
        Pixels along a side of one; (n, y, x, factor^2 C) becomes (n, factor y, factor x, C).
    """

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        """Take (n, y, x, channel) apart."""
        _, ny, nx, channels = self.compute_output_shape(x.shape)
        within = ops.reshape(x, (-1, *x.shape[1:3], self.factor, self.factor, channels))
        return ops.reshape(ops.transpose(within, (0, 1, 3, 2, 4, 5)), (-1, ny, nx, channels))

    def compute_output_shape(self, shape):
        """The larger shape."""
        n, ny, nx, channels = shape
        return (n, ny * self.factor, nx * self.factor, channels // self.factor**2)


class _AlikeInEachPixel(keras.initializers.Initializer):
    """The same kernel for each pixel within a pixel, drawn after Glorot & Bengio (2010).

    Training then starts without a checkerboard, and hardly makes one (Aitken et al. 2017).
    """

    def __init__(self, channels):
        self.channels = channels

    def __call__(self, shape, dtype=None):
        """Draw kernels (y, x, channel in, channel out)."""
        one = keras.initializers.GlorotUniform()((*shape[:3], self.channels), dtype=dtype)
        return ops.tile(one, (1, 1, 1, shape[3] // self.channels))


def _steps(strides):
    """Factors by which the maps grow on the way back, coarsest first."""
    whole = (1, *strides)
    if any(coarse % fine for fine, coarse in pairwise(whole)):
        raise ValueError(
            f"decoder: the strides of the encoder must be multiples of each other; got {strides}"
        )
    return [coarse // fine for fine, coarse in pairwise(whole)][::-1]
