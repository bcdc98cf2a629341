"""D: from the last feature map back to the image."""

from itertools import pairwise

import keras
from keras import layers

__all__ = ["FILTERS", "decoder"]

FILTERS = (256, 128, 64, 32, 16)


def decoder(feature_shape, channels, strides, filters=None, batch_norm_momentum=0.9):
    """Mirror of an encoder: the way from its last feature map to pixels, in its own steps.

    Each step enlarges the map to that of the stage before it, followed by two 3x3 convolutions
    with batch normalisation. Nothing but the last feature map comes in: connections from the
    earlier stages would let pixels pass by the latent space (Cai et al. 2020, their FCAE).

    Parameters
    ----------
    feature_shape : tuple of int
        Shape of the last feature map, (y, x, channel).
    channels : int
        Channels of the images.
    strides : sequence of int
        Strides of the encoder's stages, finest first.
    filters : sequence of int, optional
        Channels after each step, coarsest first; the last ones of `FILTERS` if not given, as
        many as there are steps.
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
            f"decoder: give one number of filters for each of the {len(steps)} steps back from "
            f"the strides {tuple(strides)}; got {filters}"
        )
    feature_map = keras.Input(feature_shape, name="feature_map")
    x = feature_map
    for i, (step, n) in enumerate(zip(steps, filters, strict=True), start=1):
        # Nearest pixels and two convolutions: no checkerboard (Odena et al. 2016).
        x = layers.UpSampling2D(step, name=f"step{i}_up")(x)
        for j in range(2):
            name = f"step{i}_{j}"
            x = layers.Conv2D(n, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
            x = layers.BatchNormalization(momentum=batch_norm_momentum, name=f"{name}_bn")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
    image = layers.Conv2D(
        channels, 3, padding="same", activation="sigmoid", dtype="float32", name="image"
    )(x)
    return keras.Model(feature_map, image, name="decoder")


def _steps(strides):
    """Factors by which the maps grow on the way back, coarsest first."""
    whole = (1, *strides)
    if any(coarse % fine for fine, coarse in pairwise(whole)):
        raise ValueError(
            f"decoder: the strides of the encoder must be multiples of each other; got {strides}"
        )
    return [coarse // fine for fine, coarse in pairwise(whole)][::-1]
