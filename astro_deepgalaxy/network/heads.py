"""What turns the last feature map into answers."""

import keras

__all__ = ["classifier"]


def classifier(feature_shape, outputs, activations=None, pooling="average", dropout=0.0):
    """Fully connected outputs on the last feature map.

    Parameters
    ----------
    feature_shape : tuple of int
        Shape of the last feature map, (y, x, channel).
    outputs : dict of str to int
        Number of values of each output.
    activations : dict of str to str, optional
        Activation of each output: "softmax" (class probabilities, also where not named),
        "sigmoid" (a probability) or "linear" (parameters of a density).
    pooling : {"average", "flatten"}
        How the map becomes a vector: its mean over the pixels, which works at any image size,
        or all of it, as in Cai et al. (2020).
    dropout : float
        Share of the vector's entries dropped in training.

    Returns
    -------
    keras.Model
        From a feature map to a dict of outputs.

    Raises
    ------
    ValueError
        If the pooling is unknown.
    """
    layers = {
        "average": keras.layers.GlobalAveragePooling2D,
        "flatten": keras.layers.Flatten,
    }
    if pooling not in layers:
        raise ValueError(f"unknown pooling {pooling!r}; known are {', '.join(layers)}")
    activations = activations or {}
    feature_map = keras.Input(feature_shape, name="feature_map")
    vector = layers[pooling](name="pooling")(feature_map)
    if dropout:
        vector = keras.layers.Dropout(dropout, name="dropout")(vector)
    answers = {
        name: keras.layers.Dense(
            n, activation=activations.get(name, "softmax"), dtype="float32", name=name
        )(vector)
        for name, n in outputs.items()
    }
    return keras.Model(feature_map, answers, name="classifier")
