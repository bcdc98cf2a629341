"""Prediction with Keras on TensorFlow."""

import numpy as np

__all__ = ["KerasEngine"]


class KerasEngine:
    """Run the trained network as it is.

    Parameters
    ----------
    network : GalaxyNetwork
        Network with its weights.
    outputs : sequence of str, optional
        Outputs that `~astro_deepgalaxy.network.GalaxyNetwork.model` knows; those of the
        classifier by default.
    """

    def __init__(self, network, outputs=None):
        import tensorflow as tf

        # A traced function has none of the set-up that `model.predict` repeats at every call.
        model = network.model(outputs or list(network.config.outputs))
        signature = tf.TensorSpec((None, *network.config.input_shape), tf.float32)
        self._call = tf.function(lambda x: model(x, training=False), input_signature=[signature])

    def predict(self, batch):
        """Outputs for a batch of images.

        Parameters
        ----------
        batch : numpy.ndarray
            Images (n, y, x, channel), float32 in [0, 1].

        Returns
        -------
        dict of str to numpy.ndarray
            Each output, (n, ...).
        """
        outputs = self._call(np.ascontiguousarray(batch, dtype=np.float32))
        return {name: values.numpy() for name, values in outputs.items()}
