"""A small network of plain convolutions."""

import keras
from keras import layers

__all__ = ["simple"]


def simple(input_shape, filters=(24, 48, 96, 128, 160), convolutions=1, batch_norm_momentum=0.9):
    """Stages of 3x3 convolutions with batch normalisation, each at half the resolution.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of an image, (y, x, channel).
    filters : sequence of int
        Channels of each stage.
    convolutions : int or sequence of int
        Convolutions in every stage, or in each; the first one has a stride of two.
    batch_norm_momentum : float
        Momentum of the moving averages.

    Returns
    -------
    keras.Model
        From images in [0, 1] to ``{"stage1": ..., "stageN": ...}`` at strides 2, 4, ..., 2^N.

    Raises
    ------
    ValueError
        If there is not one number of convolutions, of at least one, for each stage.
    """
    if isinstance(convolutions, int):
        convolutions = [convolutions] * len(filters)
    if len(convolutions) != len(filters) or min(convolutions) < 1:
        raise ValueError(
            f"backbone 'simple': give one number of convolutions, of at least 1, for each of the "
            f"{len(filters)} stages; got {convolutions}"
        )
    image = keras.Input(input_shape, name="image")
    x, stages = image, {}
    for i, (channels, n) in enumerate(zip(filters, convolutions, strict=True), start=1):
        for j in range(n):
            name = f"stage{i}_{j}"
            x = layers.Conv2D(
                channels,
                3,
                strides=2 if j == 0 else 1,
                padding="same",
                use_bias=False,
                name=f"{name}_conv",
            )(x)
            x = layers.BatchNormalization(momentum=batch_norm_momentum, name=f"{name}_bn")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        stages[f"stage{i}"] = x
    return keras.Model(image, stages, name="simple")
