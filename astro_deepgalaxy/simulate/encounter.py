"""What is simulated: two galaxies on an orbit, or what only looks like a merger."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from .galaxy import Galaxy, Particles
from .orbit import kepler_start, pericentre_angle

__all__ = ["PARTICLE_SHARES", "ChancePair", "Encounter", "Isolated", "particle_counts"]

PARTICLE_SHARES = {"disc": 0.3, "bulge": 0.06, "halo": 0.64}
"""Shares of a galaxy's components in its particles."""

_FEWEST = 400
_FEWEST_OF_A_KIND = 3  # of the particles in disc, bulge or halo
_APART = 1000.0  # kpc between the galaxies of a chance pair: a pull of 1 km/s in a run


@dataclass(frozen=True)
class Encounter:
    """Two galaxies on an orbit around each other.

    The orbit is the one that two points with the galaxies' total masses would follow. It lies
    in the xy-plane and is run through counterclockwise; real halos overlap and brake each other,
    so the true pericentre differs. Discs are oriented as by Toomre & Toomre (1972).

    Attributes
    ----------
    primary : Galaxy
        The first galaxy.
    mass_ratio : float
        Mass of the secondary, a scaled copy, over the primary's.
    size_ratio : float, optional
        Its size over the primary's; by default the cube root of the mass ratio.
    separation : float
        Distance at the start in kpc.
    pericentre : float
        Pericentre of the two-body orbit in kpc.
    parabolic_fraction : float
        Speed at the start over the parabolic speed; above 1 the orbit is hyperbolic.
    primary_inclination, secondary_inclination : float
        Inclination of a disc to the orbital plane in degrees: 0 turns with the orbit (prograde),
        180 against it (retrograde).
    primary_argument, secondary_argument : float
        Argument of the pericentre in degrees: the angle in the orbital plane from the ascending
        node of the disc to the companion's direction at pericentre.

    Raises
    ------
    ValueError
        If a value is out of range; the message names the field.
    """

    primary: Galaxy = field(default_factory=Galaxy)
    mass_ratio: float = 1.0
    size_ratio: float | None = None
    separation: float = 60.0
    pericentre: float = 6.0
    parabolic_fraction: float = 0.8
    primary_inclination: float = 10.0
    primary_argument: float = 0.0
    secondary_inclination: float = 60.0
    secondary_argument: float = 40.0

    def __post_init__(self):
        _check_positive(self, "mass_ratio", "separation", "pericentre", "parabolic_fraction")
        if self.size_ratio is None:
            object.__setattr__(self, "size_ratio", self.mass_ratio ** (1 / 3))
        _check_positive(self, "size_ratio")
        if self.pericentre >= self.separation:
            raise ValueError(
                f"pericentre must be smaller than separation ({self.separation} kpc), where the "
                f"galaxies start; got {self.pericentre} kpc"
            )
        for name in (f"{which}_{angle}" for which in _WHICH for angle in _ANGLES):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, in degrees; got {getattr(self, name)}")
        kepler_start(1.0, self.separation, self.pericentre, self.parabolic_fraction)

    @property
    def galaxies(self):
        """The primary and the secondary (tuple of Galaxy)."""
        return self.primary, self.primary.scaled(self.mass_ratio, self.size_ratio)

    def sample(self, n_particles, rng, softening=0.0):
        """Draw the particles of both galaxies at the start of their orbit.

        Parameters
        ----------
        n_particles : int
            Number of particles in all, shared in proportion to the masses.
        rng : numpy.random.Generator
            Source of randomness.
        softening : float
            Plummer softening length in kpc with which they will attract each other.

        Returns
        -------
        Particles
            Their centre of mass rests in the origin.

        Raises
        ------
        ValueError
            If there are fewer than 400 particles.
        """
        total = sum(galaxy.mass for galaxy in self.galaxies)
        velocity = kepler_start(total, self.separation, self.pericentre, self.parabolic_fraction)
        # The primary starts on the positive x-axis; the way to the secondary points backwards.
        to_pericentre = 180 + pericentre_angle(total, self.separation, *velocity)
        parts = []
        for number, part in enumerate(_sample(self.galaxies, n_particles, rng, softening)):
            node = to_pericentre + 180 * number - getattr(self, f"{_WHICH[number]}_argument")
            turn = _rotation(getattr(self, f"{_WHICH[number]}_inclination"), node)
            side = (1 - 2 * number) * self.galaxies[1 - number].mass / total
            parts.append(
                replace(
                    part,
                    positions=part.positions @ turn.T + [side * self.separation, 0, 0],
                    velocities=part.velocities @ turn.T + [*(side * v for v in velocity), 0],
                )
            )
        return Particles.join(parts)


@dataclass(frozen=True)
class Isolated:
    """One galaxy on its own.

    Attributes
    ----------
    primary : Galaxy
        The galaxy.
    """

    primary: Galaxy = field(default_factory=Galaxy)

    @property
    def galaxies(self):
        """The galaxy (tuple of one Galaxy)."""
        return (self.primary,)

    def sample(self, n_particles, rng, softening=0.0):
        """Draw the particles at rest in the origin; see `Encounter.sample`."""
        return Particles.join(_sample(self.galaxies, n_particles, rng, softening))


@dataclass(frozen=True)
class ChancePair:
    """Two galaxies that have nothing to do with each other, one behind the other.

    They are simulated far apart; the cameras then see the second one beside the first, smaller
    and fainter by its greater distance.

    Attributes
    ----------
    primary : Galaxy
        The first galaxy.
    mass_ratio : float
        Mass of the secondary, a scaled copy, over the primary's.
    size_ratio : float, optional
        Its size over the primary's; by default the cube root of the mass ratio.
    distance_ratio : float
        Distance of the secondary from the observer over the primary's.
    apparent_separation : float
        Distance between the two in the image, in kpc at the distance of the primary.
    secondary_inclination, secondary_argument : float
        Orientation of the second disc in degrees: its inclination to the plane of the first and
        the direction of the line of nodes.

    Raises
    ------
    ValueError
        If a value is out of range; the message names the field.
    """

    primary: Galaxy = field(default_factory=Galaxy)
    mass_ratio: float = 1.0
    size_ratio: float | None = None
    distance_ratio: float = 1.3
    apparent_separation: float = 20.0
    secondary_inclination: float = 60.0
    secondary_argument: float = 40.0

    def __post_init__(self):
        _check_positive(self, "mass_ratio", "distance_ratio", "apparent_separation")
        if self.size_ratio is None:
            object.__setattr__(self, "size_ratio", self.mass_ratio ** (1 / 3))
        _check_positive(self, "size_ratio")

    galaxies = Encounter.galaxies

    def sample(self, n_particles, rng, softening=0.0):
        """Draw the particles, the galaxies far apart; see `Encounter.sample`."""
        first, second = _sample(self.galaxies, n_particles, rng, softening)
        turn = _rotation(self.secondary_inclination, self.secondary_argument)
        second = replace(
            second,
            positions=second.positions @ turn.T + [_APART, 0, 0],
            velocities=second.velocities @ turn.T,
        )
        return Particles.join([first, second])


_WHICH = ("primary", "secondary")
_ANGLES = ("inclination", "argument")


def _check_positive(owner, *names):
    for name in names:
        value = getattr(owner, name)
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be positive and finite; got {value}")


def _sample(galaxies, n_particles, rng, softening):
    """Particles of each galaxy at rest in the origin; numbers in proportion to the masses."""
    parts = []
    counts = particle_counts(galaxies, n_particles)
    for number, (galaxy, n) in enumerate(zip(galaxies, counts, strict=True)):
        part = galaxy.sample(*n, rng, softening)
        parts.append(replace(part, galaxy=np.full(len(part), number)))
    return parts


def particle_counts(galaxies, n_particles):
    """Numbers of particles that stand for galaxies, in proportion to their masses.

    Parameters
    ----------
    galaxies : sequence of Galaxy
        The galaxies.
    n_particles : int
        Number of particles in all.

    Returns
    -------
    list of list of int
        Disc, bulge and halo of each galaxy.

    Raises
    ------
    ValueError
        If there are fewer than 400 particles, or too few for the lightest galaxy.
    """
    if n_particles < _FEWEST:
        raise ValueError(f"particles must be at least {_FEWEST}; got {n_particles}")
    total = sum(galaxy.mass for galaxy in galaxies)
    left = n_particles
    found = []
    for number, galaxy in enumerate(galaxies):
        last = number == len(galaxies) - 1
        n = left if last else round(n_particles * galaxy.mass / total)
        left -= n
        shares = [
            share if getattr(galaxy, f"{name}_mass") else 0.0
            for name, share in PARTICLE_SHARES.items()
        ]
        disc, bulge, _ = (round(n * share / sum(shares)) for share in shares)
        counts = [disc, bulge, n - disc - bulge]
        for count, share in zip(counts, shares, strict=True):
            if share and count < _FEWEST_OF_A_KIND:
                raise ValueError(
                    f"particles must be more than {n_particles}: a galaxy of {galaxy.mass:.3g} "
                    f"Msun among {total:.3g} has only {n}"
                )
        found.append(counts)
    return found


def _rotation(inclination, node):
    """Matrix that tilts the z-axis by the inclination about the line of nodes (degrees)."""
    i, w = np.radians([inclination, node])
    tilt = np.array([[1, 0, 0], [0, math.cos(i), -math.sin(i)], [0, math.sin(i), math.cos(i)]])
    turn = np.array([[math.cos(w), -math.sin(w), 0], [math.sin(w), math.cos(w), 0], [0, 0, 1]])
    return turn @ tilt
