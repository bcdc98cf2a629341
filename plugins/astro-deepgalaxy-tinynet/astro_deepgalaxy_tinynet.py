"""A tiny backbone for astro_deepgalaxy."""

from astro_deepgalaxy import hookimpl
from astro_deepgalaxy.specs import BackboneSpec


@hookimpl
def register_backbones():
    """Describe what this plugin offers; nothing heavy is imported for that."""
    return [
        BackboneSpec(
            name="tinynet",
            factory="astro_deepgalaxy_tinynet:tinynet",
            summary="Four separable convolutions",
            min_size=16,
        )
    ]


def tinynet(input_shape, width=8):
    """Separable convolutions, each at half the resolution and with twice the channels.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of an image, (y, x, channel).
    width : int
        Channels of the first stage.

    Returns
    -------
    keras.Model
        From images in [0, 1] to ``{"stage1": ..., "stage4": ...}`` at strides 2, 4, 8 and 16.
    """
    import keras
    from keras import layers

    image = keras.Input(input_shape)
    x, stages = image, {}
    for i in range(1, 5):
        x = layers.SeparableConv2D(width * 2 ** (i - 1), 3, strides=2, padding="same")(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
        stages[f"stage{i}"] = x
    return keras.Model(image, stages, name="tinynet")
