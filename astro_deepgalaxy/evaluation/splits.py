"""What a model can do on galaxies it learned from, and on galaxies it never saw."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u

from ..metrics import ClassAccuracy, TimeErrors, bootstrap_range, class_accuracy, time_errors

__all__ = ["SplitFigures", "judge_split"]


@dataclass(frozen=True)
class SplitFigures:
    """Figures of the images on one side.

    Attributes
    ----------
    groups : int
        Simulations or galaxies.
    time : TimeErrors
        Errors of the time.
    median_range, percentile_90_range : tuple of float
        95 % ranges of two of them in Myr when groups are drawn again.
    accuracy : ClassAccuracy or None
        Accuracy of the time classes; None where no true time is inside the time scale.
    """

    groups: int
    time: TimeErrors
    median_range: tuple[float, float]
    percentile_90_range: tuple[float, float]
    accuracy: ClassAccuracy | None

    def to_dict(self):
        """The figures as plain data."""
        return {
            "groups": self.groups,
            "time": self.time.to_dict(),
            "median_range": list(self.median_range),
            "percentile_90_range": list(self.percentile_90_range),
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
        }


def judge_split(images, constant):
    """Figures of images of which the true time is known.

    Parameters
    ----------
    images : JudgedImages
        The images.
    constant : `~astropy.units.Quantity`
        The time the baseline always gives: the median of the training set.

    Returns
    -------
    SplitFigures

    Raises
    ------
    ValueError
        If no image has both a predicted and a true time.
    """
    catalogue, true = images.catalogue, images.true
    predicted = catalogue["time_since_pericentre"]
    time = time_errors(predicted, true, constant, catalogue["time_lower"], catalogue["time_upper"])
    good = np.isfinite(predicted) & np.isfinite(true)
    error, groups = np.abs((predicted - true)[good].to_value(u.Myr)), images.groups[good]
    probabilities = np.asarray(catalogue["time_probabilities"])
    known = (images.classes >= 0) & np.isfinite(probabilities).all(axis=1)
    return SplitFigures(
        groups=len(np.unique(groups)),
        time=time,
        median_range=_range(lambda rows: np.median(error[rows]), groups),
        percentile_90_range=_range(lambda rows: np.percentile(error[rows], 90), groups),
        accuracy=class_accuracy(probabilities, images.classes) if known.any() else None,
    )


def _range(statistic, groups):
    low, high = bootstrap_range(statistic, groups, resamples=500)
    return float(low), float(high)
