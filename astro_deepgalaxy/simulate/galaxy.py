"""A disc galaxy in equilibrium: exponential disc, bulge and live dark halo."""

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from scipy.special import i0e, i1e, k0e, k1e

from .equilibrium import Equilibrium
from .gravity import KPC_PER_MYR, G
from .spheroid import Spheroid, stratified

__all__ = ["BULGE", "DISC", "HALO", "Galaxy", "Particles"]

DISC, BULGE, HALO = 0, 1, 2
"""Values of `Particles.component`."""


@dataclass(frozen=True)
class Particles:
    """The particles of one or more galaxies.

    Attributes
    ----------
    positions : numpy.ndarray
        In kpc, (n, 3).
    velocities : numpy.ndarray
        In km/s, (n, 3).
    masses : numpy.ndarray
        In Msun, (n,).
    component : numpy.ndarray of int
        `DISC`, `BULGE` or `HALO`, (n,).
    galaxy : numpy.ndarray of int
        Number of the galaxy a particle comes from, (n,).
    """

    positions: np.ndarray
    velocities: np.ndarray
    masses: np.ndarray
    component: np.ndarray
    galaxy: np.ndarray

    def __len__(self):
        return len(self.masses)

    @property
    def stars(self):
        """Which particles are stars, those of discs and bulges (numpy.ndarray of bool)."""
        return self.component != HALO

    @classmethod
    def join(cls, parts):
        """All particles of several sets.

        Parameters
        ----------
        parts : iterable of Particles
            The sets.

        Returns
        -------
        Particles
        """
        parts = list(parts)
        return cls(
            **{
                field.name: np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            }
        )


@dataclass(frozen=True)
class Galaxy:
    """A model disc galaxy close to equilibrium; the default is like the Milky Way's inner part.

    The disc is exponential in radius and an isothermal sheet (sech^2) in height. Its velocities
    follow the epicyclic approximation (Hernquist 1993). Those of bulge and halo are isotropic,
    drawn from the distribution function of Eddington (1916) in the potential of the whole
    galaxy, in which the disc is spread over spheres.

    Attributes
    ----------
    disc_mass : float
        In Msun; 0 for a spheroidal galaxy.
    disc_scale : float
        Exponential scale length in kpc.
    disc_height : float
        Height z0 of sech^2(z / z0), in kpc.
    bulge_mass : float
        In Msun; 0 for a galaxy without bulge.
    bulge_scale : float
        Scale radius of the Hernquist profile in kpc.
    halo_mass : float
        In Msun.
    halo_scale : float
        Scale radius of the NFW profile in kpc.
    halo_truncation : float
        Radius in kpc beyond which the halo falls off as a Gaussian.
    toomre_q : float
        Toomre's stability parameter at 2.2 scale lengths.

    Raises
    ------
    ValueError
        If a value is not positive; the message names it.
    """

    disc_mass: float = 4e10
    disc_scale: float = 3.0
    disc_height: float = 0.3
    bulge_mass: float = 8e9
    bulge_scale: float = 0.8
    halo_mass: float = 4e11
    halo_scale: float = 12.0
    halo_truncation: float = 50.0
    toomre_q: float = 1.5

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            absent = field.name in ("disc_mass", "bulge_mass") and value == 0
            if not (value > 0 and math.isfinite(value)) and not absent:
                raise ValueError(f"Galaxy: {field.name} must be positive and finite; got {value}")
        if self.disc_mass == self.bulge_mass == 0:
            raise ValueError("Galaxy: disc_mass and bulge_mass are both 0: there is nothing to see")

    def scaled(self, mass_ratio, size_ratio=None):
        """The same galaxy with another mass and size.

        Parameters
        ----------
        mass_ratio : float
            Factor on all masses.
        size_ratio : float, optional
            Factor on all lengths; by default the cube root of the mass ratio, which keeps
            densities and times.

        Returns
        -------
        Galaxy

        Raises
        ------
        ValueError
            If a ratio is not positive.
        """
        if size_ratio is None and mass_ratio > 0:
            size_ratio = mass_ratio ** (1 / 3)
        for name, value in (("mass_ratio", mass_ratio), ("size_ratio", size_ratio)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite; got {value}")
        masses = {name: getattr(self, name) * mass_ratio for name in _MASSES}
        lengths = {name: getattr(self, name) * size_ratio for name in _LENGTHS}
        return replace(self, **masses, **lengths)

    @property
    def mass(self):
        """Total mass in Msun."""
        return self.disc_mass + self.bulge_mass + self.halo_mass

    @cached_property
    def bulge(self):
        """The bulge as a `Spheroid`, truncated at 20 scale radii."""
        return Spheroid(self.bulge_mass, self.bulge_scale, 20 * self.bulge_scale, 4)

    @cached_property
    def halo(self):
        """The halo as a `Spheroid`."""
        return Spheroid(self.halo_mass, self.halo_scale, self.halo_truncation, 3)

    @property
    def radius(self):
        """Radius of the stars in kpc (float): 2.2 disc scale lengths.

        The disc's own rotation curve peaks there. For a galaxy without a disc, it is the half-mass
        radius of the spheroid.
        """
        # Half of a Hernquist sphere's mass lies within (1 + sqrt(2)) scale radii.
        return 2.2 * self.disc_scale if self.disc_mass else (1 + 2**0.5) * self.bulge_scale

    @property
    def dynamical_time(self):
        """`radius` over the circular speed there in Myr (float): a turn over 2 pi."""
        return float(self.radius / (self.circular_speed(self.radius) * KPC_PER_MYR))

    def crossing_time(self, softening):
        """Radius over circular speed near the centre, in Myr: time steps must be shorter.

        Parameters
        ----------
        softening : float
            Plummer softening length in kpc.

        Returns
        -------
        float
        """
        core = self.bulge_scale if self.bulge_mass else 0.5 * self.disc_scale
        radius = math.hypot(core, softening)
        mass = self.bulge.enclosed_mass(radius) + self.halo.enclosed_mass(radius)
        mass += self.disc_enclosed_mass(radius)
        speed = math.sqrt(G * mass * radius**2 / (radius**2 + softening**2) ** 1.5)
        return radius / (speed * KPC_PER_MYR)

    def circular_speed(self, radius):
        """Circular speed in the plane of the disc.

        The disc counts as thin (Freeman 1970, ApJ 160, 811).

        Parameters
        ----------
        radius : array_like
            In kpc, positive.

        Returns
        -------
        numpy.ndarray
            In km/s.
        """
        radius = np.asarray(radius, float)
        y = radius / (2 * self.disc_scale)
        disc = 2 * G * self.disc_mass / self.disc_scale * y**2 * (i0e(y) * k0e(y) - i1e(y) * k1e(y))
        spheres = self.bulge.enclosed_mass(radius) + self.halo.enclosed_mass(radius)
        return np.sqrt(disc + G * spheres / radius)

    def sample(self, n_disc, n_bulge, n_halo, rng, softening=0.0):
        """Draw particles, at rest in the origin; the disc lies in the xy-plane and turns about z.

        Parameters
        ----------
        n_disc, n_bulge, n_halo : int
            Number of particles of each component: positive, or 0 for one without mass.
        rng : numpy.random.Generator
            Source of randomness.
        softening : float
            Plummer softening length in kpc with which the particles will attract each other.

        Returns
        -------
        Particles

        Raises
        ------
        ValueError
            If a number is not positive.
        """
        counts = {"disc": n_disc, "bulge": n_bulge, "halo": n_halo}
        for name, n in counts.items():
            if (n < 1) != (getattr(self, f"{name}_mass") == 0):
                raise ValueError(
                    f"n_{name} must be at least 1, or 0 for a galaxy with {name}_mass 0; got {n}"
                )
        equilibrium = Equilibrium(self, softening)
        samples, masses = [], []
        for name, n in counts.items():
            if n == 0:
                continue
            if name == "disc":
                positions, velocities = self._sample_disc(n, equilibrium, rng)
            else:
                spheroid = getattr(self, name)
                radius = spheroid.sample_radii(n, rng)
                speed = equilibrium.draw_speeds(spheroid, radius, rng)
                positions = _directions(n, rng) * radius[:, None]
                velocities = _directions(n, rng) * speed[:, None]
            # Each component is centred and at rest, so that none sloshes in the others.
            samples.append(
                (positions - positions.mean(axis=0), velocities - velocities.mean(axis=0))
            )
            masses.append(np.full(n, getattr(self, f"{name}_mass") / n))
        positions, velocities = (np.concatenate(vectors) for vectors in zip(*samples, strict=True))
        component = np.repeat([DISC, BULGE, HALO], list(counts.values()))
        return Particles(
            positions, velocities, np.concatenate(masses), component, np.zeros(len(component), int)
        )

    def disc_enclosed_mass(self, radius):
        """Mass of the disc within a radius.

        Parameters
        ----------
        radius : array_like
            In kpc.

        Returns
        -------
        numpy.ndarray
            In Msun.
        """
        x = np.asarray(radius, float) / self.disc_scale
        return self.disc_mass * -(np.expm1(-x) + x * np.exp(-x))

    def _sample_disc(self, n, equilibrium, rng):
        grid = np.geomspace(1e-3, 8, 600) * self.disc_scale
        enclosed = self.disc_enclosed_mass(grid)
        radius = np.interp(stratified(n, rng) * enclosed[-1], enclosed, grid)
        angle = 2 * math.pi * rng.random(n)
        height = self.disc_height * np.arctanh(rng.uniform(-0.9999, 0.9999, n))
        speed2 = equilibrium.circular_speed(grid) ** 2
        omega2 = speed2 / grid**2
        kappa2 = np.gradient(omega2, np.log(grid)) + 4 * omega2
        surface = (
            self.disc_mass / (2 * math.pi * self.disc_scale**2) * np.exp(-grid / self.disc_scale)
        )
        # The radial dispersion falls with half the slope of the density (van der Kruit & Searle
        # 1981), flattened in the centre and normalised by Toomre's Q.
        profile = np.exp(-np.hypot(grid, 0.5 * self.disc_scale) / (2 * self.disc_scale))
        reference = np.argmin(np.abs(grid - 2.2 * self.disc_scale))
        normal = self.toomre_q * 3.36 * G * surface[reference] / math.sqrt(kappa2[reference])
        radial2 = np.minimum((normal * profile / profile[reference]) ** 2, 0.5 * speed2)
        ratio = np.clip(kappa2 / (4 * omega2), 0.25, 1)
        vertical2 = math.pi * G * surface * self.disc_height
        # Asymmetric drift, from the Jeans equation (Binney & Tremaine 2008, eq. 4.227).
        slope = np.gradient(np.log(surface * radial2), np.log(grid))
        mean = np.sqrt(np.maximum(speed2 + radial2 * (1 - ratio + slope), 0))
        v_radial = rng.normal(size=n) * np.sqrt(np.interp(radius, grid, radial2))
        v_angle = np.interp(radius, grid, mean)
        v_angle += rng.normal(size=n) * np.sqrt(np.interp(radius, grid, radial2 * ratio))
        v_height = rng.normal(size=n) * np.sqrt(np.interp(radius, grid, vertical2))
        cos, sin = np.cos(angle), np.sin(angle)
        return (
            np.column_stack([radius * cos, radius * sin, height]),
            np.column_stack(
                [v_radial * cos - v_angle * sin, v_radial * sin + v_angle * cos, v_height]
            ),
        )


_MASSES = ("disc_mass", "bulge_mass", "halo_mass")
_LENGTHS = (
    "disc_scale",
    "disc_height",
    "bulge_scale",
    "halo_scale",
    "halo_truncation",
)


def _directions(n, rng):
    vectors = rng.normal(size=(n, 3))
    return vectors / np.linalg.norm(vectors, axis=1)[:, None]
