"""From one or several tasks and a store to the job that trains them, and the record of it."""

from importlib.metadata import version

import numpy as np

from ..flags import FAILED
from ..plugins import provider
from ..store import ImageTarget, NoTarget, split_by_group
from ..store.augment import Augmentation
from ..trainers import TrainingJob

__all__ = ["training_job", "training_record", "versions"]


def training_job(tasks, store, rows, unlabelled, work):
    """Plan the training of tasks that share a network.

    Parameters
    ----------
    tasks : list of (NetworkTask, float)
        The tasks with the weight of their losses; the first one's settings count.
    store : CutoutStore or JoinedStores
        The images.
    rows : array_like of int or None
        Rows to train on; all by default.
    unlabelled : array_like of int
        More rows, of which no label is used.
    work : `~pathlib.Path`
        Folder for the checkpoints.

    Returns
    -------
    TrainingJob

    Raises
    ------
    ValueError
        If no image is usable or has a label, or the tasks do not go together.
    """
    first = tasks[0][0]
    table = store.table
    usable = (np.asarray(table["flags"]) & int(FAILED)) == 0
    rows = np.arange(len(store)) if rows is None else np.asarray(rows, dtype=int)
    unlabelled = np.asarray(unlabelled, dtype=int)
    for chosen in (rows, unlabelled):
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(store):
            raise ValueError(f"{store.path}: rows must be within 0 and {len(store) - 1}")
    if np.isin(unlabelled, rows).any():
        raise ValueError("a row cannot be both among `rows` and `unlabelled`")
    rows, unlabelled = rows[usable[rows]], unlabelled[usable[unlabelled]]
    if len(rows) == 0:
        raise ValueError(f"{store.path}: none of the images chosen for training is usable")
    targets, losses, weights, warm_up, network = {}, {}, {}, {}, {}
    for task, weight in tasks:
        new = task._targets(table[rows])
        twice = set(new) & set(targets)
        if twice:
            raise ValueError(f"two tasks train the output {', '.join(sorted(twice))}; drop one")
        targets |= new
        weights |= {name: weight * task._loss_weights().get(name, 1.0) for name in new}
        losses |= task._losses()
        warm_up |= task._warm_up()
        for name, options in task._network().items():
            # Two tasks may need a decoder; the one that says more about it is followed.
            network[name] = options or network.get(name, options)
    labels = {k: v for k, v in targets.items() if not isinstance(v, ImageTarget | NoTarget)}
    if labels:
        known = np.zeros(len(rows), dtype=bool)
        for target in labels.values():
            known |= target.encode(table[rows])[1] > 0
        # An image without a label still teaches the tasks that need none.
        rows = rows if len(labels) < len(targets) else rows[known]
        if not known.any():
            raise ValueError(f"{store.path}: no image has a label that the model can learn")
    if len(unlabelled) and len(labels) == len(targets):
        raise ValueError(
            "unlabelled images teach this model nothing: train a task without labels beside it, "
            "as in also={'reconstruct': {}}"
        )
    split = {"train": rows.tolist()}
    if first.validation_fraction:
        groups = _groups(first, table, rows, bool(labels))
        kept, aside = split_by_group(groups, first.validation_fraction, first.seed)
        split = {"train": rows[kept].tolist(), "validation": rows[aside].tolist()}
    elif labels:
        _groups(first, table, rows, True)
    if len(unlabelled):
        split["unlabelled"] = unlabelled.tolist()
    return TrainingJob(
        network={
            "input_shape": list(store.image_shape),
            "outputs": {name: target.size for name, target in labels.items()},
            "activations": {
                name: target.activation
                for name, target in labels.items()
                if target.activation != "softmax"
            },
            "backbone": first.backbone,
            "backbone_options": dict(first.backbone_options or {}),
            "dropout": first.dropout,
            "noise": first.noise,
            **network,
        },
        store=[str(path) for path in store.path]
        if isinstance(store.path, list)
        else str(store.path),
        rows=split,
        targets={name: target.to_dict() for name, target in targets.items()},
        checkpoint=str(work / "training"),
        initial_weights=None if first.initial_weights is None else str(first.initial_weights),
        frozen=list(first.freeze),
        augment=_augmentation(first.augment),
        losses=losses,
        loss_weights=weights,
        warm_up=warm_up,
        labelled_fraction=first.labelled_fraction,
        optimizer=_optimizer(first),
        epochs=first.epochs,
        batch_size=first.batch_size,
        seed=first.seed,
    )


def _groups(task, table, rows, labelled):
    """What the images of a split have in common, by which they stay together."""
    if task.split == "image":
        return np.asarray(table["id"][rows], dtype=str)
    if task.split != "group":
        raise ValueError(f"split must be 'group' or 'image'; got {task.split!r}")
    if "group" not in table.colnames:
        if labelled:
            raise ValueError(
                "the labels have no column 'group' (the simulation or galaxy each image shows); "
                "without it images of one galaxy would be both trained and tested on"
            )
        return np.asarray(table["id"][rows], dtype=str)
    groups = np.ma.filled(np.ma.asarray(table["group"][rows]).astype(str), "")
    return np.where(groups == "", np.asarray(table["id"][rows], dtype=str), groups)


def _augmentation(augment):
    if isinstance(augment, bool):
        return Augmentation().to_dict() if augment else None
    return Augmentation(**augment).to_dict() if isinstance(augment, dict) else augment.to_dict()


def _optimizer(task):
    given = {"name": task.optimizer} if isinstance(task.optimizer, str) else dict(task.optimizer)
    return {"learning_rate": task.learning_rate, "schedule": "cosine"} | given


def training_record(task, store, job, result):
    """What is kept of a training with the model, as JSON data.

    Parameters
    ----------
    task : NetworkTask
        The task whose settings counted.
    store : CutoutStore or JoinedStores
        The images.
    job : TrainingJob
        What was trained.
    result : TrainingResult
        What came of it.

    Returns
    -------
    dict
    """
    name = "group" if "group" in store.table.colnames else "id"
    names = np.ma.filled(np.ma.asarray(store.table[name]).astype(str), "")
    return {
        "groups": {
            side: np.unique(names[job.rows[side]]).tolist()
            for side in ("train", "validation")
            if side in job.rows
        },
        "images": {side: len(rows) for side, rows in job.rows.items()},
        "split": task.split,
        "history": result.history,
        "best_epoch": result.best_epoch,
        "seconds": round(result.seconds, 1),
        "seed": job.seed,
        "optimizer": job.optimizer,
        "augment": job.augment,
        "loss_weights": job.loss_weights,
        "versions": versions(),
        "backbone": provider("backbone", task.backbone),
        "trainer": provider("trainer", task.trainer),
    }


def versions():
    """Versions of what decides an answer, by distribution."""
    names = ("astro-deepgalaxy", "tensorflow", "keras", "numpy", "astropy", "photutils")
    return {name: version(name) for name in names}
