"""The images that a model is judged by, and those that it was trained on."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import QTable

from ..store import groups_of

__all__ = ["JudgedImages", "paths_of", "predict_images", "sides"]


@dataclass(frozen=True)
class JudgedImages:
    """Images of a store with their predictions and labels.

    Attributes
    ----------
    rows : numpy.ndarray of int
        Rows of the store.
    catalogue, labels : `~astropy.table.QTable`
        Predictions and labels. The true time stands in the labels' ``time_since_pericentre``,
        whichever column the model learned.
    groups : numpy.ndarray of str
        Groups.
    classes : numpy.ndarray of int or None
        True time classes; -1 outside the time scale.
    problem : str
        Why predicted and true times cannot be compared; empty if they can.
    """

    rows: np.ndarray
    catalogue: QTable
    labels: QTable
    groups: np.ndarray
    classes: np.ndarray | None
    problem: str

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, here):
        """Some of the images."""
        classes = None if self.classes is None else self.classes[here]
        parts = self.rows[here], self.catalogue[here], self.labels[here], self.groups[here]
        return JudgedImages(*parts, classes, self.problem)

    @property
    def true(self):
        """True times (`~astropy.units.Quantity`).

        Raises
        ------
        ValueError
            If there are no predicted or no true times.
        """
        if self.problem:
            raise ValueError(self.problem)
        return self.labels["time_since_pericentre"]


def paths_of(store):
    """Paths of a store, or of those that are joined.

    Parameters
    ----------
    store : CutoutStore or JoinedStores
        The store.

    Returns
    -------
    list of str or `~pathlib.Path`
    """
    return store.path if isinstance(store.path, list) else [store.path]


def sides(groups, training):
    """Tell images of groups that a model learned from and others apart.

    Parameters
    ----------
    groups : numpy.ndarray of str
        Group of each image.
    training : dict
        The model's ``training_``.

    Returns
    -------
    seen, unseen : numpy.ndarray of bool
        Images of groups that the network was trained on, and of groups that played no part at
        all. Groups that chose the epoch or calibrated the intervals are neither.
    """
    known = {name: set(names) for name, names in training["groups"].items()}
    seen = np.isin(groups, sorted(known.get("train", ())))
    return seen, ~np.isin(groups, sorted(set().union(*known.values())))


def predict_images(model, store, rows=None):
    """Predict the images of a store of which it is known whether the model was trained on them.

    Parameters
    ----------
    model : NetworkTask
        The model.
    store : CutoutStore
        The images.
    rows : array_like of int, optional
        Rows of the store; all by default.

    Returns
    -------
    judged : JudgedImages
        Images to judge by: of groups that the model never saw; or, if there are none and the
        model was trained on a random split of images, those that this left out.
    everything : JudgedImages
        These and those of the groups that were trained on, for a random split of images only
        those that it left out.

    Raises
    ------
    ValueError
        If there is no image to judge by.
    """
    table = store.table
    chosen = np.arange(len(store)) if rows is None else np.asarray(rows, dtype=int)
    groups = groups_of(table)[chosen]
    seen, unseen = sides(groups, model.training_)
    judged = unseen
    if model.training_["split"] == "image":
        seen &= ~np.isin(np.asarray(table["id"], dtype=str)[chosen], model.training_["ids"])
    if not unseen.any():
        if model.training_["split"] != "image" or not seen.any():
            raise ValueError(
                f"{', '.join(map(str, paths_of(store)))}: holds no image of a group (simulation or "
                "galaxy) that the model never saw, and none that a random split left out; "
                "evaluate on a store of others, or set some aside before training"
            )
        judged = seen
    wanted = seen | unseen
    chosen = chosen[wanted]
    labels, catalogue = QTable(table[chosen]), model.predict(store, rows=chosen)
    classes, problem = None, ""
    try:
        labels["time_since_pericentre"], classes = _true_times(model, catalogue, labels)
    except ValueError as error:
        problem = str(error)
    everything = JudgedImages(chosen, catalogue, labels, groups[wanted], classes, problem)
    return everything[judged[wanted]], everything


def _true_times(model, catalogue, labels):
    """True times, and their classes."""
    if "time_since_pericentre" not in catalogue.colnames:
        raise ValueError(f"the model, of the task {model.task!r}, does not predict times")
    name, scale = model.time_column, model.time_scale_
    if name not in labels.colnames:
        raise ValueError(f"the labels have no column {name!r}")
    if np.ma.asarray(labels[name]).dtype.kind in "iu":  # classes already
        classes = np.ma.filled(np.ma.asarray(labels[name]), -1)
        classes = np.where((classes >= 0) & (classes < scale.n), classes, -1)
        return np.where(classes >= 0, scale.centres[classes], np.nan * u.Myr), classes
    time = u.Quantity(labels[name]).to(u.Myr)
    return time, scale.classify(time)
