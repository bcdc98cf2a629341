"""The experiments behind the page on the physics of the simulations, at a size of seconds."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from astro_deepgalaxy.simulate.encounter import Encounter
from astro_deepgalaxy.simulate.gravity import KPC_PER_MYR, G, accelerations

FOLDER = Path(__file__).parents[1] / "docs" / "physics"


def script(name):
    """A module of the scripts that make the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def encounters():
    return script("encounters")


def test_an_isolated_galaxy_stays_in_equilibrium():
    times, disc, bulge, halo, height, virial = script("galaxies").isolated(20_000)
    assert times[-1] == pytest.approx(700)
    for radius, tolerance in ((disc, 0.05), (bulge, 0.15), (halo, 0.05)):
        np.testing.assert_allclose(radius, radius[0], rtol=tolerance)
    np.testing.assert_allclose(virial, 1, atol=0.02)
    # Fewer particles than the page's 100,000 heat the disc more, but not to something else.
    assert 1.2 < height[-1] / height[0] < 3


@pytest.mark.parametrize("ratio", [0.5, 1.0])
def test_galaxies_approach_as_rigid_ones_would(encounters, ratio):
    encounter, history = encounters.approach(ratio, n=10_000)
    rigid = encounters.rigid_orbit(encounter, history.times)
    apart = rigid > 60
    assert apart.sum() > 80
    np.testing.assert_allclose(history.separation[apart], rigid[apart], rtol=0.04)
    # In the end friction has taken energy away from the live ones only.
    assert history.separation[-1] < rigid[-1]


def test_tails_are_torn_from_prograde_discs(encounters):
    # Toomre & Toomre (1972): a disc that turns against the orbit keeps its stars.
    prograde, retrograde = (encounters.tail(i, n=10_000, step=2.0)[1] for i in (0.0, 180.0))
    assert prograde > 0.1
    assert prograde > 4 * retrograde


def test_forces_against_an_independent_code():
    pytreegrav = pytest.importorskip("pytreegrav")
    particles = Encounter(separation=30.0).sample(8000, np.random.default_rng(1))
    x, m = particles.positions, particles.masses
    # Both without softening, as far as ours can be: its errors are then those of the trees.
    theirs = pytreegrav.Accel(x, m, G=G, method="bruteforce") * KPC_PER_MYR
    ours, _ = accelerations(x, m, 1e-4)
    error = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    assert np.median(error) < 1e-3
    assert np.percentile(error, 99) < 6e-3
