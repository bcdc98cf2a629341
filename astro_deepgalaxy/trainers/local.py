"""Training in this process."""

import json
import shutil
import time
from pathlib import Path

import keras
import numpy as np
from tqdm.auto import tqdm

from ..jobs import atomic_folder
from ..network import GalaxyNetwork, NetworkConfig
from ..store import CutoutStore, target_from_dict
from ..store.augment import Augmentation
from ..store.loader import batches
from .job import TrainingResult

__all__ = ["LocalTrainer"]


class LocalTrainer:
    """Train with Keras on this machine, with a checkpoint after every epoch.

    A job that was interrupted goes on from its last checkpoint when it is given again; the
    order and the augmentation of the remaining epochs are those of the uninterrupted run.

    Parameters
    ----------
    progress : bool or None
        Show a progress bar; None shows it on a terminal only.
    """

    def __init__(self, progress=None):
        self.progress = progress

    def fit(self, job):
        """Run a job.

        Parameters
        ----------
        job : TrainingJob
            What to train.

        Returns
        -------
        TrainingResult
            The weights kept are those of the epoch with the least validation loss, or of the
            last epoch when there is no validation split.

        Raises
        ------
        ValueError
            If the checkpoint folder belongs to another job, or the loss stops being a number.
        """
        start = time.perf_counter()
        keras.utils.set_random_seed(job.seed)
        config = NetworkConfig.from_dict(job.network)
        network = GalaxyNetwork(config.untrained() if job.initial_weights else config)
        if job.initial_weights:
            network.load_weights(job.initial_weights)
        store = CutoutStore.open(job.store)
        targets = {name: target_from_dict(data) for name, data in job.targets.items()}
        steps = -(-len(job.rows["train"]) // job.batch_size)
        model = network.classify
        model.compile(
            optimizer=_optimizer(job.optimizer, steps * job.epochs),
            loss={name: job.losses.get(name, "categorical_crossentropy") for name in targets},
            loss_weights={name: job.loss_weights.get(name, 1.0) for name in targets},
            jit_compile=False,
        )
        checkpoint, rate = _Checkpoint(job, network), _Rate(len(job.rows["train"]))
        first = checkpoint.restore(model)
        if first < job.epochs:
            data = batches(
                store,
                job.rows["train"],
                targets,
                job.batch_size,
                # One epoch more than is used: Keras looks ahead, and warns at the end of the data.
                epochs=range(first, job.epochs + 1),
                shuffle=True,
                augment=Augmentation(**job.augment) if job.augment else None,
                seed=job.seed,
            )
            validation, validation_steps = None, None
            if job.rows.get("validation"):
                validation = batches(store, job.rows["validation"], targets, job.batch_size)
                validation = validation.cache().repeat()
                validation_steps = -(-len(job.rows["validation"]) // job.batch_size)
            model.fit(
                data,
                validation_data=validation,
                validation_steps=validation_steps,
                shuffle=False,  # each epoch has its own order already
                steps_per_epoch=steps,
                initial_epoch=first,
                epochs=job.epochs,
                verbose=0,
                callbacks=[
                    keras.callbacks.TerminateOnNaN(),
                    checkpoint,
                    rate,
                    _ProgressBar(self.progress, steps, first, job.epochs),
                ],
            )
            if len(checkpoint.history["loss"]) < job.epochs:
                raise ValueError(
                    f"training stopped: the loss is not a number in epoch "
                    f"{len(checkpoint.history['loss']) + 1}; lower the learning rate "
                    f"({job.optimizer['learning_rate']})"
                )
        return TrainingResult(
            weights=checkpoint.best,
            history=checkpoint.history,
            best_epoch=checkpoint.best_epoch,
            seconds=time.perf_counter() - start,
            images_per_second=rate.images_per_second,
        )


def _optimizer(options, steps):
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


class _Checkpoint(keras.callbacks.Callback):
    """The state after each epoch, and the best weights so far, as folders that appear whole."""

    def __init__(self, job, network):
        super().__init__()
        self.folder = Path(job.checkpoint)
        self.digest = job.digest
        self.network = network
        self.validated = bool(job.rows.get("validation"))
        self.history = {"loss": []}
        self.best_epoch = -1

    @property
    def best(self):
        return self.folder / "best"

    def restore(self, model):
        """Take up the last checkpoint; returns the number of the epoch to go on with."""
        last = self.folder / "last"
        if not last.exists():
            return 0
        state = json.loads((last / "state.json").read_text(encoding="utf-8"))
        if state["job"] != self.digest:
            raise ValueError(
                f"{self.folder}: holds the checkpoint of another training job; "
                "remove it or choose another folder"
            )
        self.history, self.best_epoch = state["history"], state["best_epoch"]
        model.optimizer.build(model.trainable_variables)
        model.load_weights(last / "state.weights.h5")
        for variable, value in zip(_seed_states(model), state["seed_states"], strict=True):
            variable.assign(np.array(value, dtype=variable.dtype))
        return len(self.history["loss"])

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite(logs["loss"]):
            return
        for name in ("loss", "val_loss"):
            if name in logs:
                self.history.setdefault(name, []).append(float(logs[name]))
        watched = self.history["val_loss" if self.validated else "loss"]
        if not self.validated or self.best_epoch < 0 or watched[-1] < min(watched[:-1]):
            self.best_epoch = epoch
            with atomic_folder(self.best) as partial:
                self.network.save_weights(partial)
        with atomic_folder(self.folder / "last") as partial:
            self.model.save_weights(partial / "state.weights.h5")
            state = {
                "job": self.digest,
                "history": self.history,
                "best_epoch": self.best_epoch,
                "seed_states": [v.numpy().tolist() for v in _seed_states(self.model)],
            }
            (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")

    def on_train_begin(self, logs=None):
        for left in self.folder.glob(".partial-*"):
            shutil.rmtree(left, ignore_errors=True)


class _Rate(keras.callbacks.Callback):
    """Training images a second, after the first epoch."""

    def __init__(self, images):
        super().__init__()
        self.images = images
        self.seconds = []
        self.tested = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.start, self.tested = time.perf_counter(), 0.0

    def on_test_begin(self, logs=None):
        self.test_start = time.perf_counter()

    def on_test_end(self, logs=None):
        self.tested = time.perf_counter() - self.test_start

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.start - self.tested)

    @property
    def images_per_second(self):
        later = self.seconds[1:]
        return self.images / float(np.median(later)) if later else np.nan


def _seed_states(model):
    """Where the dropout layers are in their random numbers; Keras' weight files leave it out."""
    return [v for v in model.variables if "seed_generator" in v.path]


class _ProgressBar(keras.callbacks.Callback):
    """One bar over all epochs, with the losses beside it."""

    def __init__(self, progress, steps, first, epochs):
        super().__init__()
        disable = None if progress is None else not progress
        self.bar = tqdm(
            total=steps * epochs, initial=steps * first, desc="train", unit="batch", disable=disable
        )

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        shown = {name: f"{logs[name]:.3f}" for name in ("loss", "val_loss") if name in logs}
        self.bar.set_postfix(epoch=epoch + 1, **shown)

    def on_train_end(self, logs=None):
        self.bar.close()
