"""Two galaxies fall onto each other, pass, return and merge."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from .galaxy import BULGE, Galaxy, Particles
from .gravity import KPC_PER_MYR, G, accelerations
from .history import History

__all__ = ["Encounter", "Snapshot", "State", "integrate", "kepler_start"]

# Shares of disc, bulge and halo in a galaxy's particles.
_SHARES = (0.46, 0.08, 0.46)
_FEWEST = 400


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


def integrate(particles, step, n_steps, softening, opening=0.6):
    """Follow particles under their own gravity by the leapfrog (kick, drift, kick).

    The scheme is symplectic and time-reversible.

    Parameters
    ----------
    particles : Particles
        Where they start.
    step : float
        Time step in Myr; a negative one goes back in time.
    n_steps : int
        Number of steps.
    softening : float
        Plummer softening length in kpc.
    opening : float
        Opening angle of the tree.

    Yields
    ------
    State
        The start and the state after each step: ``n_steps + 1`` in all.
    """
    x, v = particles.positions, particles.velocities
    acceleration, potential = accelerations(x, particles.masses, softening, opening)
    yield State(0.0, x, v, potential)
    for i in range(1, n_steps + 1):
        v_half = v + acceleration * (0.5 * step)
        x = x + v_half * (step * KPC_PER_MYR)
        acceleration, potential = accelerations(x, particles.masses, softening, opening)
        v = v_half + acceleration * (0.5 * step)
        yield State(i * step, x, v, potential)


def kepler_start(mass, separation, pericentre, parabolic_fraction):
    """Relative velocity with which two point masses approach a given pericentre.

    Parameters
    ----------
    mass : float
        Sum of the masses in Msun.
    separation : float
        Distance now, in kpc.
    pericentre : float
        Smallest distance to come, in kpc.
    parabolic_fraction : float
        Speed now over the parabolic speed, sqrt(2 G mass / separation).

    Returns
    -------
    radial, tangential : float
        Components of the velocity in km/s; the radial one is negative, or zero if the two start
        at the apocentre.

    Raises
    ------
    ValueError
        If no orbit of that speed has that pericentre.
    """
    speed2 = parabolic_fraction**2 * 2 * G * mass / separation
    at_pericentre2 = speed2 - 2 * G * mass / separation + 2 * G * mass / pericentre
    tangential2 = at_pericentre2 * (pericentre / separation) ** 2
    if tangential2 > speed2:
        raise ValueError(
            f"no orbit with the speed of {parabolic_fraction} parabolic at {separation} kpc comes "
            f"as close as {pericentre} kpc and not closer; choose a smaller pericentre or a "
            "greater parabolic_fraction"
        )
    return -math.sqrt(speed2 - tangential2), math.sqrt(tangential2)


@dataclass(frozen=True)
class Snapshot:
    """The stars at one time of a run.

    Attributes
    ----------
    time : float
        In Myr since the start of the run.
    positions : numpy.ndarray of float32
        Positions of the stars in kpc, (n, 3).
    offset : numpy.ndarray
        From the primary's centre to the secondary's, in kpc, (3,).
    speed : float
        Relative speed of the two centres in km/s.
    """

    time: float
    positions: np.ndarray
    offset: np.ndarray
    speed: float


@dataclass(frozen=True)
class Encounter:
    """Two disc galaxies on a bound or parabolic orbit.

    The orbit is the one that two points with the galaxies' total masses would follow. It lies
    in the xy-plane and is run through counterclockwise; real halos overlap and brake each other,
    so the true pericentre differs.

    Attributes
    ----------
    primary : Galaxy
        The first galaxy.
    mass_ratio : float
        Mass of the secondary, a scaled copy, over the primary's.
    separation : float
        Distance at the start in kpc.
    pericentre : float
        Pericentre of the two-body orbit in kpc.
    parabolic_fraction : float
        Speed at the start over the parabolic speed, in (0, 1].
    primary_disc, secondary_disc : tuple of float
        Orientation of a disc in degrees: inclination to the orbital plane (0 turns with the
        orbit, 180 against it) and position angle of the line of nodes in that plane.

    Raises
    ------
    ValueError
        If a value is out of range; the message names the field.
    """

    primary: Galaxy = field(default_factory=Galaxy)
    mass_ratio: float = 1.0
    separation: float = 60.0
    pericentre: float = 6.0
    parabolic_fraction: float = 0.8
    primary_disc: tuple[float, float] = (10.0, 0.0)
    secondary_disc: tuple[float, float] = (60.0, 40.0)

    def __post_init__(self):
        for name in ("mass_ratio", "separation", "pericentre", "parabolic_fraction"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"Encounter: {name} must be positive and finite; got {value}")
        if self.parabolic_fraction > 1:
            raise ValueError(
                "Encounter: parabolic_fraction must be at most 1 (the galaxies would not come "
                f"back); got {self.parabolic_fraction}"
            )
        if self.pericentre >= self.separation:
            raise ValueError(
                f"Encounter: pericentre must be smaller than separation ({self.separation} kpc); "
                f"got {self.pericentre}"
            )
        for name in ("primary_disc", "secondary_disc"):
            angles = getattr(self, name)
            if np.shape(angles) != (2,) or not np.isfinite(angles).all():
                raise ValueError(
                    f"Encounter: {name} must be (inclination, node) in degrees; got {angles!r}"
                )
        kepler_start(1.0, self.separation, self.pericentre, self.parabolic_fraction)

    @property
    def secondary(self):
        """The second galaxy."""
        return self.primary.scaled(self.mass_ratio)

    def sample(self, n_particles, rng):
        """Draw the particles of both galaxies at the start of their orbit.

        Parameters
        ----------
        n_particles : int
            Number of particles in all, shared in proportion to the masses.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        Particles
            Their centre of mass rests in the origin.

        Raises
        ------
        ValueError
            If there are fewer than 400 particles.
        """
        if n_particles < _FEWEST:
            raise ValueError(f"n_particles must be at least {_FEWEST}; got {n_particles}")
        galaxies = (self.primary, self.secondary)
        total = sum(galaxy.mass for galaxy in galaxies)
        radial, tangential = kepler_start(
            total, self.separation, self.pericentre, self.parabolic_fraction
        )
        parts = []
        n_primary = round(n_particles / (1 + self.mass_ratio))
        for number, (galaxy, n, disc, side) in enumerate(
            zip(
                galaxies,
                (n_primary, n_particles - n_primary),
                (self.primary_disc, self.secondary_disc),
                (self.secondary.mass / total, -self.primary.mass / total),
                strict=True,
            )
        ):
            n_disc, n_bulge = (max(round(share * n), 1) for share in _SHARES[:2])
            part = galaxy.sample(n_disc, n_bulge, n - n_disc - n_bulge, rng)
            turn = _rotation(*disc)
            parts.append(
                replace(
                    part,
                    positions=part.positions @ turn.T + [side * self.separation, 0, 0],
                    velocities=part.velocities @ turn.T + [side * radial, side * tangential, 0],
                    galaxy=np.full(n, number),
                )
            )
        return Particles.join(parts)

    def run(self, particles, times, step=2.0, softening=0.4, opening=0.6, progress=None):
        """Follow the encounter.

        Parameters
        ----------
        particles : Particles
            From `sample`.
        times : array_like
            Times of the snapshots in Myr since the start, increasing; each is moved to the
            nearest step. The last one ends the run.
        step : float
            Time step in Myr.
        softening : float
            Plummer softening length in kpc.
        opening : float
            Opening angle of the tree.
        progress : callable, optional
            Called without arguments after each step.

        Returns
        -------
        snapshots : list of Snapshot
            One per time.
        history : History
            The orbit and the energy at every step.
        """
        output = [round(time / step) for time in times]
        if not output or output[0] < 0 or any(np.diff(output) <= 0):
            raise ValueError("times must increase from 0 or more by at least one step each")
        bulges = [
            np.flatnonzero((particles.component == BULGE) & (particles.galaxy == number))
            for number in (0, 1)
        ]
        snapshots, track, energy = [], [], []
        for i, state in enumerate(integrate(particles, step, output[-1], softening, opening)):
            (x0, v0), (x1, v1) = (_centre(state, bulge) for bulge in bulges)
            speed = float(np.linalg.norm(v1 - v0))
            track.append((state.time, np.linalg.norm(x1 - x0), speed))
            energy.append(state.energy(particles.masses))
            if i in output:
                stars = state.positions[particles.stars].astype(np.float32)
                snapshots.append(Snapshot(state.time, stars, x1 - x0, speed))
            if progress is not None and i:
                progress()
        return snapshots, History(*np.array(track).T, np.array(energy))


def _centre(state, members):
    """Position and velocity of the densest part of some particles, the nearer half of them."""
    positions = state.positions[members]
    centre = np.median(positions, axis=0)
    for _ in range(4):
        distance2 = ((positions - centre) ** 2).sum(axis=1)
        near = np.argpartition(distance2, len(members) // 2)[: len(members) // 2 + 1]
        centre = positions[near].mean(axis=0)
    return centre, state.velocities[members[near]].mean(axis=0)


def _rotation(inclination, node):
    """Matrix that tilts the z-axis by the inclination about the line of nodes (degrees)."""
    i, w = np.radians([inclination, node])
    tilt = np.array([[1, 0, 0], [0, math.cos(i), -math.sin(i)], [0, math.sin(i), math.cos(i)]])
    turn = np.array([[math.cos(w), -math.sin(w), 0], [math.sin(w), math.cos(w), 0], [0, 0, 1]])
    return turn @ tilt
