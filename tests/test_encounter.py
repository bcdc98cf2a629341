"""Orbits against Kepler's, conservation laws, and the landmarks of a merger."""

import math

import numpy as np
import pytest

from astro_deepgalaxy.labels import STAGES
from astro_deepgalaxy.simulate.encounter import Encounter, integrate, kepler_start
from astro_deepgalaxy.simulate.galaxy import BULGE, HALO, Particles
from astro_deepgalaxy.simulate.gravity import KPC_PER_MYR, G
from astro_deepgalaxy.simulate.history import History


def points(positions, velocities, masses):
    """Point masses as particles."""
    kinds = np.zeros(len(masses), int)
    return Particles(np.array(positions), np.array(velocities), np.array(masses), kinds, kinds)


@pytest.fixture(scope="module")
def small():
    """A coarse but complete merger: its encounter, particles, snapshots and history."""
    encounter = Encounter(separation=45.0, pericentre=4.0, parabolic_fraction=0.65)
    particles = encounter.sample(8000, np.random.default_rng(5))
    snapshots, history = encounter.run(particles, np.arange(0, 601, 20), softening=0.5)
    return encounter, particles, snapshots, history


def test_two_bodies_follow_keplers_ellipse():
    mass, apocentre, pericentre = 3e11, 40.0, 10.0
    axis = (apocentre + pericentre) / 2
    speed = math.sqrt(G * mass * (2 / apocentre - 1 / axis))
    pair = points(
        [[apocentre * 2 / 3, 0, 0], [-apocentre / 3, 0, 0]],
        [[0, speed * 2 / 3, 0], [0, -speed / 3, 0]],
        [1e11, 2e11],
    )
    period = 2 * math.pi * math.sqrt(axis**3 / (G * mass)) / KPC_PER_MYR
    n = 1000
    states = list(integrate(pair, period / n, n, softening=1e-3))
    offsets = np.array([state.positions[0] - state.positions[1] for state in states])
    radius = np.linalg.norm(offsets, axis=1)
    assert radius.min() == pytest.approx(pericentre, rel=1e-3)
    assert abs(int(radius.argmin()) - n // 2) <= 2
    np.testing.assert_allclose(offsets[-1], offsets[0], atol=0.02 * apocentre)
    # The polar equation of the ellipse holds all along.
    eccentricity = (apocentre - pericentre) / (apocentre + pericentre)
    angle = np.arctan2(offsets[:, 1], offsets[:, 0])
    ellipse = axis * (1 - eccentricity**2) / (1 - eccentricity * np.cos(angle))
    np.testing.assert_allclose(radius, ellipse, rtol=5e-3)


@pytest.mark.parametrize("fraction", [0.5, 0.8, 1.0])
def test_kepler_start_reaches_its_pericentre(fraction):
    mass, separation, pericentre = 9e11, 60.0, 6.0
    radial, tangential = kepler_start(mass, separation, pericentre, fraction)
    assert radial < 0
    parabolic = math.sqrt(2 * G * mass / separation)
    assert math.hypot(radial, tangential) == pytest.approx(fraction * parabolic)
    # From energy and angular momentum: 1 / r at the turning points solves a quadratic.
    energy = 0.5 * (radial**2 + tangential**2) - G * mass / separation
    momentum = separation * tangential
    inverse = (G * mass + math.sqrt((G * mass) ** 2 + 2 * energy * momentum**2)) / momentum**2
    assert 1 / inverse == pytest.approx(pericentre)


def test_leapfrog_runs_backwards():
    particles = Encounter(separation=30.0).sample(500, np.random.default_rng(2))
    *_, there = integrate(particles, 1.0, 40, softening=1.0)
    turned = Particles(
        there.positions,
        there.velocities,
        particles.masses,
        particles.component,
        particles.galaxy,
    )
    *_, back = integrate(turned, -1.0, 40, softening=1.0)
    assert np.abs(there.positions - particles.positions).max() > 5
    np.testing.assert_allclose(back.positions, particles.positions, atol=1e-4)
    np.testing.assert_allclose(back.velocities, particles.velocities, atol=0.05)


def test_energy_error_falls_with_the_square_of_the_step():
    mass = 2e11
    speed = 0.5 * math.sqrt(G * mass / 20)
    pair = points([[10.0, 0, 0], [-10, 0, 0]], [[0, speed, 0], [0, -speed, 0]], [1e11, 1e11])
    errors = []
    for step in (4.0, 2.0):
        energies = [
            state.energy(pair.masses) for state in integrate(pair, step, round(200 / step), 2.0)
        ]
        errors.append(np.abs(np.array(energies) / energies[0] - 1).max())
    assert 3 < errors[0] / errors[1] < 5


def test_momentum_and_angular_momentum_are_conserved(small):
    _, particles, *_ = small
    *_, last = integrate(particles, 2.0, 50, softening=0.5)
    m = particles.masses
    momentum = m @ last.velocities
    assert np.linalg.norm(momentum) < 2e-3 * (m @ np.linalg.norm(last.velocities, axis=1))
    before = m @ np.cross(particles.positions, particles.velocities)
    after = m @ np.cross(last.positions, last.velocities)
    np.testing.assert_allclose(after, before, atol=0.01 * np.linalg.norm(before))


def test_start_is_the_orbit_asked_for():
    encounter = Encounter(mass_ratio=0.5, separation=55.0, pericentre=5.0, primary_disc=(180.0, 0))
    particles = encounter.sample(3000, np.random.default_rng(1))
    m, galaxy = particles.masses, particles.galaxy
    assert len(particles) == 3000
    np.testing.assert_allclose(np.average(particles.positions, axis=0, weights=m), 0, atol=1e-6)
    np.testing.assert_allclose(np.average(particles.velocities, axis=0, weights=m), 0, atol=1e-6)
    assert m[galaxy == 1].sum() == pytest.approx(0.5 * m[galaxy == 0].sum())
    means = [
        np.average(vectors[galaxy == k], axis=0, weights=m[galaxy == k])
        for vectors in (particles.positions, particles.velocities)
        for k in (0, 1)
    ]
    offset, velocity = means[0] - means[1], means[2] - means[3]
    assert np.linalg.norm(offset) == pytest.approx(55)
    radial, tangential = kepler_start(m.sum(), 55.0, 5.0, encounter.parabolic_fraction)
    np.testing.assert_allclose(velocity, [radial, tangential, 0], rtol=1e-6, atol=1e-6)
    # An inclination of 180 degrees turns the disc against the orbit.
    stars = particles.stars & (galaxy == 0)
    spin = np.cross(particles.positions[stars] - means[0], particles.velocities[stars] - means[2])
    assert spin[:, 2].mean() < 0 < np.cross(offset, velocity)[2]


def test_a_merger_goes_through_its_stages(small):
    _, particles, snapshots, history = small
    first, second, end = history.first_pericentre, history.second_pericentre, history.coalescence
    assert 80 < first < 180 < second < end < 570
    assert history.energy_drift < 0.01
    stages = [history.stage(snapshot.time) for snapshot in snapshots]
    order = [STAGES.index(stage) for stage in stages]
    assert order == sorted(order)
    assert set(stages) == set(STAGES)
    assert history.stage(first - 31) == "approaching"
    assert history.stage(first - 29) == history.stage(first + 29) == "first passage"
    assert history.stage(first + 31) == history.stage(second - 1) == "separated"
    assert history.stage(second + 1) == history.stage(end - 1) == "coalescing"
    assert history.stage(end) == "merged"
    assert [snapshot.time for snapshot in snapshots] == list(np.arange(0, 601, 20))
    assert all(snapshot.positions.shape == (particles.stars.sum(), 3) for snapshot in snapshots)
    assert np.linalg.norm(snapshots[-1].offset) < 2.5


def test_tracked_centres_are_those_of_the_bulges(small):
    encounter, particles, snapshots, history = small
    bulges = [
        particles.positions[(particles.component == BULGE) & (particles.galaxy == k)]
        for k in (0, 1)
    ]
    offset = np.median(bulges[1], axis=0) - np.median(bulges[0], axis=0)
    np.testing.assert_allclose(snapshots[0].offset, offset, atol=0.5)
    assert history.separation[0] == pytest.approx(encounter.separation, abs=1)


def test_halos_are_not_among_the_stars(small):
    _, particles, snapshots, _ = small
    luminous = particles.component != HALO
    np.testing.assert_allclose(
        snapshots[0].positions, particles.positions[luminous], rtol=1e-6, atol=1e-5
    )


def track(separation, speed=None, step=2.0):
    """A made-up history."""
    separation = np.asarray(separation, float)
    speed = np.full(separation.shape, 10.0) if speed is None else np.asarray(speed, float)
    return History(
        step * np.arange(len(separation)), separation, speed, np.full(len(separation), -1.0)
    )


def test_pericentre_lies_between_the_steps():
    # A straight flyby, d^2 = b^2 + v^2 (t - t0)^2, with t0 off the grid.
    times = 2.0 * np.arange(100)
    history = track(np.sqrt(5.0**2 + (0.6 * (times - 83.3)) ** 2))
    assert history.first_pericentre == pytest.approx(83.3, abs=0.01)
    assert math.isnan(history.second_pericentre)
    assert math.isnan(history.coalescence)


def test_ripples_are_no_pericentres():
    times = 2.0 * np.arange(150)
    approach = np.abs(times - 150.0) * 0.2 + 3
    rippled = approach + 0.3 * np.sin(times)
    assert track(rippled).first_pericentre == pytest.approx(150, abs=4)
    assert math.isnan(track(rippled).second_pericentre)


def test_coalescence_needs_separation_and_speed_to_stay_small():
    near = np.r_[np.full(50, 10.0), np.full(50, 0.5)]
    assert track(near).coalescence == 100
    assert track(near, np.r_[np.full(60, 300.0), np.full(40, 10.0)]).coalescence == 120
    again = near.copy()
    again[70] = 3
    assert track(again).coalescence == 142
    again[95] = 3
    assert math.isnan(track(again).coalescence)


def test_without_pericentre_all_is_approach():
    history = track(np.linspace(60, 30, 100))
    assert {history.stage(time) for time in (0, 50, 199)} == {"approaching"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mass_ratio", 0),
        ("mass_ratio", math.nan),
        ("separation", -60),
        ("pericentre", 0),
        ("pericentre", 70),
        ("parabolic_fraction", 1.2),
        ("primary_disc", (10,)),
        ("secondary_disc", (math.nan, 0)),
    ],
)
def test_fields_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        Encounter(**{name: value})


def test_impossible_orbits_and_numbers_are_refused(small):
    with pytest.raises(ValueError, match="no orbit"):
        Encounter(separation=20.0, pericentre=15.0, parabolic_fraction=0.3)
    with pytest.raises(ValueError, match="n_particles"):
        Encounter().sample(100, np.random.default_rng(0))
    encounter, particles, *_ = small
    with pytest.raises(ValueError, match="times"):
        encounter.run(particles, [10, 5])
