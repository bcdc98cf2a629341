"""The tree against direct summation and against what mechanics demands."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astro_deepgalaxy.simulate.gravity import (
    KPC_PER_MYR,
    G,
    accelerations,
    direct_accelerations,
)


def plummer(n, rng, scale=5.0):
    """Positions of a Plummer sphere."""
    radius = scale / np.sqrt(rng.uniform(0.001, 0.999, n) ** (-2 / 3) - 1)
    direction = rng.normal(size=(n, 3))
    return direction * (radius / np.linalg.norm(direction, axis=1))[:, None]


def disc(n, rng):
    """Positions of a thin exponential disc."""
    radius, angle = rng.gamma(2, 3.0, n), rng.uniform(0, 2 * np.pi, n)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), rng.normal(0, 0.3, n)])


def two_galaxies(n, rng):
    """Positions of two discs in halos, one on its side."""
    q = n // 4
    second = np.concatenate([disc(q, rng)[:, [0, 2, 1]], plummer(n - 3 * q, rng, 15.0)])
    second += [30, 5, 8]
    return np.concatenate([disc(q, rng), plummer(q, rng, 15.0), second])


def relative_errors(found, true):
    """Error of each vector over its length."""
    return np.linalg.norm(found - true, axis=1) / np.linalg.norm(true, axis=1)


@pytest.mark.parametrize("system", [plummer, disc, two_galaxies])
def test_agrees_with_direct_summation(system):
    rng = np.random.default_rng(3)
    x, m = system(6000, rng), rng.uniform(0.5, 1.5, 6000) * 1e7
    found, potential = accelerations(x, m, 0.2)
    true, true_potential = direct_accelerations(x, m, 0.2)
    errors = relative_errors(found, true)
    assert np.median(errors) < 1e-3
    assert np.percentile(errors, 99) < 6e-3
    np.testing.assert_allclose(potential, true_potential, rtol=3e-3)


def test_error_shrinks_with_the_opening_angle():
    rng = np.random.default_rng(4)
    x, m = plummer(4000, rng), np.full(4000, 1e7)
    true, _ = direct_accelerations(x, m, 0.2)
    errors = [
        np.median(relative_errors(accelerations(x, m, 0.2, opening)[0], true))
        for opening in (1.0, 0.6, 0.3)
    ]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_force_between_two_particles():
    x, m, softening = np.array([[0.0, 0, 0], [3.0, 4.0, 0]]), np.array([2e9, 1e9]), 0.5
    acceleration, potential = accelerations(x, m, softening)
    u2 = 25 + softening**2
    pull = G * 1e9 / u2**1.5 * np.array([3.0, 4.0, 0]) * KPC_PER_MYR
    np.testing.assert_allclose(acceleration, [pull, -2 * pull], rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(potential, [-G * 1e9 / u2**0.5, -G * 2e9 / u2**0.5], rtol=1e-5)


def test_units_against_astropy():
    from astropy import constants
    from astropy import units as u

    acceleration, _ = direct_accelerations([[0, 0, 0], [10.0, 0, 0]], [1e11, 1.0], 1e-6)
    expected = (constants.G * 1e11 * u.Msun / (10 * u.kpc) ** 2).to_value(u.km / u.s / u.Myr)
    assert acceleration[1, 0] == pytest.approx(-expected, rel=1e-6)


def test_plummer_sphere_has_its_analytic_potential():
    # A sphere of radius a seen from r: phi = -G M / sqrt(r^2 + a^2).
    x = np.concatenate([plummer(40_000, np.random.default_rng(5)), [[8.0, 0, 0], [0, 0, 20.0]]])
    m = np.append(np.full(40_000, 1e6), [1.0, 1.0])
    _, potential = accelerations(x, m, 0.01)
    expected = -G * 4e10 / np.hypot([8.0, 20.0], 5.0)
    np.testing.assert_allclose(potential[-2:], expected, rtol=0.02)


def test_internal_forces_nearly_cancel():
    rng = np.random.default_rng(6)
    x, m = two_galaxies(5000, rng), rng.uniform(1, 2, 5000) * 1e7
    force = accelerations(x, m, 0.2)[0] * m[:, None]
    assert np.abs(force.sum(axis=0)).max() < 1e-3 * np.linalg.norm(force, axis=1).sum()


def test_coincident_particles():
    # More than any list or leaf holds, all on one spot, and a few elsewhere.
    x = np.concatenate([np.zeros((5000, 3)), [[1.0, 0, 0], [0, 30.0, 0]]])
    m = np.full(5002, 1e6)
    found, potential = accelerations(x, m, 0.1)
    true, true_potential = direct_accelerations(x, m, 0.1)
    np.testing.assert_allclose(found, true, rtol=1e-4, atol=1e-4 * np.abs(true).max())
    np.testing.assert_allclose(potential, true_potential, rtol=1e-4)


@pytest.mark.parametrize("distance", [1e3, 1e6, 1e9])
def test_distant_escapers(distance):
    rng = np.random.default_rng(7)
    x, m = plummer(3000, rng), np.full(3000, 1e7)
    x[:3] = np.eye(3) * distance
    found, _ = accelerations(x, m, 0.2)
    true, _ = direct_accelerations(x, m, 0.2)
    errors = relative_errors(found, true)
    assert np.median(errors) < 1e-3
    assert errors[:3].max() < 1e-2


@settings(max_examples=30, deadline=None)
@example(n=1, seed=0, stretch=0.0, softening=1.0)
@given(
    n=st.integers(1, 300),
    seed=st.integers(0, 10**6),
    stretch=st.floats(-3, 3),
    softening=st.floats(0.001, 10),
)
def test_any_arrangement(n, seed, stretch, softening):
    # Clumps on clumps, with repeated positions and masses over many decades.
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) * 10 ** rng.uniform(-3, stretch, (n, 1))
    x[rng.random(n) < 0.2] = x[0]
    m = 10 ** rng.uniform(0, 10, n)
    found, potential = accelerations(x, m, softening, 0.3)
    true, true_potential = direct_accelerations(x, m, softening)
    largest = np.abs(true).max()
    np.testing.assert_allclose(found, true, rtol=0.02, atol=2e-3 * largest)
    # A particle's own potential is taken off after a sum in single precision, whose inverse square
    # root is an estimate on some processors: that much of it may stay.
    own = G * m.max() / softening
    np.testing.assert_allclose(
        potential,
        true_potential,
        rtol=0.01,
        atol=1e-4 * np.abs(true_potential).max() + 1e-6 * own,
    )


def test_order_of_the_particles_does_not_matter():
    rng = np.random.default_rng(8)
    x, m = plummer(2000, rng), rng.uniform(1, 2, 2000) * 1e7
    shuffled = rng.permutation(2000)
    found, potential = accelerations(x, m, 0.2)
    again, potential_again = accelerations(x[shuffled], m[shuffled], 0.2)
    np.testing.assert_allclose(again, found[shuffled], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(potential_again, potential[shuffled], rtol=1e-6)


def test_same_bits_on_any_number_of_threads():
    program = (
        "import numpy as np, hashlib\n"
        "from astro_deepgalaxy.simulate.gravity import accelerations\n"
        "rng = np.random.default_rng(9)\n"
        "x, m = rng.normal(size=(5000, 3)) * [9, 9, 1], rng.uniform(1, 2, 5000)\n"
        "a, p = accelerations(x, m, 0.2)\n"
        "print(hashlib.sha256(a.tobytes() + p.tobytes()).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"NUMBA_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "3")
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((3, 2)), np.ones(3), 0.1), r"positions must be \(n, 3\)"),
        ((np.zeros((0, 3)), np.ones(0), 0.1), "n > 0"),
        ((np.zeros((3, 3)), np.ones(4), 0.1), "one per position"),
        ((np.full((3, 3), np.nan), np.ones(3), 0.1), "positions must be finite"),
        ((np.full((3, 3), np.inf), np.ones(3), 0.1), "positions must be finite"),
        ((np.eye(3), [1, 0, 1], 0.1), "masses must be positive"),
        ((np.eye(3), [1, -1, 1], 0.1), "masses must be positive"),
        ((np.eye(3), [1, np.nan, 1], 0.1), "masses must be positive"),
        ((np.eye(3), np.ones(3), 0.0), "softening must be positive"),
        ((np.eye(3), np.ones(3), np.nan), "softening must be positive"),
        ((np.eye(3), np.ones(3), 0.1, 0.0), "opening must be in"),
        ((np.eye(3), np.ones(3), 0.1, 1.5), "opening must be in"),
    ],
)
def test_bad_input_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        accelerations(*arguments)
