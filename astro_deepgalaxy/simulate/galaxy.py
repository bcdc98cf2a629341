"""A disc galaxy in equilibrium: exponential disc, bulge and live dark halo."""

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from scipy.special import i0e, i1e, k0e, k1e

from .gravity import KPC_PER_MYR, G
from .spheroid import Spheroid, cumulative

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
        In Msun.
    disc_scale : float
        Exponential scale length in kpc.
    disc_height : float
        Height z0 of sech^2(z / z0), in kpc.
    bulge_mass : float
        In Msun.
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
    bulge_scale: float = 0.6
    halo_mass: float = 4e11
    halo_scale: float = 12.0
    halo_truncation: float = 50.0
    toomre_q: float = 1.3

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"Galaxy: {field.name} must be positive and finite; got {value}")

    def scaled(self, mass_ratio):
        """The same galaxy with another mass and the same mean density.

        Parameters
        ----------
        mass_ratio : float
            Factor on all masses; lengths grow as its cube root, times stay.

        Returns
        -------
        Galaxy

        Raises
        ------
        ValueError
            If the ratio is not positive.
        """
        if not (mass_ratio > 0 and math.isfinite(mass_ratio)):
            raise ValueError(f"mass_ratio must be positive and finite; got {mass_ratio}")
        length = mass_ratio ** (1 / 3)
        masses = {name: getattr(self, name) * mass_ratio for name in _MASSES}
        lengths = {name: getattr(self, name) * length for name in _LENGTHS}
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
    def dynamical_time(self):
        """Radius over circular speed at 2.2 disc scale lengths, R / v_c(R), in Myr.

        The disc's own rotation curve peaks there; a full turn takes 2 pi times as long.
        """
        radius = 2.2 * self.disc_scale
        return float(radius / (self.circular_speed(radius) * KPC_PER_MYR))

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

    def sample(self, n_disc, n_bulge, n_halo, rng):
        """Draw particles, at rest in the origin; the disc lies in the xy-plane and turns about z.

        Parameters
        ----------
        n_disc, n_bulge, n_halo : int
            Number of particles of each component, positive.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        Particles

        Raises
        ------
        ValueError
            If a number is not positive.
        """
        numbers = {"n_disc": n_disc, "n_bulge": n_bulge, "n_halo": n_halo}
        for name, n in numbers.items():
            if n < 1:
                raise ValueError(f"{name} must be at least 1; got {n}")
        samples = (
            self._sample_disc(n_disc, rng),
            self._sample_spheroid(self.bulge, n_bulge, rng),
            self._sample_spheroid(self.halo, n_halo, rng),
        )
        counts = list(numbers.values())
        masses = np.divide([self.disc_mass, self.bulge_mass, self.halo_mass], counts)
        masses = np.repeat(masses, counts)
        # Each component on its own is centred and at rest, so that none sloshes in the others.
        return Particles(
            np.concatenate([positions - positions.mean(axis=0) for positions, _ in samples]),
            np.concatenate([velocities - velocities.mean(axis=0) for _, velocities in samples]),
            masses,
            np.repeat([DISC, BULGE, HALO], counts),
            np.zeros(len(masses), int),
        )

    def _disc_enclosed(self, r):
        x = r / self.disc_scale
        return self.disc_mass * -(np.expm1(-x) + x * np.exp(-x))

    def _sample_disc(self, n, rng):
        grid = np.geomspace(1e-3, 8, 2000) * self.disc_scale
        enclosed = self._disc_enclosed(grid)
        radius = np.interp(rng.random(n) * enclosed[-1], enclosed, grid)
        angle = 2 * math.pi * rng.random(n)
        height = self.disc_height * np.arctanh(rng.uniform(-0.9999, 0.9999, n))
        speed2 = self.circular_speed(grid) ** 2
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

    def _sample_spheroid(self, spheroid, n, rng):
        radius = spheroid.sample_radii(n, rng)
        grid, potential, _ = self._relative_potential
        depth = np.interp(radius, grid, potential)
        energies, density = self.distribution_function(spheroid)
        # Draw v from v^2 f(depth - v^2 / 2) by inverting its integral, tabulated on a grid of
        # depths; x is v over the escape speed.
        depths = np.geomspace(depth.min(), depth.max(), 400)
        x = np.linspace(0, 1, 300)
        weight = x**2 * np.interp(depths[:, None] * (1 - x**2), energies, density, left=0)
        integral = cumulative(weight, x)
        integral /= integral[:, -1:]
        levels = np.linspace(0, 1, 500)
        table = np.array([np.interp(levels, row, x) for row in integral])
        at = np.interp(np.log(depth), np.log(depths), np.arange(len(depths)))
        row = np.minimum(at.astype(int), len(depths) - 2)
        column = rng.random(n) * (len(levels) - 1)
        cell = column.astype(int)
        s, t = at - row, column - cell
        fraction = (1 - s) * ((1 - t) * table[row, cell] + t * table[row, cell + 1])
        fraction += s * ((1 - t) * table[row + 1, cell] + t * table[row + 1, cell + 1])
        speed = np.sqrt(2 * depth) * fraction
        return _directions(n, rng) * radius[:, None], _directions(n, rng) * speed[:, None]

    @cached_property
    def _relative_potential(self):
        """Radii, depth of the spherical potential below infinity, and enclosed mass there."""
        r = np.geomspace(1e-4 * self.bulge_scale, 10 * self.halo_truncation, 4000)
        mass = self.bulge.enclosed_mass(r) + self.halo.enclosed_mass(r) + self._disc_enclosed(r)
        inward = cumulative(G * mass / r, np.log(r))
        return r, inward[-1] - inward + G * mass[-1] / r[-1], mass

    def distribution_function(self, spheroid):
        r"""Isotropic distribution function of a spheroid in the galaxy's potential.

        Eddington's formula (Binney & Tremaine 2008, eq. 4.46b),

        .. math:: f(E) = \frac{1}{\sqrt{8}\,\pi^2}
                  \int_0^E \frac{d^2\rho}{d\psi^2} \frac{d\psi}{\sqrt{E - \psi}}

        for a density that vanishes fast enough with the potential.

        Parameters
        ----------
        spheroid : Spheroid
            The bulge or halo.

        Returns
        -------
        energies : numpy.ndarray
            Relative energies in (km/s)^2, increasing.
        density : numpy.ndarray
            Phase-space density there in Msun / (kpc km/s)^3.
        """
        r, psi, mass = self._relative_potential
        rho = spheroid.density(r)
        slope, curvature = spheroid.density_slopes(r)
        # d/dpsi = -(r^2 / G M) d/dr, applied twice.
        growth = np.gradient(np.log(mass), np.log(r))
        second = rho * r**2 / (G * mass) ** 2 * (slope**2 + slope * (1 - growth) + curvature)
        psi, second = psi[::-1], second[::-1]
        energies = psi[:: len(psi) // 400]
        # psi = E - t^2 takes the singularity away.
        t = np.sqrt(energies)[:, None] * (1 - np.linspace(1, 0, 1500) ** 2)
        integrand = 2 * np.interp(energies[:, None] - t**2, psi, second, left=0)
        density = np.trapezoid(integrand, t, axis=1) / (math.sqrt(8) * math.pi**2)
        return energies, np.maximum(density, 0)


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
