"""What a network says about a number: its distribution, from classes or from a mixture."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from scipy.special import ndtr, softmax

from ..labels import TimeScale
from ..metrics import Conformal

__all__ = [
    "MASS_RATIO",
    "ClassPosterior",
    "MixturePosterior",
    "bimodal",
    "calibrated",
    "time_units",
]

MASS_RATIO = {"centre": -0.25, "scale": 0.25, "log": True}
"""How a network's number becomes a mass ratio."""


@dataclass(frozen=True)
class ClassPosterior:
    """Probabilities of time classes, flat inside each class.

    Attributes
    ----------
    scale : TimeScale
        What the classes mean.
    probabilities : numpy.ndarray
        (n, class).
    """

    scale: TimeScale
    probabilities: np.ndarray

    def quantile(self, q):
        """Time (n,) below which the probability `q` lies."""
        return self.scale.quantile(self.probabilities, q)

    def cdf(self, time):
        """Probability (n,) below the times (n,)."""
        return self.scale.cdf(self.probabilities, time)


@dataclass(frozen=True)
class MixturePosterior:
    """Mixtures of Gaussians (Bishop 1994), whose parameters are a network's raw output.

    Attributes
    ----------
    parameters : numpy.ndarray
        (n, 3 K): logits of the weights, means, logarithms of the widths, standardised.
    centre, scale : float
        The value is ``centre + scale x`` for the network's x.
    unit : str
        Unit of the value; empty when there is none.
    log : bool
        Whether that value is a decimal logarithm, which `quantile` undoes.
    """

    parameters: np.ndarray
    centre: float = 0.0
    scale: float = 1.0
    unit: str = ""
    log: bool = False

    @property
    def components(self):
        """Weights, means and widths, each (n, K), in the value's unit (or as its logarithm)."""
        logits, means, widths = np.split(np.asarray(self.parameters, dtype=float), 3, axis=1)
        widths = np.exp(np.maximum(widths, np.log(1e-3)))
        return softmax(logits, axis=1), self.centre + self.scale * means, self.scale * widths

    def cdf(self, value):
        """Probability (n,) below the values (n,)."""
        value = u.Quantity(value, self.unit or u.one).value
        return self._cdf(np.log10(value) if self.log else value)

    def _cdf(self, value):
        weights, means, widths = self.components
        return np.sum(weights * ndtr((np.asarray(value)[:, np.newaxis] - means) / widths), axis=1)

    def quantile(self, q):
        """Value (n,) below which the probability `q` lies, found by bisection."""
        _, means, widths = self.components
        low, high = (means - 9 * widths).min(axis=1), (means + 9 * widths).max(axis=1)
        for _ in range(50):
            middle = (low + high) / 2
            below = self._cdf(middle) < q
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        value = 10 ** ((low + high) / 2) if self.log else (low + high) / 2
        return value << u.Unit(self.unit) if self.unit else value


def time_units(scale):
    """How a network's number becomes a time: centred on a time scale, in quarters of its length.

    Parameters
    ----------
    scale : TimeScale
        The times that can occur.

    Returns
    -------
    dict
        ``centre, scale, unit``, as `MixturePosterior` takes them.
    """
    length = scale.n * scale.step
    return {"centre": scale.start + length / 2, "scale": length / 4, "unit": "Myr"}


def calibrated(posterior, true, groups, level):
    """Calibrate the intervals of a posterior by groups that it was not learned from.

    Parameters
    ----------
    posterior : ClassPosterior or MixturePosterior
        Of n images.
    true : array_like or `~astropy.units.Quantity`
        True values (n,); NaN where not known.
    groups : array_like of str
        Names (n,) of what belongs together.
    level : float
        Probability inside the intervals that are to be given.

    Returns
    -------
    Conformal or None
        None with too few groups for the level.
    """
    known = np.isfinite(true)
    if not known.any():
        return None
    conformal = Conformal.fit(posterior.cdf(true)[known], groups[known])
    try:
        conformal.half_width(level)
    except ValueError:
        return None
    return conformal


def bimodal(probabilities):
    """Whether a posterior has a second peak, apart from the first, of at least half its height.

    The posterior is smoothed over two classes; a peak counts when it stands out from the valley
    beside it by half of the highest peak.

    Parameters
    ----------
    probabilities : numpy.ndarray
        Class probabilities (n, class).

    Returns
    -------
    numpy.ndarray of bool
        (n,).
    """
    smooth = gaussian_filter1d(probabilities, 2.0, axis=1, mode="constant")
    padded = np.pad(smooth, ((0, 0), (1, 1)))
    return np.array(
        [len(find_peaks(row, prominence=0.5 * row.max())[0]) > 1 for row in padded], dtype=bool
    )
