"""A catalogue against the truth, in figures."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import confusion_matrix

from ..labels import STAGES
from ..metrics import TimeErrors, time_errors

__all__ = ["Scorecard", "scorecard"]


@dataclass(frozen=True)
class Scorecard:
    """How well a catalogue of mergers agrees with known labels.

    Attributes
    ----------
    time : TimeErrors
        Errors of the time since the first pericentre.
    stage_accuracy : float
        Share of images with the right stage (NaN when no stage is known).
    stage_confusion : list of list of int
        Counts (true stage, predicted stage) in the order of `~astro_deepgalaxy.labels.STAGES`.
    groups : tuple of str
        The simulations or galaxies that were predicted.
    failed : int
        Rows of the catalogue without a result.
    """

    time: TimeErrors
    stage_accuracy: float
    stage_confusion: list[list[int]]
    groups: tuple[str, ...]
    failed: int

    def to_dict(self):
        """The figures as plain data."""
        return {
            "time": self.time.to_dict(),
            "stage_accuracy": self.stage_accuracy,
            "stage_confusion": self.stage_confusion,
            "stages": list(STAGES),
            "groups": list(self.groups),
            "failed": self.failed,
        }


def scorecard(catalogue, labels, constant):
    """Compare a catalogue with known labels of the same images.

    Parameters
    ----------
    catalogue : `~astropy.table.QTable`
        What `MergerClassifier.predict` returned.
    labels : `~astropy.table.QTable`
        The label table's rows of the same images, in the same order.
    constant : `~astropy.units.Quantity`
        The time the baseline always gives: the median of the training set.

    Returns
    -------
    Scorecard

    Raises
    ------
    ValueError
        If the tables do not list the same images.
    """
    if len(catalogue) != len(labels) or not np.array_equal(
        np.asarray(catalogue["id"], dtype=str), np.asarray(labels["id"], dtype=str)
    ):
        raise ValueError("the catalogue and the labels must list the same images in the same order")
    predicted = catalogue["time_since_pericentre"]
    errors = time_errors(
        predicted,
        labels["time_since_pericentre"],
        constant,
        catalogue["time_lower"],
        catalogue["time_upper"],
    )
    accuracy, counts = np.nan, np.zeros((len(STAGES), len(STAGES)), dtype=int)
    if "stage" in catalogue.colnames and "stage" in labels.colnames:
        true, guess = (np.asarray(table["stage"], dtype=str) for table in (labels, catalogue))
        known = np.isin(true, STAGES) & np.isin(guess, STAGES)
        counts = confusion_matrix(true[known], guess[known], labels=list(STAGES))
        accuracy = float(np.mean(true[known] == guess[known]))
    groups = np.asarray(labels["group"], dtype=str) if "group" in labels.colnames else []
    return Scorecard(
        time=errors,
        stage_accuracy=accuracy,
        stage_confusion=counts.tolist(),
        groups=tuple(np.unique(groups).tolist()),
        failed=int((~np.isfinite(predicted)).sum()),
    )
