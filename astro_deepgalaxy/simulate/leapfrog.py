"""Particles move under their own gravity."""

from dataclasses import dataclass

import numpy as np

from .gravity import KPC_PER_MYR, accelerations

__all__ = ["State", "integrate"]


@dataclass(frozen=True)
class State:
    """Particles at one time of an integration.

    Attributes
    ----------
    time : float
        In Myr since the start.
    positions : numpy.ndarray
        In kpc, (n, 3).
    velocities : numpy.ndarray
        In km/s, (n, 3), at the same time as the positions.
    potential : numpy.ndarray
        In (km/s)^2, (n,).
    """

    time: float
    positions: np.ndarray
    velocities: np.ndarray
    potential: np.ndarray

    def energy(self, masses):
        """Kinetic plus potential energy in Msun (km/s)^2.

        Parameters
        ----------
        masses : numpy.ndarray
            In Msun, (n,).

        Returns
        -------
        float
        """
        return 0.5 * float((masses * ((self.velocities**2).sum(axis=1) + self.potential)).sum())


def integrate(particles, step, n_steps, softening, opening=0.6, start=0):
    """Follow particles under their own gravity by the leapfrog (kick, drift, kick).

    The scheme is symplectic and time-reversible.

    Parameters
    ----------
    particles : Particles
        Where they start.
    step : float
        Time step in Myr; a negative one goes back in time.
    n_steps : int
        Number of steps, with those done before.
    softening : float
        Plummer softening length in kpc.
    opening : float
        Opening angle of the tree.
    start : int
        Number of steps done before. A run that goes on from a state of another is the same to
        the last bit.

    Yields
    ------
    State
        The start and the state after each step.
    """
    x, v = particles.positions, particles.velocities
    acceleration, potential = accelerations(x, particles.masses, softening, opening)
    yield State(start * step, x, v, potential)
    for i in range(start + 1, n_steps + 1):
        v_half = v + acceleration * (0.5 * step)
        x = x + v_half * (step * KPC_PER_MYR)
        acceleration, potential = accelerations(x, particles.masses, softening, opening)
        v = v_half + acceleration * (0.5 * step)
        yield State(i * step, x, v, potential)
