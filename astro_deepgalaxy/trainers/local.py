"""Training in this process."""

import hashlib
import json
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

__all__ = ["LocalTrainer", "data_digest", "training_data"]


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
        checkpoint = Checkpoint(job, network, data_digest(job, store))
        first, rate = checkpoint.restore(model), Rate(len(rows))
        if first < job.epochs:
            # One epoch more than is used: Keras looks ahead, and warns at the end of the data.
            epochs = range(first, job.epochs + 1)
            data = batches(store, rows, epochs=epochs, **options)
            aside, validation = job.rows.get("validation", []), None
            if aside:
                validation = batches(store, aside, _targets(job), job.batch_size, epochs=epochs)

            def ids_of(split, epoch, batch):
                if split == "validation":
                    chosen = aside[batch * job.batch_size : (batch + 1) * job.batch_size]
                else:
                    order = {name: value for name, value in options.items() if name != "augment"}
                    chosen = epoch_rows(store, rows, epoch=epoch, **order)[batch]
                return np.asarray(store.table["id"][chosen], dtype=str).tolist()

            bad = StopOnNaN(Path(job.checkpoint) / "nan_batch.json", ids_of)
            model.fit(
                data,
                validation_data=validation,
                validation_steps=-(-len(aside) // job.batch_size) or None,
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
                    f"training stopped: the {bad.found['split']} loss is not a number in epoch "
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
    targets = _targets(job)
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
        values, weights = self.target.encode(table[: self.number])
        more = len(table) - self.number
        return np.pad(values, ((0, more), (0, 0))), np.pad(weights, (0, more))


def _targets(job):
    return {name: target_from_dict(data) for name, data in job.targets.items()}


def data_digest(job, store):
    """Hash of what a job is given to learn from.

    Parameters
    ----------
    job : TrainingJob
        What to train.
    store : CutoutStore or JoinedStores
        Where its images are.

    Returns
    -------
    str
        SHA-256 of the ids and labels of the rows, the recipe and the initial weights.
    """
    table, digest = store.table, hashlib.sha256()
    digest.update(json.dumps(store.attributes.get("recipe"), sort_keys=True).encode())
    for split, rows in sorted(job.rows.items()):
        digest.update("\n".join([split, *map(str, table["id"][rows])]).encode())
        for name, target in sorted(_targets(job).items()):
            if split != "unlabelled" and not isinstance(target, ImageTarget | NoTarget):
                digest.update(
                    name.encode() + b"".join(a.tobytes() for a in target.encode(table[rows]))
                )
    if job.initial_weights:
        for path in sorted(Path(job.initial_weights).glob("*.weights.h5")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
