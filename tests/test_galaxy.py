"""The model galaxy against analytic profiles, and left alone for a while."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from astro_deepgalaxy.simulate.equilibrium import Equilibrium
from astro_deepgalaxy.simulate.galaxy import BULGE, DISC, HALO, Galaxy
from astro_deepgalaxy.simulate.gravity import KPC_PER_MYR, G, accelerations, direct_accelerations
from astro_deepgalaxy.simulate.leapfrog import integrate
from astro_deepgalaxy.simulate.spheroid import Spheroid


@pytest.fixture(scope="module")
def galaxy():
    return Galaxy()


@pytest.fixture(scope="module")
def particles(galaxy):
    return galaxy.sample(8000, 2000, 10_000, np.random.default_rng(1))


def test_hernquist_sphere_without_truncation():
    sphere = Spheroid(1e10, 0.7, 1e5, 4)
    r = np.array([1e-6, 0.1, 0.7, 3.0, 40.0])
    np.testing.assert_allclose(sphere.enclosed_mass(r), 1e10 * (r / (r + 0.7)) ** 2, rtol=1e-3)
    density = 1e10 * 0.7 / (2 * math.pi * r * (r + 0.7) ** 3)
    np.testing.assert_allclose(sphere.density(r), density, rtol=1e-3)


def test_halo_mass_is_the_integral_of_its_density(galaxy):
    for radius in (1.0, 12.0, 80.0):
        mass, _ = quad(lambda r: 4 * math.pi * r**2 * galaxy.halo.density(r), 0, radius)
        assert galaxy.halo.enclosed_mass(radius) == pytest.approx(mass, rel=1e-4)
    assert galaxy.halo.enclosed_mass(1e4) == pytest.approx(galaxy.halo_mass)


def test_slopes_are_derivatives_of_the_density(galaxy):
    r = np.geomspace(0.1, 60, 400)
    log_r, log_rho = np.log(r), np.log(galaxy.halo.density(r))
    slope, curvature = galaxy.halo.density_slopes(r)
    inner = slice(5, -5)
    np.testing.assert_allclose(np.gradient(log_rho, log_r)[inner], slope[inner], rtol=1e-3)
    np.testing.assert_allclose(np.gradient(slope, log_r)[inner], curvature[inner], rtol=2e-3)


def test_distribution_function_of_a_hernquist_sphere():
    # Alone, a Hernquist sphere has the closed distribution function of Hernquist (1990, eq. 17).
    mass, scale = 1e10, 1.0
    galaxy = Galaxy(
        disc_mass=1.0,
        halo_mass=1.0,
        halo_truncation=1e5,
        bulge_mass=mass,
        bulge_scale=scale,
    )
    vars(galaxy)["bulge"] = sphere = Spheroid(mass, scale, 1e5, 4)
    energies, found = Equilibrium(galaxy).distribution_function(sphere)
    q2 = energies * scale / (G * mass)
    usual = (q2 > 0.05) & (q2 < 0.97)
    q = np.sqrt(q2[usual])
    speed = math.sqrt(G * mass / scale)
    expected = mass / (8 * math.sqrt(2) * (math.pi * scale * speed) ** 3)
    expected *= (1 - q**2) ** -2.5
    expected *= 3 * np.arcsin(q) + q * np.sqrt(1 - q**2) * (1 - 2 * q**2) * (
        8 * q**4 - 8 * q**2 - 3
    )
    np.testing.assert_allclose(found[usual], expected, rtol=0.01)


def test_distribution_functions_are_positive(galaxy):
    for spheroid in (galaxy.bulge, galaxy.halo):
        energies, density = Equilibrium(galaxy).distribution_function(spheroid)
        assert (np.diff(energies) > 0).all()
        assert (density[20:] > 0).all()


def test_rotation_curve_is_the_force_of_the_particles():
    # Rings of test particles around a well-sampled galaxy, thin as the formula has it, feel
    # v_c^2 / R on average.
    galaxy = Galaxy(disc_height=0.02)
    source = galaxy.sample(20_000, 3000, 20_000, np.random.default_rng(2))
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    outward = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(200)])
    for radius in (4.0, 8.0, 15.0):
        x = np.concatenate([source.positions, radius * outward])
        m = np.concatenate([source.masses, np.full(200, 1e-3)])
        acceleration, _ = accelerations(x, m, 0.05, 0.3)
        inward = -(acceleration[-200:] * outward).sum(axis=1).mean()
        speed = math.sqrt(inward * radius / KPC_PER_MYR)
        assert speed == pytest.approx(galaxy.circular_speed(radius), rel=0.02)


def test_particles_follow_the_profiles(galaxy, particles):
    radius = np.linalg.norm(particles.positions, axis=1)
    for component, spheroid in ((BULGE, galaxy.bulge), (HALO, galaxy.halo)):
        r = radius[particles.component == component]
        for at in np.percentile(r, [25, 50, 75]):
            share = spheroid.enclosed_mass(at) / spheroid.mass
            assert (r < at).mean() == pytest.approx(share, abs=0.04)
    disc = particles.component == DISC
    across = np.hypot(*particles.positions[disc, :2].T) / galaxy.disc_scale
    for at in (0.5, 1.7, 3.0):
        share = 1 - (1 + at) * math.exp(-at)
        assert (across < at).mean() == pytest.approx(share, abs=0.02)
    # sech^2 has a mean square height of pi^2 z0^2 / 12.
    height = particles.positions[disc, 2].std()
    assert height == pytest.approx(galaxy.disc_height * math.pi / math.sqrt(12), rel=0.05)


def test_masses_and_rest(galaxy, particles):
    for component, mass in (
        (DISC, galaxy.disc_mass),
        (BULGE, galaxy.bulge_mass),
        (HALO, galaxy.halo_mass),
    ):
        assert particles.masses[particles.component == component].sum() == pytest.approx(mass)
    assert particles.masses.sum() == pytest.approx(galaxy.mass)
    for vectors in (particles.positions, particles.velocities):
        np.testing.assert_allclose(
            np.average(vectors, axis=0, weights=particles.masses), 0, atol=1e-9
        )
    assert (particles.stars == (particles.component != HALO)).all()


def test_disc_turns_counterclockwise_below_the_circular_speed(galaxy, particles):
    disc = particles.component == DISC
    (x, y, _), (vx, vy, _) = particles.positions[disc].T, particles.velocities[disc].T
    radius = np.hypot(x, y)
    turning = (x * vy - y * vx) / radius
    ring = (radius > 5) & (radius < 8)
    circular = galaxy.circular_speed(6.5)
    assert 0.85 * circular < turning[ring].mean() < circular


def test_virial_theorem(particles):
    _, potential = direct_accelerations(particles.positions, particles.masses, 0.05)
    kinetic = 0.5 * particles.masses @ (particles.velocities**2).sum(axis=1)
    assert -2 * kinetic / (0.5 * particles.masses @ potential) == pytest.approx(1, abs=0.03)


def test_an_isolated_galaxy_stays_as_it_is(particles):
    # Softening loosens the bulge a little.
    *_, last = integrate(particles, 1.5, 70, softening=0.1)
    for component, tolerance in ((DISC, 0.08), (BULGE, 0.25), (HALO, 0.03)):
        members = particles.component == component
        before, after = (
            np.median(np.linalg.norm(x[members] - x[members].mean(axis=0), axis=1))
            for x in (particles.positions, last.positions)
        )
        assert after == pytest.approx(before, rel=tolerance)
    disc = particles.component == DISC
    spin = np.cross(last.positions[disc], last.velocities[disc])[:, 2].mean()
    spin_before = np.cross(particles.positions[disc], particles.velocities[disc])[:, 2].mean()
    assert spin == pytest.approx(spin_before, rel=0.03)


def test_scaled_keeps_the_density(galaxy):
    small = galaxy.scaled(0.5)
    assert small.mass == pytest.approx(0.5 * galaxy.mass)
    assert small.disc_scale == pytest.approx(galaxy.disc_scale * 0.5 ** (1 / 3))
    assert small.dynamical_time == pytest.approx(galaxy.dynamical_time, rel=1e-3)
    assert galaxy.scaled(1.0) == galaxy


def test_dynamical_time_is_radius_over_speed(galaxy):
    seconds = 6.6 * 3.0856775814913673e16 / galaxy.circular_speed(6.6)
    assert galaxy.dynamical_time == pytest.approx(seconds / 3.15576e13, rel=1e-6)


def test_same_seed_same_galaxy(galaxy):
    first, again, other = (
        galaxy.sample(50, 20, 60, np.random.default_rng(seed)).positions for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert not (first == other).all()


@pytest.mark.parametrize("name", ["halo_mass", "bulge_scale", "halo_truncation", "toomre_q"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_values_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        Galaxy(**{name: value})


def test_bad_numbers_are_refused(galaxy):
    with pytest.raises(ValueError, match="n_bulge"):
        galaxy.sample(10, 0, 10, np.random.default_rng(0))
    with pytest.raises(ValueError, match="mass_ratio"):
        galaxy.scaled(-1)
