"""Spherical density profiles of bulges and halos."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["Spheroid", "cumulative", "stratified"]


@dataclass(frozen=True)
class Spheroid:
    r"""A sphere with an inner cusp of slope -1 and a smooth truncation.

    .. math:: \rho(r) \propto r^{-1} (r + a)^{1-\beta} \exp[-(r / r_t)^2]

    An outer slope of 4 is the profile of Hernquist (1990), 3 that of Navarro, Frenk & White
    (1997).

    Attributes
    ----------
    mass : float
        Total mass in Msun.
    scale : float
        Scale radius a in kpc.
    truncation : float
        Truncation radius in kpc.
    outer_slope : float
        The slope beta of the density outside the scale radius.
    """

    mass: float
    scale: float
    truncation: float
    outer_slope: float

    @cached_property
    def _radii(self):
        return np.geomspace(1e-4 * self.scale, 5 * self.truncation, 4000)

    def _shape(self, r):
        return (
            (r + self.scale) ** (1 - self.outer_slope) / r * np.exp(-((r / self.truncation) ** 2))
        )

    @cached_property
    def _enclosed(self):
        """Mass inside each of `_radii` if the density were `_shape`."""
        r = self._radii
        inside = 2 * math.pi * r[0] ** 3 * self._shape(r[0])
        return inside + cumulative(4 * math.pi * r**3 * self._shape(r), np.log(r))

    def density(self, r):
        """Density.

        Parameters
        ----------
        r : array_like
            Radii in kpc.

        Returns
        -------
        numpy.ndarray
            In Msun / kpc^3.
        """
        return self._shape(np.asarray(r, float)) * (self.mass / self._enclosed[-1])

    def enclosed_mass(self, r):
        """Mass inside a radius.

        Parameters
        ----------
        r : array_like
            Radii in kpc.

        Returns
        -------
        numpy.ndarray
            In Msun.
        """
        r = np.asarray(r, float)
        fraction = np.interp(r, self._radii, self._enclosed) / self._enclosed[-1]
        # Inside the innermost radius of the table the density goes as 1 / r.
        return self.mass * fraction * np.minimum(r / self._radii[0], 1) ** 2

    def density_slopes(self, r):
        """First and second derivative of the logarithm of the density by that of the radius."""
        x = r / (r + self.scale)
        cut = (r / self.truncation) ** 2
        slope = self.outer_slope - 1
        return -1 - slope * x - 2 * cut, -slope * x * (1 - x) - 4 * cut

    def sample_radii(self, n, rng):
        """Random radii that follow the profile (numpy.ndarray in kpc)."""
        return np.interp(stratified(n, rng) * self._enclosed[-1], self._enclosed, self._radii)


def stratified(n, rng):
    """Random numbers in [0, 1), one in each of n equal intervals.

    Radii drawn with them enclose the right mass from the start (a quiet start).

    Parameters
    ----------
    n : int
        How many.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        Increasing, (n,).
    """
    return (np.arange(n) + rng.random(n)) / n


def cumulative(y, x):
    """Integral of y over x from the first point to each, by trapezia along the last axis.

    Parameters
    ----------
    y : numpy.ndarray
        Values, (..., n).
    x : numpy.ndarray
        Where, (n,).

    Returns
    -------
    numpy.ndarray
        As `y`, beginning with 0.
    """
    steps = 0.5 * (y[..., 1:] + y[..., :-1]) * np.diff(x)
    return np.concatenate([np.zeros((*y.shape[:-1], 1)), np.cumsum(steps, axis=-1)], axis=-1)
