"""Which parts of a feature map carry an answer (Selvaraju et al. 2017)."""

import keras
import numpy as np

from .answers import measured
from .placement import feature_placement

__all__ = ["GradCAM"]


class GradCAM:
    """Gradient-weighted class activation maps.

    The channels of a feature map A are added up, each with the mean over the map of the gradient
    of the answer with respect to it. Behind an average pooling, as in most networks here, that is
    what each cell adds to the answer to first order: the maps have its unit.

    Parameters
    ----------
    network : GalaxyNetwork
        Network with its weights.
    stage : str, optional
        The feature map; the last one, which the classifier sees, by default.

    Raises
    ------
    ValueError
        If the encoder has no such stage, or it is a single cell.
    """

    def __init__(self, network, stage=None):
        stages = network.encoder.output
        feature_map = network.feature_map if stage is None else stages.get(stage)
        if feature_map is None:
            raise ValueError(
                f"the backbone {network.config.backbone!r} has no {stage!r}; its feature maps are "
                f"{', '.join(stages)}"
            )
        self.stage = next(name for name, tensor in stages.items() if tensor is feature_map)
        if tuple(feature_map.shape[1:3]) == (1, 1):
            raise ValueError(
                f"the feature map {self.stage!r} of so small an image is a single cell, which "
                f"shows no place; give an earlier stage of {', '.join(stages)}, or use occlusion"
            )
        self._placement = feature_placement(network.encoder, feature_map)
        self._model = keras.Model(
            network.encoder.input, [feature_map, network.classifier(network.feature_map)]
        )

    @property
    def settings(self):
        """The settings as cards of a FITS header: {keyword: (value, meaning)}."""
        return {"STAGE": (self.stage, "feature map of the encoder")}

    def __call__(self, images, answers):
        """Maps for images.

        Parameters
        ----------
        images : numpy.ndarray
            Images (n, y, x, channel), float32.
        answers : sequence of Answer
            What is explained of each; all of the same output and measure.

        Returns
        -------
        numpy.ndarray
            Maps (n, y, x), float32. Where less and more are not both of interest only what is in
            favour is kept, and the rest is zero.
        """
        import tensorflow as tf

        first = answers[0]
        weights = tf.constant(np.stack([answer.weights for answer in answers]))
        pixels = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(pixels)  # or a frozen encoder would leave no trace
            features, outputs = self._model(pixels, training=False)
            # Each answer depends on its own image only: the gradient of the sum has them all.
            total = tf.reduce_sum(measured(outputs[first.output], first.measure, weights))
        gradient = tape.gradient(total, features)
        cells = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True) * features
        cells = tf.reduce_sum(cells, axis=-1).numpy()
        if not first.signed:
            cells = np.maximum(cells, 0)
        return np.stack([self._placement.onto_image(cell, images.shape[1:3]) for cell in cells])
