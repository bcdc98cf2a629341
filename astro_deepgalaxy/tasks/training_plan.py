"""From one or several tasks and a store to the job that trains them, and the record of it."""

import json
import math
from importlib.metadata import version
from inspect import signature

import numpy as np

from ..flags import FAILED
from ..plugins import get_spec, provider
from ..store import ImageTarget, NoTarget, groups_of, split_by_group
from ..store.augment import Augmentation
from ..trainers import TrainingJob

__all__ = ["made_trainer", "sharing_tasks", "training_job", "training_record", "versions"]


def sharing_tasks(also, base):
    """The tasks that a task trains its network for beside itself.

    Parameters
    ----------
    also : dict of str to dict, or None
        Options and ``weight`` of each task.
    base : type
        What they must be.

    Returns
    -------
    dict of str to (task, float)
        Each task with the weight of its losses.

    Raises
    ------
    ValueError
        If a task or one of its options is unknown, or a weight is not a number of 0 or more.
    """
    if not isinstance(also, dict | None) or not all(
        isinstance(options, dict) for options in (also or {}).values()
    ):
        raise ValueError(f"also must be {{task: {{option: value}}}}; got {also!r}")
    tasks = {}
    for name, options in (also or {}).items():
        factory = get_spec("task", name).load()
        if not issubclass(factory, base):
            raise ValueError(f"also: the task {name!r} trains no network")
        options = dict(options)
        weight = options.pop("weight", 1.0)
        if not (isinstance(weight, int | float) and 0 <= weight < math.inf):
            raise ValueError(f"also: the weight of {name!r} must be 0 or more; got {weight!r}")
        unknown = sorted(set(options) - set(factory._get_param_names()))
        if unknown:
            raise ValueError(
                f"also: the task {name!r} has no parameter {', '.join(map(repr, unknown))}; it has "
                f"weight, {', '.join(factory._get_param_names())}"
            )
        tasks[name] = factory(**options), float(weight)
    return tasks


def made_trainer(name, options, progress):
    """A trainer by its name.

    Parameters
    ----------
    name : str
        Registered name.
    options : dict or None
        Its options.
    progress : bool or None
        Whether to show a progress bar, for a trainer that has one.

    Returns
    -------
    object
        With ``fit(job)``.

    Raises
    ------
    ValueError
        If the trainer is unknown, or has no such option.
    """
    factory = get_spec("trainer", name).load()
    if "progress" in signature(factory).parameters:
        options = {"progress": progress} | (options or {})
    try:
        signature(factory).bind(**(options or {}))
    except TypeError as error:
        raise ValueError(f"trainer_options: the trainer {name!r} {error}") from error
    return factory(**(options or {}))


def training_job(tasks, store, rows, unlabelled, work):
    """Plan the training of tasks that share a network.

    Parameters
    ----------
    tasks : list of (NetworkTask, float)
        The tasks with the weight of their losses; the first one's settings count.
    store : CutoutStore or JoinedStores
        The images.
    rows : numpy.ndarray of int
        Rows to train on.
    unlabelled : numpy.ndarray of int
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
            if options and network.get(name) and options != network[name]:
                raise ValueError(
                    f"two tasks that share a network want another {name}: {network[name]} and "
                    f"{options}; give both the same options"
                )
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
        groups = _kept_together(first.split, table, bool(labels))
        kept, aside = split_by_group(groups[rows], first.validation_fraction, first.seed)
        split = {"train": rows[kept].tolist(), "validation": rows[aside].tolist()}
        # What is kept aside is not looked at without its labels either.
        unlabelled = unlabelled[~np.isin(groups[unlabelled], groups[rows[aside]])]
    elif labels:
        _kept_together(first.split, table, True)
    if len(unlabelled):
        split["unlabelled"] = unlabelled.tolist()
    job = {
        "network": {
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
        "store": [str(path) for path in store.path]
        if isinstance(store.path, list)
        else str(store.path),
        "rows": split,
        "targets": {name: target.to_dict() for name, target in targets.items()},
        "checkpoint": str(work / "training"),
        "initial_weights": None if first.initial_weights is None else str(first.initial_weights),
        "frozen": list(first.freeze),
        "augment": _augmentation(first.augment),
        "losses": losses,
        "loss_weights": weights,
        "warm_up": warm_up,
        "labelled_fraction": first.labelled_fraction,
        "optimizer": _optimizer(first),
        "epochs": first.epochs,
        "batch_size": first.batch_size,
        "seed": first.seed,
    }
    # A search over parameters gives numbers of numpy, which JSON does not know.
    return TrainingJob.from_json(json.dumps(job, default=_plain))


def _plain(value):
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"{value!r} is no plain data, of which training jobs consist")


def _kept_together(split, table, labelled):
    """Names of what stays on one side of a split: groups, or single images."""
    if split not in ("group", "image"):
        raise ValueError(f"split must be 'group' or 'image'; got {split!r}")
    if split == "image":
        return np.asarray(table["id"], dtype=str)
    if labelled and "group" not in table.colnames:
        raise ValueError(
            "the labels have no column 'group' (the simulation or galaxy each image shows); "
            "without it images of one galaxy would be both trained and tested on"
        )
    return groups_of(table)


def _augmentation(augment):
    if augment is None or isinstance(augment, bool):
        return Augmentation().to_dict() if augment else None
    if not isinstance(augment, dict):
        return augment.to_dict()
    try:
        return Augmentation(**augment).to_dict()
    except TypeError as error:
        known = ", ".join(Augmentation().to_dict())
        raise ValueError(f"augment: {error}; known options are {known}") from error


def _optimizer(task):
    given = {"name": task.optimizer} if isinstance(task.optimizer, str) else task.optimizer
    if not isinstance(given, dict) or "name" not in given:
        raise ValueError(
            f"optimizer must be the name of a Keras optimizer or a dict with 'name'; got {given!r}"
        )
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
    record = {
        "groups": {side: np.unique(names[rows]).tolist() for side, rows in job.rows.items()},
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
    if task.split == "image":  # groups do not tell then what was seen
        seen = np.concatenate([np.array(rows, dtype=int) for rows in job.rows.values()])
        record["ids"] = np.asarray(store.table["id"], dtype=str)[np.sort(seen)].tolist()
    return record


def versions():
    """Versions of what decides an answer, by distribution."""
    names = ("astro-deepgalaxy", "tensorflow", "keras", "numpy", "astropy", "photutils")
    return {name: version(name) for name in names}
