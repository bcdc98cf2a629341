"""Training in this process."""

import time
from pathlib import Path

import numpy as np

from ..store import ImageTarget, NoTarget, target_from_dict
from ..store.augment import Augmentation
from ..store.joined import open_stores
from ..store.loader import batches, epoch_rows
from .callbacks import Checkpoint, ProgressBar, Rate, StopOnNaN, WarmUp
from .compiled import build_network, compile_model
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
            If the checkpoint folder belongs to another job, or the loss stops being a number;
            ``nan_batch.json`` in that folder then names the images of the batch.
        """
        start = time.perf_counter()
        network = build_network(job)
        store = open_stores(job.store)
        rows, options = training_data(job)
        steps = -(-len(rows) // job.batch_size)
        model, growing = compile_model(job, network, steps)
        checkpoint, rate = Checkpoint(job, network), Rate(len(rows))
        first = checkpoint.restore(model)
        if first < job.epochs:
            # One epoch more than is used: Keras looks ahead, and warns at the end of the data.
            data = batches(store, rows, epochs=range(first, job.epochs + 1), **options)
            validation, validation_steps = None, None
            if job.rows.get("validation"):
                targets = {name: target_from_dict(data) for name, data in job.targets.items()}
                validation = batches(store, job.rows["validation"], targets, job.batch_size)
                validation = validation.cache().repeat()
                validation_steps = -(-len(job.rows["validation"]) // job.batch_size)
            bad = StopOnNaN(
                Path(job.checkpoint) / "nan_batch.json",
                lambda epoch, batch: _ids(store, rows, options, epoch, batch),
            )
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
                    bad,
                    checkpoint,
                    rate,
                    WarmUp(growing, job.loss_weights, job.warm_up, steps),
                    ProgressBar(self.progress, steps, first, job.epochs),
                ],
            )
            if bad.found is not None:
                raise ValueError(
                    f"training stopped: the loss is not a number in epoch "
                    f"{bad.found['epoch'] + 1}, batch {bad.found['batch'] + 1}; {bad.path} names "
                    f"its images; lower the learning rate ({job.optimizer['learning_rate']})"
                )
        return TrainingResult(
            weights=checkpoint.best,
            history=checkpoint.history,
            best_epoch=checkpoint.best_epoch,
            seconds=time.perf_counter() - start,
            images_per_second=rate.images_per_second,
        )


def training_data(job):
    """What `~astro_deepgalaxy.store.loader.batches` takes to train a job.

    Parameters
    ----------
    job : TrainingJob
        What to train.

    Returns
    -------
    rows : numpy.ndarray of int
        Rows with labels, then those whose labels are not used.
    options : dict
        ``targets, batch_size, shuffle, augment, seed, labelled_fraction``.
    """
    labelled, unlabelled = job.rows["train"], job.rows.get("unlabelled", [])
    rows = np.array([*labelled, *unlabelled], dtype=int)
    targets = {name: target_from_dict(data) for name, data in job.targets.items()}
    if unlabelled:
        targets = {
            name: target
            if isinstance(target, ImageTarget | NoTarget)
            else _FirstRows(target, len(labelled))
            for name, target in targets.items()
        }
    return rows, {
        "targets": targets,
        "batch_size": job.batch_size,
        "shuffle": True,
        "augment": Augmentation(**job.augment) if job.augment else None,
        "seed": job.seed,
        "labelled_fraction": job.labelled_fraction,
    }


class _FirstRows:
    """A target that only the first rows have."""

    def __init__(self, target, number):
        self.target, self.number, self.size = target, number, target.size

    def encode(self, table):
        values, weights = self.target.encode(table)
        weights[self.number :] = 0
        return values, weights


def _ids(store, rows, options, epoch, batch):
    order = {name: value for name, value in options.items() if name != "augment"}
    return [str(store.table["id"][i]) for i in epoch_rows(store, rows, epoch=epoch, **order)[batch]]
