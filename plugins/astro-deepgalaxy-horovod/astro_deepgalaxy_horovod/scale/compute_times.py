"""How long workers compute, and how long the slowest of many does."""

from dataclasses import dataclass

import numpy as np

__all__ = ["ComputeTimes", "expected_largest_normal"]

_TAIL = 0.9
_SLICES = 4096


@dataclass(frozen=True)
class ComputeTimes:
    """The distribution of the compute time of a step, as it was measured.

    Between the times that were measured it is interpolated. Of the slowest tenth only the mean is
    used: they are taken to fall off exponentially, so that many workers can meet a delay that the
    few measured steps did not (peaks over a threshold; Pickands 1975, *Ann. Statist.* 3, 119).

    Parameters
    ----------
    seconds : array_like
        Times of steps without any communication, of one or several workers.
    """

    seconds: np.ndarray

    def __post_init__(self):
        seconds = np.sort(np.asarray(self.seconds, dtype=float).ravel())
        if len(seconds) == 0 or not seconds[0] > 0:
            raise ValueError("compute times: need at least one, all above zero")
        object.__setattr__(self, "seconds", seconds)

    @property
    def mean(self):
        """Mean time of one worker, in seconds."""
        return self.largest(1)

    def largest(self, workers):
        """Expected time of the slowest of some workers, which a synchronous step waits for.

        Parameters
        ----------
        workers : int
            How many.

        Returns
        -------
        float
            Seconds.
        """
        # The slowest of W stays below x with the W-th power of one worker's probability.
        u = (np.arange(_SLICES) + 0.5) / _SLICES
        return float(self._quantile_of_rest(-np.expm1(np.log(u) / workers)).mean())

    def draw(self, shape, rng):
        """Random times with this distribution.

        Parameters
        ----------
        shape : int or tuple of int
            How many.
        rng : numpy.random.Generator
            Where the randomness comes from.

        Returns
        -------
        numpy.ndarray
            Seconds.
        """
        return self._quantile_of_rest(rng.uniform(1e-12, 1, shape))

    def scaled(self, factor):
        """The distribution of times that are so many times as long.

        Parameters
        ----------
        factor : float
            By how much.

        Returns
        -------
        ComputeTimes
        """
        return ComputeTimes(self.seconds * factor)

    def _quantile_of_rest(self, above):
        """Times that are exceeded with given probabilities."""
        n = len(self.seconds)
        known = (np.arange(n) + 0.5) / n
        values = np.interp(1 - above, known, self.seconds)
        start = np.interp(_TAIL, known, self.seconds)
        excess = self.seconds[self.seconds > start] - start
        if len(excess) < 2:
            return values
        tail = start - excess.mean() * np.log(np.maximum(above, 1e-300) / (1 - _TAIL))
        return np.where(above < 1 - _TAIL, tail, values)


def expected_largest_normal(number):
    """Expected largest of some standard normal numbers.

    Parameters
    ----------
    number : int
        How many.

    Returns
    -------
    float
    """
    from scipy.special import ndtri

    u = (np.arange(_SLICES) + 0.5) / _SLICES
    return float(-ndtri(-np.expm1(np.log(u) / number)).mean())
