"""What happens beside the steps of a training: checkpoints, rates, progress, and its end."""

import json
import time
from pathlib import Path

import keras
import numpy as np
from tqdm.auto import tqdm

from ..jobs import atomic_folder, atomic_path, sweep_partial

__all__ = ["Checkpoint", "ProgressBar", "Rate", "StopOnNaN", "WarmUp"]


class Checkpoint(keras.callbacks.Callback):
    """The state after each epoch, and the best weights so far, as folders that appear whole.

    Parameters
    ----------
    job : TrainingJob
        The job; its checkpoint folder is written to.
    network : GalaxyNetwork
        The network that is trained.
    data : str
        Hash of what the job is given to learn from.
    """

    def __init__(self, job, network, data):
        super().__init__()
        self.folder = Path(job.checkpoint)
        self.digest, self.data = job.digest, data
        self.network = network
        self.validated = bool(job.rows.get("validation"))
        self.history = {"loss": []}
        self.best_epoch = -1

    @property
    def best(self):
        """Folder of the weights that are kept."""
        return self.folder / "best"

    def restore(self, model):
        """Take up the last checkpoint.

        Parameters
        ----------
        model : keras.Model
            The compiled model.

        Returns
        -------
        int
            Number of the epoch to go on with.

        Raises
        ------
        ValueError
            If the folder belongs to another job or trainer, or one on other labels or initial
            weights.
        """
        if self.folder.exists():
            sweep_partial(self.folder)
        last = self.folder / "last"
        if not last.exists():
            if any(self.folder.glob("state-*")):
                raise ValueError(
                    f"{self.folder}: holds a checkpoint of another trainer; remove it or choose "
                    "another folder"
                )
            return 0
        state = json.loads((last / "state.json").read_text(encoding="utf-8"))
        if (state["job"], state.get("data", self.data)) != (self.digest, self.data):
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
        """Write what the epoch has led to."""
        if not np.isfinite([logs["loss"], logs.get("val_loss", 0.0)]).all():
            return
        for name in logs:
            if name.endswith("loss"):
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
                "data": self.data,
                "history": self.history,
                "best_epoch": self.best_epoch,
                "seed_states": [v.numpy().tolist() for v in _seed_states(self.model)],
            }
            (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")


class Rate(keras.callbacks.Callback):
    """Training images a second, after the first epoch.

    Parameters
    ----------
    images : int
        Images in an epoch.
    """

    def __init__(self, images):
        super().__init__()
        self.images = images
        self.seconds = []
        self.tested = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self.start, self.tested = time.perf_counter(), 0.0

    def on_test_begin(self, logs=None):
        """Leave the validation out."""
        self.test_start = time.perf_counter()

    def on_test_end(self, logs=None):
        """Leave the validation out."""
        self.tested = time.perf_counter() - self.test_start

    def on_epoch_end(self, epoch, logs=None):
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self.start - self.tested)

    @property
    def images_per_second(self):
        """Median over the epochs but the first, NaN without another."""
        later = self.seconds[1:]
        return self.images / float(np.median(later)) if later else np.nan


class WarmUp(keras.callbacks.Callback):
    """Weights of losses that grow from zero, step by step: the beta of a beta-VAE.

    Parameters
    ----------
    weights : dict of str to keras.Variable
        The weight of each output's loss, read by the losses.
    final : dict of str to float
        What it grows to; 1 where not named.
    epochs : dict of str to float
        Over how many epochs.
    steps : int
        Batches in an epoch.
    """

    def __init__(self, weights, final, epochs, steps):
        super().__init__()
        self.weights, self.final, self.epochs, self.steps = weights, final, epochs, steps
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        """Remember the epoch."""
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        """Set the weights of this step."""
        done = self.epoch + batch / self.steps
        for name, weight in self.weights.items():
            weight.assign(self.final.get(name, 1.0) * min(1.0, done / self.epochs[name]))

    def on_test_begin(self, logs=None):
        """Validate with the final weights, or the losses of two epochs could not be compared."""
        for name, weight in self.weights.items():
            weight.assign(self.final.get(name, 1.0))


class StopOnNaN(keras.callbacks.Callback):
    """Stop at the first batch whose loss is not a number, and write down which images it had.

    Parameters
    ----------
    path : `~pathlib.Path`
        JSON file to write: the split, the epoch, the batch, and the ids of its images.
    ids_of : callable
        ``ids_of(split, epoch, batch)`` returns the ids of the images in a batch of "train" or
        "validation".
    """

    def __init__(self, path, ids_of):
        super().__init__()
        self.path, self.ids_of = path, ids_of
        self.epoch, self.found = 0, None

    def on_epoch_begin(self, epoch, logs=None):
        """Remember the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Look at the loss, which is a mean over the epoch so far and stays NaN once it is."""
        self._look("train", batch, logs["loss"])

    def on_test_batch_end(self, batch, logs=None):
        """Look at the loss of the validation: no epoch could be the best one without it."""
        self._look("validation", batch, logs["loss"])

    def _look(self, split, batch, loss):
        if self.found is not None or np.isfinite(loss):
            return
        ids = list(self.ids_of(split, self.epoch, batch))
        self.found = {"split": split, "epoch": self.epoch, "batch": batch, "ids": ids}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as partial:
            partial.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
        self.model.stop_training = True


class ProgressBar(keras.callbacks.Callback):
    """One bar over all epochs, with the losses beside it.

    Parameters
    ----------
    progress : bool or None
        Show it; None shows it on a terminal only.
    steps : int
        Batches in an epoch.
    first, epochs : int
        Number of the first epoch and the number of epochs in all.
    """

    def __init__(self, progress, steps, first, epochs):
        super().__init__()
        disable = None if progress is None else not progress
        self.bar = tqdm(
            total=steps * epochs, initial=steps * first, desc="train", unit="batch", disable=disable
        )

    def on_train_batch_end(self, batch, logs=None):
        """A step further."""
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        """Show the losses."""
        shown = {name: f"{logs[name]:.3f}" for name in ("loss", "val_loss") if name in logs}
        self.bar.set_postfix(epoch=epoch + 1, **shown)

    def on_train_end(self, logs=None):
        """Close the bar."""
        self.bar.close()


def _seed_states(model):
    """Where dropout and sampling are in their random numbers; weight files leave it out."""
    return [v for v in model.variables if "seed_generator" in v.path]
