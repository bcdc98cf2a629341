"""Whether the intervals of a catalogue hold the true times as often as they say."""

from dataclasses import dataclass

import numpy as np

from ..metrics import Coverage, QuantileCalibration, interval_coverage, quantile_calibration

__all__ = ["LEVELS", "Intervals", "judge_intervals"]

LEVELS = (0.5, 0.68, 0.9, 0.95)
"""Levels at which intervals are judged."""


@dataclass(frozen=True)
class Intervals:
    """Coverage of the posterior's intervals, as the network gives it and calibrated.

    Attributes
    ----------
    plain : list of Coverage
        Intervals with equal tails of the network's posterior, one for each of `LEVELS`.
    calibrated : list of Coverage or str
        Intervals conformalised by group, or a sentence why there are none, for each of `LEVELS`.
    quantiles : QuantileCalibration
        How often the truth lies below the posterior's quantiles.
    below : list of float
        The posterior's cumulative probability at each true time.
    """

    plain: list[Coverage]
    calibrated: list[Coverage | str]
    quantiles: QuantileCalibration
    below: list[float]

    def to_dict(self):
        """The figures as plain data."""
        return {
            "plain": [row.to_dict() for row in self.plain],
            "calibrated": [
                {"not_available": row} if isinstance(row, str) else row.to_dict()
                for row in self.calibrated
            ],
            "quantiles": self.quantiles.to_dict(),
            "below": np.histogram(self.below, bins=20, range=(0, 1))[0].tolist(),
        }


def judge_intervals(posterior, true, groups, conformal=None):
    """Compare posteriors with true times.

    Parameters
    ----------
    posterior : ClassPosterior or MixturePosterior
        Posteriors of n images.
    true : `~astropy.units.Quantity`
        Their true times, (n,); NaN for images to leave out.
    groups : numpy.ndarray of str
        Their groups, (n,).
    conformal : Conformal, optional
        Calibration of the model.

    Returns
    -------
    Intervals

    Raises
    ------
    ValueError
        If no image has both a posterior and a true time.
    """
    below = posterior.cdf(true)
    plain, calibrated = [], []

    def cover(level, half_width):
        borders = posterior.quantile(0.5 - half_width), posterior.quantile(0.5 + half_width)
        return interval_coverage(*borders, true, groups, level)

    for level in LEVELS:
        plain.append(cover(level, level / 2))
        try:
            if conformal is None:
                raise ValueError("the model was not calibrated: too few groups were kept aside")
            calibrated.append(cover(level, conformal.half_width(level)))
        except ValueError as error:
            calibrated.append(str(error))
    return Intervals(
        plain=plain,
        calibrated=calibrated,
        quantiles=quantile_calibration(below, groups),
        below=below[np.isfinite(below)].tolist(),
    )
