"""From a job to a compiled model."""

import keras

from ..network import GalaxyNetwork, NetworkConfig
from ..network.losses import get_loss
from ..store import target_from_dict

__all__ = ["build_network", "compile_model", "make_optimizer"]


def build_network(job):
    """The network of a job with its initial weights.

    Parameters
    ----------
    job : TrainingJob
        What to train.

    Returns
    -------
    GalaxyNetwork
        With the frozen parts marked as such.

    Raises
    ------
    ValueError
        If the initial weights are of another network, or a frozen part is unknown.
    """
    from pathlib import Path

    keras.utils.set_random_seed(job.seed)
    config = NetworkConfig.from_dict(job.network)
    network = GalaxyNetwork(config.untrained() if job.initial_weights else config)
    unknown = set(job.frozen) - set(network.parts)
    if unknown:
        raise ValueError(
            f"cannot freeze {', '.join(sorted(unknown))}: the network has the parts "
            f"{', '.join(network.parts)}"
        )
    if job.initial_weights:
        folder = Path(job.initial_weights)
        there = [part for part in network.parts if (folder / f"{part}.weights.h5").is_file()]
        if "encoder" not in there:
            raise ValueError(f"{folder}: there is no encoder.weights.h5 to start from")
        network.load_weights(folder, there)
    for part in job.frozen:
        getattr(network, part).trainable = False
    return network


def compile_model(job, network, steps):
    """The model that a job trains, compiled.

    Parameters
    ----------
    job : TrainingJob
        What to train.
    network : GalaxyNetwork
        Network of `build_network`.
    steps : int
        Batches in an epoch.

    Returns
    -------
    model : keras.Model
        From images to the outputs that have targets.
    growing : dict of str to keras.Variable
        Weights of the losses that warm up.
    """
    targets = {name: target_from_dict(data) for name, data in job.targets.items()}
    model = network.model(list(targets))
    growing = {
        name: keras.Variable(0.0, trainable=False, name=f"weight_of_{name}", dtype="float32")
        for name in job.warm_up
        if name in targets
    }
    losses = {
        name: _MeanOfLabelled(get_loss(job.losses.get(name, target.loss)), growing.get(name))
        for name, target in targets.items()
    }
    model.compile(
        optimizer=make_optimizer(job.optimizer, steps * job.epochs),
        loss=losses,
        loss_weights={
            name: 1.0 if name in growing else job.loss_weights.get(name, 1.0) for name in targets
        },
        # Compiled by XLA, networks are ten times slower on CPUs.
        jit_compile=False,
    )
    return model, growing


def make_optimizer(options, steps):
    """A Keras optimizer from plain data.

    Parameters
    ----------
    options : dict
        ``{"name", "learning_rate", "schedule", ...}``, see `TrainingJob`.
    steps : int
        Steps of the whole training, for the schedule.

    Returns
    -------
    keras.optimizers.Optimizer

    Raises
    ------
    ValueError
        If the optimizer or the schedule is unknown.
    """
    options = dict(options)
    name, schedule = options.pop("name"), options.pop("schedule", "constant")
    if schedule == "cosine":
        rate = options["learning_rate"]
        warmup = max(1, steps // 20)
        options["learning_rate"] = keras.optimizers.schedules.CosineDecay(
            rate / 10, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup, alpha=0.01
        )
    elif schedule != "constant":
        raise ValueError(f"unknown schedule {schedule!r}; known are 'cosine' and 'constant'")
    try:
        factory = type(keras.optimizers.get(name))
    except ValueError as error:
        raise ValueError(f"unknown optimizer {name!r}: give the name of a Keras one") from error
    return factory(**options)


class _MeanOfLabelled(keras.losses.Loss):
    """A loss as the mean over the images of a batch that have the label.

    Over all images of the batch, as Keras has it by default, a loss would count for less the fewer
    of them have the label.
    """

    def __init__(self, function, weight=None):
        super().__init__(reduction="mean_with_sample_weight")
        self.function, self.weight = function, weight

    def call(self, true, predicted):
        loss = self.function(true, predicted)
        return loss if self.weight is None else self.weight * loss
