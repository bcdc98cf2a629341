"""Orbits against Kepler's, conservation laws, and the landmarks of a merger."""

import math
from dataclasses import replace

import numpy as np
import pytest

from astro_deepgalaxy.labels import STAGES
from astro_deepgalaxy.simulate.encounter import ChancePair, Encounter, Isolated
from astro_deepgalaxy.simulate.galaxy import BULGE, DISC, HALO, Galaxy, Particles
from astro_deepgalaxy.simulate.gravity import KPC_PER_MYR, G
from astro_deepgalaxy.simulate.history import History
from astro_deepgalaxy.simulate.leapfrog import integrate
from astro_deepgalaxy.simulate.orbit import kepler_start, pericentre_angle
from astro_deepgalaxy.simulate.run import Run, read_snapshot, write_snapshot


def points(positions, velocities, masses):
    """Point masses as particles."""
    kinds = np.zeros(len(masses), int)
    return Particles(np.array(positions), np.array(velocities), np.array(masses), kinds, kinds)


@pytest.fixture(scope="module")
def small():
    """A coarse but complete merger: its encounter, particles, snapshots and history."""
    encounter = Encounter(separation=45.0, pericentre=4.0, parabolic_fraction=0.65)
    particles = encounter.sample(8000, np.random.default_rng(5), softening=0.5)
    run = Run(particles, 2.0, softening=0.5)
    snapshots = [run.snapshot()]
    for _ in range(30):
        run.advance(10)
        snapshots.append(run.snapshot())
    return encounter, particles, snapshots, run.history


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
    encounter = Encounter(
        mass_ratio=0.5, separation=55.0, pericentre=5.0, primary_inclination=180.0
    )
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
    # Far away, larger ones are none either.
    assert math.isnan(track(rippled + 40 + 1.0 * np.cos(0.2 * times)).second_pericentre)


def test_coalescence_needs_separation_and_speed_to_stay_small():
    near = np.r_[np.full(50, 10.0), np.full(50, 0.5)]
    # Between the steps, where the distance falls below 2.5 kpc or the speed below 150 km/s.
    assert track(near).coalescence == pytest.approx(98 + 2 * 7.5 / 9.5)
    fast = np.r_[np.full(60, 300.0), np.full(40, 10.0)]
    assert track(near, fast).coalescence == pytest.approx(118 + 2 * 150 / 290, abs=0.3)
    # Too short to count, or long enough: 30 Myr decide.
    short, long = near.copy(), near.copy()
    short[60] = long[75] = 3
    assert track(short).coalescence == pytest.approx(120 + 2 * 0.5 / 2.5)
    assert track(long).coalescence == track(near).coalescence
    assert math.isnan(track(near[:60]).coalescence)
    assert track(np.ones(40)).coalescence == 0
    assert replace(track(near), near=12.0).coalescence == 0


def test_without_pericentre_all_is_approach():
    history = track(np.linspace(60, 30, 100))
    assert {history.stage(time) for time in (0, 50, 199)} == {"approaching"}


@pytest.mark.parametrize("fraction", [0.4, 0.8, 1.0, 1.6])
def test_angle_to_the_pericentre_is_that_of_an_integrated_orbit(fraction):
    mass, separation, pericentre = 3e11, 60.0, 8.0
    radial, tangential = kepler_start(mass, separation, pericentre, fraction)
    pair = points(
        [[0, 0, 0], [separation, 0, 0]], [[0, 0, 0], [radial, tangential, 0]], [mass, 1.0]
    )
    states = list(integrate(pair, 0.1, 6000, softening=1e-3))
    offsets = np.array([state.positions[1] - state.positions[0] for state in states])
    nearest = np.linalg.norm(offsets, axis=1).argmin()
    turned = math.degrees(math.atan2(offsets[nearest, 1], offsets[nearest, 0])) % 360
    assert pericentre_angle(mass, separation, radial, tangential) == pytest.approx(turned, abs=1)


@pytest.mark.parametrize("argument", [-90.0, 0.0, 30.0])
def test_discs_are_oriented_as_by_toomre_and_toomre(argument):
    encounter = Encounter(
        primary_inclination=40.0, primary_argument=argument, secondary_inclination=0.0
    )
    run = Run(encounter.sample(4000, np.random.default_rng(1)), 1.0, 0.5)
    spin, upright = run.snapshot().spins
    assert math.degrees(math.acos(spin[2])) == pytest.approx(40, abs=4)
    assert upright[2] > 0.99
    # The ascending node lies as far behind the direction of the pericentre as asked for.
    node = np.cross([0, 0, 1], spin)
    total = sum(galaxy.mass for galaxy in encounter.galaxies)
    velocity = kepler_start(
        total, encounter.separation, encounter.pericentre, encounter.parabolic_fraction
    )
    to_companion = math.degrees(math.atan2(*-run.snapshot().offset[[1, 0]])) + 180
    expected = to_companion + pericentre_angle(total, encounter.separation, *velocity) - argument
    found = math.degrees(math.atan2(node[1], node[0]))
    assert (found - expected + 180) % 360 - 180 == pytest.approx(0, abs=8)


def test_a_run_goes_on_from_its_checkpoint_to_the_last_bit(tmp_path):
    particles = Encounter(separation=30.0).sample(1500, np.random.default_rng(3), 0.5)
    whole = Run(particles, 2.0, 0.5)
    whole.advance(20)
    half = Run(particles, 2.0, 0.5)
    half.advance(8)
    half.save(tmp_path / "checkpoint.h5")
    again = Run.load(tmp_path / "checkpoint.h5")
    assert again.time == 16
    again.advance(12)
    assert (again.state.positions == whole.state.positions).all()
    assert (again.state.velocities == whole.state.velocities).all()
    for name in ("times", "separation", "speed", "energy", "offset"):
        assert (getattr(again.history, name) == getattr(whole.history, name)).all()


def test_snapshots_are_kept_to_a_parsec(small, tmp_path):
    snapshot = small[2][7]
    write_snapshot(tmp_path / "snap.h5", snapshot)
    found = read_snapshot(tmp_path / "snap.h5")
    assert found.time == snapshot.time
    np.testing.assert_allclose(found.positions, snapshot.positions, atol=6e-4)
    for name in ("centres", "velocities", "spins"):
        assert (getattr(found, name) == getattr(snapshot, name)).all()


@pytest.mark.parametrize("reader", [Run.load, read_snapshot])
def test_garbage_is_no_checkpoint_and_no_snapshot(tmp_path, reader):
    path = tmp_path / "garbage.h5"
    path.write_bytes(b"no HDF5 at all")
    with pytest.raises(ValueError, match=r"garbage\.h5: is no"):
        reader(path)


def test_one_galaxy_alone_has_no_orbit():
    run = Run(Isolated().sample(1000, np.random.default_rng(0), 0.5), 2.0, 0.5)
    run.advance(2)
    assert np.isnan(run.history.separation).all()
    assert run.history.stage(2.0) == ""
    assert math.isnan(run.history.coalescence)
    assert math.isnan(run.snapshot().speed)
    assert np.isfinite(run.history.energy_drift)


def test_a_spheroid_has_no_disc():
    galaxy = Galaxy(disc_mass=0, bulge_mass=5e10, bulge_scale=2.0)
    particles = Isolated(galaxy).sample(2000, np.random.default_rng(0))
    assert not (particles.component == DISC).any()
    assert particles.masses.sum() == pytest.approx(galaxy.mass)
    assert len(particles) == 2000


def test_galaxies_of_a_chance_pair_do_not_feel_each_other():
    pair = ChancePair(mass_ratio=0.5)
    particles = pair.sample(2000, np.random.default_rng(4), 0.5)
    run = Run(particles, 2.0, 0.5)
    run.advance(50)
    m = particles.masses
    means = [
        np.average(run.state.velocities[its], axis=0, weights=m[its])
        for its in (particles.galaxy == 0, particles.galaxy == 1)
    ]
    # A companion 50 kpc away would change that by 80 km/s.
    assert np.linalg.norm(means[1] - means[0]) < 1
    alone = Isolated(pair.galaxies[1]).sample(700, np.random.default_rng(4), 0.5)
    second = particles.galaxy == 1
    for found, expected in (
        (particles.velocities[second], alone.velocities),
        (particles.positions[second] - particles.positions[second].mean(axis=0), alone.positions),
    ):
        assert found.std() == pytest.approx(expected.std(), rel=0.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mass_ratio", 0),
        ("mass_ratio", math.nan),
        ("size_ratio", -1),
        ("separation", -60),
        ("pericentre", 0),
        ("pericentre", 70),
        ("parabolic_fraction", 0),
        ("primary_inclination", math.inf),
        ("secondary_argument", math.nan),
    ],
)
def test_fields_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        Encounter(**{name: value})


@pytest.mark.parametrize("name", ["mass_ratio", "size_ratio", "distance_ratio"])
def test_fields_of_a_chance_pair_are_named(name):
    with pytest.raises(ValueError, match=name):
        ChancePair(**{name: -1.0})


def test_impossible_orbits_and_numbers_are_refused():
    with pytest.raises(ValueError, match="no orbit"):
        Encounter(separation=20.0, pericentre=15.0, parabolic_fraction=0.3)
    with pytest.raises(ValueError, match="particles"):
        Encounter().sample(100, np.random.default_rng(0))
