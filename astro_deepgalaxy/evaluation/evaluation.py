"""Everything that can be said about how well a model does on the images of a store."""

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import QTable
from sklearn.metrics import confusion_matrix

from ..flags import FAILED
from ..metrics import detection
from ..store.joined import open_stores
from .breakdown import DEPENDENCES, error_breakdown
from .intervals import judge_intervals
from .judged_images import paths_of, predict_images, sides
from .real_pairs import judge_pairs, read_pairs
from .scorecard import scorecard
from .signal_to_noise import signal_to_noise
from .splits import judge_split

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model; `~astro_deepgalaxy.evaluation.write_evaluation` makes a page of them.

    Attributes
    ----------
    about : dict
        The model, the store, and how many images and groups were judged.
    catalogue, labels : `~astropy.table.QTable`
        Predictions and labels of the images that the model is judged by.
    groups : numpy.ndarray of str
        Their groups.
    training : dict
        The model's ``training_``.
    sections : dict of str to object
        What was measured; each has ``to_dict``, is a list of such, or plain data.
    missing : dict of str to str
        What could not be, and why.
    """

    about: dict
    catalogue: QTable
    labels: QTable
    groups: np.ndarray
    training: dict
    sections: dict = field(default_factory=dict)
    missing: dict = field(default_factory=dict)

    @property
    def scorecard(self):
        """Errors of the time and accuracy of the stages (`Scorecard`), or None."""
        return self.sections.get("scorecard")

    def to_dict(self):
        """The figures as plain data."""
        return _plain({"about": self.about, **self.sections, "not_available": self.missing})


def evaluate(model, store, rows=None, prevalence=0.05, pairs=None):
    """Judge a model by the images of a store whose labels are known.

    Parameters
    ----------
    model : NetworkTask, str or `~pathlib.Path`
        A trained model, or the folder of one.
    store : CutoutStore, str, `~pathlib.Path` or sequence of these
        Prepared images with their labels, made with the model's recipe. Of several stores, those
        that were trained on come in the order of the training, as that settles the names of
        groups that two of them have.
    rows : array_like of int, optional
        Rows of the store to judge by; all by default. Images of groups that the model was
        trained on are told apart by their ``group``. Of a model that was trained with
        ``split="image"`` images that it was trained on are not looked at.
    prevalence : float
        Share of mergers on the sky, for which purity is given.
    pairs : str or `~pathlib.Path`, optional
        Table of real galaxies with published times: columns ``file`` and ``t_min``.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If an argument is wrong, the store was made with another recipe, or it holds no image to
        judge by.
    """
    # Other reports of this package need no network.
    from ..tasks.base import load_model
    from .lookalikes import judge_clusters, judge_lookalikes

    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence must be between 0 and 1; got {prevalence}")
    if pairs is not None:
        read_pairs(pairs)
    store = store if hasattr(store, "image_shape") else open_stores(store)
    model = load_model(model) if isinstance(model, str | Path) else model
    judged, everything = predict_images(model, store, rows)
    measures = {
        "splits": lambda: _splits(model, judged, everything),
        "scorecard": lambda: _scorecard(model, judged),
        "intervals": lambda: _intervals(model, store, judged),
        "confusion": lambda: _confusion(judged),
        **{f"error_by_{name}": partial(_error_by, store, judged, name) for name in DEPENDENCES},
        "mergers": lambda: _mergers(judged, prevalence),
        "lookalikes": lambda: judge_lookalikes(model, store, judged, everything),
        "clusters": lambda: judge_clusters(model, store, judged),
        "pairs": lambda: _pairs(model, pairs),
    }
    sections, missing = {}, {}
    for name, measure in measures.items():
        try:
            sections[name] = measure()
        except ValueError as error:
            missing[name] = str(error)
    return Evaluation(
        about=_about(model, store, judged, everything),
        catalogue=judged.catalogue,
        labels=judged.labels,
        groups=judged.groups,
        training=model.training_,
        sections=sections,
        missing=missing,
    )


def _splits(model, judged, everything):
    seen, unseen = sides(everything.groups, model.training_)
    found = {}
    for name, here in (("seen", seen), ("unseen", unseen)):
        part = everything[here]
        if np.isfinite(part.true).any():
            found[name] = judge_split(part, model.training_median_)
    if not found:
        raise ValueError("no image has a true time")
    return found


def _scorecard(model, judged):
    if not np.isfinite(judged.true).any():
        raise ValueError("no image to judge by has a true time")
    return scorecard(judged.catalogue, judged.labels, model.training_median_)


def _intervals(model, store, judged):
    true = judged.true.copy()
    true[judged.classes < 0] = np.nan
    outputs = {"time_class": np.asarray(judged.catalogue["time_probabilities"])}
    if "time_density" in model.network_.config.outputs:
        outputs |= model.outputs(store, ["time_density"], judged.rows)[1]
    conformal = model.calibration("time_since_pericentre")
    return judge_intervals(model.posterior(outputs), true, judged.groups, conformal)


def _confusion(judged):
    true = np.where(np.isfinite(judged.true), judged.classes, -1)
    guess = np.asarray(judged.catalogue["time_class"])
    good = (true >= 0) & (guess >= 0)
    if not good.any():
        raise ValueError("no image has both a predicted and a true time class")
    n = judged.catalogue["time_probabilities"].shape[1]
    return confusion_matrix(true[good], guess[good], labels=range(n)).tolist()


def _error_by(store, judged, name):
    error = judged.true - judged.catalogue["time_since_pericentre"]
    ratio = signal_to_noise(store, judged.rows) if name == "signal_to_noise" else None
    return error_breakdown(name, error, judged.labels, ratio, judged.groups)


def _mergers(judged, prevalence):
    if "merger_probability" not in judged.catalogue.colnames:
        raise ValueError(
            "the model does not tell mergers from other galaxies: it was trained without a column "
            "'is_merger' that has both answers"
        )
    if "is_merger" not in judged.labels.colnames:
        raise ValueError("the labels have no column 'is_merger'")
    truth = np.ma.asarray(judged.labels["is_merger"])
    known = ~np.ma.getmaskarray(truth)
    probability = np.where(known, judged.catalogue["merger_probability"], np.nan)
    return detection(probability, np.ma.filled(truth, False), judged.groups, prevalence)


def _pairs(model, pairs):
    if pairs is None:
        raise ValueError("no table of real galaxies with published times was given")
    return judge_pairs(model, pairs)


def _about(model, store, judged, everything):
    outside = 0
    if judged.classes is not None:
        outside = int(np.count_nonzero(np.isfinite(judged.true) & (judged.classes < 0)))
    return {
        "task": model.task,
        "model": model.digest_ or "",
        "backbone": model.training_["backbone"],
        "stores": [Path(path).name for path in paths_of(store)],
        "left_out_at_random": not sides(judged.groups, model.training_)[1].any(),
        "images": len(judged),
        "groups": len(np.unique(judged.groups)),
        "split": model.training_["split"],
        "images_of_groups_trained_on": len(everything) - len(judged),
        "failed": int(np.count_nonzero(judged.catalogue["flags"] & int(FAILED))),
        "outside_time_scale": outside,
    }


def _plain(section):
    """Plain data in which what is not finite is None: JSON has no word for it."""
    if hasattr(section, "to_dict"):
        section = section.to_dict()
    if isinstance(section, dict):
        return {name: _plain(part) for name, part in section.items()}
    if isinstance(section, list | tuple):
        return [_plain(part) for part in section]
    return None if isinstance(section, float) and not math.isfinite(section) else section
