"""The course of an encounter: pericentres, coalescence and stages."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.signal import find_peaks

from ..labels import STAGES

__all__ = ["History"]

_FIRST_PASSAGE = 30.0  # Myr, as in the definition of the stages
_COALESCED_FOR = 30.0  # Myr
# By which the separation must rise again for a pericentre: what ripples in the tracked centres of
# few particles do not reach.
_PROMINENCE = 1.0  # kpc
_RELATIVE_PROMINENCE = 0.1


@dataclass(frozen=True)
class History:
    """How a run went, step by step.

    Attributes
    ----------
    times : numpy.ndarray
        In Myr since the start, (n,).
    separation : numpy.ndarray
        Distance of the two centres in kpc, (n,).
    speed : numpy.ndarray
        Relative speed of the two centres in km/s, (n,).
    energy : numpy.ndarray
        Total energy in Msun (km/s)^2, (n,).
    offset : numpy.ndarray, optional
        From the primary's centre to the secondary's in kpc, (n, 3).
    energy_scale : float, optional
        What changes of the energy are compared to; by default its first value.
    near : float
        Separation in kpc below which the centres count as coalesced, if they are slow.
    slow : float
        Relative speed in km/s below which they do, if they are near.
    """

    times: np.ndarray
    separation: np.ndarray
    speed: np.ndarray
    energy: np.ndarray
    offset: np.ndarray | None = None
    energy_scale: float | None = None
    near: float = 2.5
    slow: float = 150.0

    @property
    def energy_drift(self):
        """Largest departure of the total energy from its first value, over `energy_scale`."""
        scale = abs(self.energy_scale or self.energy[0])
        return float(np.abs(self.energy - self.energy[0]).max() / scale)

    @property
    def first_pericentre(self):
        """Time of the first pericentre in Myr, between the steps; NaN if there is none."""
        return self._pericentre(0)

    @property
    def second_pericentre(self):
        """Time of the return to the second pericentre in Myr; NaN if there is none."""
        return self._pericentre(1)

    @property
    def coalescence(self):
        """Time of coalescence in Myr, between the steps; NaN if the run ends before.

        From then on, for 30 Myr at least, the centres are both nearer and slower than `near` and
        `slow`. Whether some particles let them slosh a little later does not matter.
        """
        # Above 1 the centres are apart; a galaxy without companion has no separation.
        apart = np.maximum(self.separation / self.near, self.speed / self.slow)
        far = [-1, *np.flatnonzero(~(apart <= 1)), len(apart)]
        for last, following in itertools.pairwise(far):
            together = last + 1
            if together == following:
                continue
            time = self.times[together]
            if together > 0:
                fraction = (apart[last] - 1) / (apart[last] - apart[together])
                time = self.times[last] + fraction * (time - self.times[last])
            if self.times[following - 1] - time >= _COALESCED_FOR:
                return float(time)
        return math.nan

    def stage(self, time):
        """Stage of the merger, one of `~astro_deepgalaxy.labels.STAGES`.

        Parameters
        ----------
        time : float
            In Myr since the start of the run.

        Returns
        -------
        str
            Empty for a galaxy without companion.
        """
        if np.isnan(self.separation).all():
            return ""
        approaching, first_passage, separated, coalescing, merged = STAGES
        since_first = time - self.first_pericentre
        if time >= self.coalescence:
            return merged
        if math.isnan(since_first) or since_first < -_FIRST_PASSAGE:
            return approaching
        if since_first <= _FIRST_PASSAGE:
            return first_passage
        if time >= self.second_pericentre:
            return coalescing
        return separated

    def _pericentre(self, number):
        minima, found = find_peaks(-self.separation, prominence=_PROMINENCE)
        minima = minima[found["prominences"] > _RELATIVE_PROMINENCE * self.separation[minima]]
        if number >= len(minima):
            return math.nan
        # Close to a pericentre the square of the separation is a parabola in time.
        near = slice(max(minima[number] - 2, 0), minima[number] + 3)
        times = self.times[near] - self.times[minima[number]]
        curvature, slope, _ = np.polyfit(times, self.separation[near] ** 2, 2)
        shift = -slope / (2 * curvature) if curvature > 0 else 0.0
        return float(self.times[minima[number]] + np.clip(shift, times[0], times[-1]))
