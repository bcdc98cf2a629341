"""One step of training: what a worker computes, and the one exchange with the others."""

from itertools import pairwise
from operator import itemgetter

import keras
import tensorflow as tf

from astro_deepgalaxy.network.losses import get_loss
from astro_deepgalaxy.store import target_from_dict

__all__ = ["TrainingStep", "WeightedLosses", "averaged_statistics"]


class WeightedLosses:
    """Sums of the losses of a job's outputs over a batch.

    Parameters
    ----------
    job : TrainingJob
        What to train.
    """

    def __init__(self, job):
        self.names = list(job.targets)
        self.functions = [
            get_loss(job.losses.get(name) or target_from_dict(data).loss)
            for name, data in job.targets.items()
        ]

    def __call__(self, values, predicted, weights):
        """Weighted sum of each output's loss.

        Parameters
        ----------
        values, predicted, weights : dict of str to tensor
            Targets, outputs of the network, and how much each image counts.

        Returns
        -------
        tensor
            (output,).
        """
        return tf.stack(
            [
                tf.reduce_sum(
                    tf.cast(function(values[name], predicted[name]), tf.float32) * weights[name]
                )
                for name, function in zip(self.names, self.functions, strict=True)
            ]
        )


class TrainingStep:
    """Compute the gradients of a worker's images, add those of all workers, and apply them.

    All that the workers tell each other travels in one grouped allreduce: the gradients, by how
    much the batch-norm statistics have moved, and a few numbers (the losses and whether to stop).
    So every worker has the same weights and statistics after each step, and knows the losses of
    all images.

    Keras's optimizers are used as they are. `horovod.tensorflow.keras.DistributedOptimizer`
    overrides a method that Keras 3 no longer calls, and would leave each worker on its own.

    Parameters
    ----------
    model : keras.Model
        From images to a dict of outputs.
    optimizer : keras.optimizers.Optimizer
        Built for the trainable variables of the model.
    losses : WeightedLosses
        What is minimised.
    add : callable
        ``add(tensors)`` returns their sums over all workers.
    element : tuple
        What the batches are like: `~tf.TensorSpec` of images, targets and weights.
    parts : int
        Parts in which a batch is gone through.
    timed : bool
        Whether to time the exchange, which TensorFlow's deterministic mode does not allow.
    """

    def __init__(self, model, optimizer, losses, add, element, parts=1, timed=True):
        self.model, self.optimizer, self.losses, self.add = model, optimizer, losses, add
        self.parts, self.timed = parts, timed
        self.variables = model.trainable_variables
        self.statistics = averaged_statistics(model)
        number = tf.TensorSpec((), tf.float32)
        scale = tf.TensorSpec((len(losses.names), 2), tf.float32)
        # Given the shapes, nothing is compiled again when the last batch is smaller.
        self._whole = tf.function(self._step, [*element, scale, number, number])
        self._gradients = tf.function(self._local, [*element, scale, number])
        self._finish = tf.function(self._exchange)

    def __call__(self, images, values, weights, scale, share, stop):
        """Take a step.

        Parameters
        ----------
        images : tensor
            Images of this worker.
        values, weights : dict of str to tensor
            Their targets and how much they count.
        scale : array_like
            What each output's sum of losses is multiplied by, and with it the weight of the loss:
            (output, 2).
        share : float
            Share of this worker in the images of all; 0 when it has none of its own.
        stop : float
            1 to ask all workers to stop after this step.

        Returns
        -------
        report : tensor
            Over all workers: the mean loss of each output, their weighted sum, and how many ask
            to stop.
        seconds : tensor
            Time that the exchange took, waiting for others included.
        """
        scale = tf.constant(scale, tf.float32)
        share, stop = tf.constant(share, tf.float32), tf.constant(stop, tf.float32)
        if self.parts == 1:
            return self._whole(images, values, weights, scale, share, stop)
        before = [tf.identity(v.value) for v in self.statistics]
        found = None
        n = int(images.shape[0])
        bounds = [n * i // self.parts for i in range(self.parts + 1)]
        for low, high in pairwise(bounds):
            if low == high:
                continue
            part = tf.nest.map_structure(itemgetter(slice(low, high)), (images, values, weights))
            new = self._gradients(*part, scale, share * ((high - low) / n))
            found = new if found is None else tf.nest.map_structure(tf.add, found, new)
        return self._finish(found[0], before, found[1], scale, share, stop)

    def _local(self, images, values, weights, scale, share):
        counts = tf.cast(share > 0, tf.float32)
        with tf.GradientTape() as tape:
            predicted = self.model(images, training=True)
            sums = self.losses(values, predicted, weights) * counts
            loss = tf.reduce_sum(sums * scale[:, 0] * scale[:, 1])
            if self.model.losses:
                loss += tf.add_n(self.model.losses) * share
        gradients = tape.gradient(
            loss,
            [v.value for v in self.variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return gradients, sums

    def _step(self, images, values, weights, scale, share, stop):
        before = [tf.identity(v.value) for v in self.statistics]
        gradients, sums = self._local(images, values, weights, scale, share)
        return self._exchange(gradients, before, sums, scale, share, stop)

    def _exchange(self, gradients, before, sums, scale, share, stop):
        moved = [(v.value - old) * share for v, old in zip(self.statistics, before, strict=True)]
        means = sums * scale[:, 0]
        report = tf.concat([means, [tf.reduce_sum(means * scale[:, 1]), stop]], axis=0)
        everything, seconds = self._timed_add([*gradients, *moved, report])
        n = len(gradients)
        for v, old, change in zip(self.statistics, before, everything[n:-1], strict=True):
            v.assign(old + change)
        self.optimizer.apply(everything[:n], self.variables)
        return everything[-1], seconds

    def _timed_add(self, tensors):
        if not self.timed:
            return self.add(tensors), tf.constant(0.0)
        with tf.control_dependencies(tensors):
            start = tf.timestamp()
        with tf.control_dependencies([start]):
            sums = self.add([tf.identity(tensor) for tensor in tensors])
        with tf.control_dependencies(sums):
            return sums, tf.timestamp() - start


def averaged_statistics(model):
    """What a model learns of its images without gradients: the statistics of its batch norms.

    Parameters
    ----------
    model : keras.Model
        Any model.

    Returns
    -------
    list of keras.Variable
        Its floating-point variables that are not trained. A constant among them does no harm, as
        the workers add up by how much each has moved.
    """
    return [
        v
        for v in model.non_trainable_variables
        if keras.backend.is_float_dtype(v.dtype) and "seed_generator" not in v.path
    ]
