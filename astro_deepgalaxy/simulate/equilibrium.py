"""The potential of a galaxy, as its softened particles make it, and the velocities in it."""

import math

import numpy as np
from scipy.special import j1

from .gravity import G
from .spheroid import cumulative

__all__ = ["Equilibrium"]


class Equilibrium:
    """The potential of a galaxy whose particles attract each other with a softened force.

    Velocities drawn in it keep a galaxy of particles as it is; those drawn in the potential
    without softening would let the centre expand.

    Parameters
    ----------
    galaxy : Galaxy
        The model.
    softening : float
        Plummer softening length in kpc; 0 for none.

    Attributes
    ----------
    radii : numpy.ndarray
        Radii in kpc, increasing, (n,).
    depth : numpy.ndarray
        Depth of the potential below infinity there, in (km/s)^2, the disc being spread over
        spheres.
    attracting_mass : numpy.ndarray
        Mass in Msun that, without softening, would attract as much there.
    """

    def __init__(self, galaxy, softening=0.0):
        self.galaxy = galaxy
        self.softening = softening
        smallest = 1e-4 * (galaxy.bulge_scale if galaxy.bulge_mass else galaxy.disc_scale)
        self.radii = np.geomspace(smallest, 10 * galaxy.halo_truncation, _RADII)
        spheres = galaxy.bulge.enclosed_mass(self.radii) + galaxy.halo.enclosed_mass(self.radii)
        self._spheres = self._attraction(spheres)[1]
        self.depth, inward = self._attraction(spheres + galaxy.disc_enclosed_mass(self.radii))
        self.attracting_mass = inward * self.radii**2 / G

    def _attraction(self, mass):
        """Depth of the potential and inward force of concentric shells.

        A shell of radius s and mass m has, averaged over it, the softened potential
        -2 G m / (A + B) with A, B = sqrt((r +- s)^2 + softening^2).
        """
        # The innermost mass acts as one more shell, far inside.
        edges = np.concatenate([[0], self.radii])
        shells = np.diff(np.concatenate([[0], mass]))
        s = np.sqrt(edges[1:] * np.maximum(edges[:-1], edges[1] ** 2 / edges[2]))
        r = self.radii[:, np.newaxis]
        outer = np.sqrt((r + s) ** 2 + self.softening**2)
        inner = np.sqrt((r - s) ** 2 + self.softening**2)
        both = outer + inner
        depth = 2 * G * (shells / both).sum(axis=1)
        slopes = (r + s) / outer + (r - s) / inner
        return depth, 2 * G * (shells * slopes / both**2).sum(axis=1)

    def circular_speed(self, radius):
        """Circular speed in the disc.

        The disc has its thickness: as much as the force is softened by it and by the softening
        length (from the Hankel transform of the potential; Binney & Tremaine 2008, sect. 2.6.2).

        Parameters
        ----------
        radius : numpy.ndarray
            In kpc, (n,), within eight scale lengths of the disc.

        Returns
        -------
        numpy.ndarray
            In km/s.
        """
        galaxy = self.galaxy
        k = np.arange(0.5, 60 * _PER_SCALE) / _PER_SCALE / galaxy.disc_scale
        height = galaxy.disc_height * np.arctanh(np.linspace(-1, 1, 42)[1:-1])
        distance = np.hypot(np.subtract.outer(height, height).ravel(), self.softening)
        thickness = np.array([np.exp(-each * distance).mean() for each in k])
        surface = galaxy.disc_mass * thickness / (1 + (k * galaxy.disc_scale) ** 2) ** 1.5
        inward = G * j1(np.multiply.outer(radius, k)) @ (k * surface) * (k[1] - k[0])
        return np.sqrt(radius * (inward + np.interp(radius, self.radii, self._spheres)))

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
        r, mass = self.radii, self.attracting_mass
        rho = spheroid.density(r)
        slope, curvature = spheroid.density_slopes(r)
        # d/dpsi = -(r^2 / G M) d/dr, applied twice.
        growth = np.gradient(np.log(mass), np.log(r))
        second = rho * r**2 / (G * mass) ** 2 * (slope**2 + slope * (1 - growth) + curvature)
        psi, second = self.depth[::-1], second[::-1]
        energies = psi[:: len(psi) // 400]
        # psi = E - t^2 takes the singularity away.
        t = np.sqrt(energies)[:, None] * (1 - np.linspace(1, 0, 1500) ** 2)
        integrand = 2 * np.interp(energies[:, None] - t**2, psi, second, left=0)
        density = np.trapezoid(integrand, t, axis=1) / (math.sqrt(8) * math.pi**2)
        return energies, np.maximum(density, 0)

    def draw_speeds(self, spheroid, radius, rng):
        """Random speeds of a spheroid's particles.

        Parameters
        ----------
        spheroid : Spheroid
            The bulge or halo.
        radius : numpy.ndarray
            Distances of the particles from the centre in kpc, (n,).
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        numpy.ndarray
            In km/s, (n,).
        """
        depth = np.interp(radius, self.radii, self.depth)
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
        column = rng.random(len(radius)) * (len(levels) - 1)
        cell = column.astype(int)
        s, t = at - row, column - cell
        fraction = (1 - s) * ((1 - t) * table[row, cell] + t * table[row, cell + 1])
        fraction += s * ((1 - t) * table[row + 1, cell] + t * table[row + 1, cell + 1])
        return np.sqrt(2 * depth) * fraction


_RADII = 2000
_PER_SCALE = 25  # wave numbers per inverse scale length
