"""Plans of surveys: what is read, what is drawn, and what is refused before any work."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy.simulate.encounter import ChancePair, Encounter, Isolated
from astro_deepgalaxy.simulate.plan import (
    PRESETS,
    SurveyPlan,
    preset_toml,
    read_plan,
    read_preset,
)


def plan_of(text, tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(text, encoding="utf-8")
    return read_plan(path)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_plans(name):
    plan = read_preset(name)
    planned = plan.planned()
    assert [p.number for p in planned] == list(range(len(planned)))
    assert len({p.name for p in planned}) == len(planned)
    assert plan.planned() == planned  # drawn once and for all


def test_paper_preset_has_the_shape_of_the_paper():
    plan = read_preset("paper")
    systems = [p.system for p in plan.planned()]
    ratios = {0.25, 0.5, 0.75, 1.0, 1.25, 1.5}
    assert {(s.mass_ratio, s.size_ratio) for s in systems} == {
        (m, s) for m in ratios for s in ratios
    }
    assert len(systems) == 36
    assert (plan.run.snapshots, plan.images.cameras) == (71, 14)
    assert len(systems) * plan.run.snapshots * plan.images.cameras == 35_784
    assert plan.interval == 10.0


def test_controls_are_no_mergers():
    planned = read_preset("controls").planned()
    kinds = {p.kind: type(p.system) for p in planned}
    assert kinds == {"isolated": Isolated, "flyby": Encounter, "chance pair": ChancePair}
    spheroids = [p for p in planned if p.kind == "isolated" and p.system.primary.disc_mass == 0]
    discs = [p for p in planned if p.kind == "isolated" and p.system.primary.disc_mass > 0]
    assert spheroids
    assert discs
    for p in planned:
        if p.kind == "flyby":
            assert p.system.parabolic_fraction > 1


def test_diverse_preset_varies_everything():
    systems = [p.system for p in read_preset("diverse").planned()]
    for name in (
        "mass_ratio",
        "size_ratio",
        "pericentre",
        "parabolic_fraction",
        "primary_inclination",
        "secondary_argument",
    ):
        assert len({getattr(system, name) for system in systems}) == len(systems), name
    for name in ("disc_mass", "disc_scale", "bulge_mass", "halo_scale"):
        assert len({getattr(system.primary, name) for system in systems}) == len(systems), name
    # Discs turned at random in space: the cosine of the inclination is uniform.
    cosines = np.cos(np.radians([system.primary_inclination for system in systems]))
    assert abs(cosines.mean()) < 0.25
    assert cosines.var() == pytest.approx(1 / 3, abs=0.12)


def test_lists_are_crossed_and_numbers_repeat(tmp_path):
    plan = plan_of(
        "[[simulations]]\nnumber = 2\nmass_ratio = [0.5, 1.0]\npericentre = [3.0, 5.0, 8.0]\n"
        "primary_inclination = 'random'\n",
        tmp_path,
    )
    systems = [p.system for p in plan.planned()]
    assert len(systems) == 12
    pairs = [(s.mass_ratio, s.pericentre) for s in systems]
    assert pairs == [(m, p) for m in (0.5, 1.0) for p in (3.0, 5.0, 8.0) for _ in range(2)]
    assert len({s.primary_inclination for s in systems}) == 12


@settings(max_examples=40, deadline=None)
@given(
    low=st.floats(0.05, 1.0), width=st.floats(0, 3), log=st.booleans(), seed=st.integers(0, 10**6)
)
def test_draws_stay_in_their_ranges(low, width, log, seed):
    plan = SurveyPlan.model_validate(
        {
            "seed": seed,
            "simulations": [
                {"number": 5, "mass_ratio": {"low": low, "high": low + width, "log": log}}
            ],
        }
    )
    for planned in plan.planned():
        assert low * 0.999999 <= planned.system.mass_ratio <= (low + width) * 1.000001


def test_steps_follow_the_densest_centre():
    plan = read_preset("paper")
    steps = {
        (p.system.mass_ratio, p.system.size_ratio): plan.steps(p.system) for p in plan.planned()
    }
    assert steps[1.5, 0.25] > steps[1.5, 0.5] > steps[1.5, 1.0] >= steps[0.25, 1.5]
    fixed = plan.model_copy(update={"run": plan.run.model_copy(update={"step": 3.0})})
    assert fixed.steps(fixed.planned()[0].system) == math.ceil(10 / 3)


def test_a_preset_can_be_edited(tmp_path):
    text = preset_toml("first-look").replace("number = 12", "number = 2")
    assert len(plan_of(text, tmp_path).planned()) == 2
    with pytest.raises(ValueError, match=r"known are paper, diverse"):
        preset_toml("papers")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense = [", "cannot be read as TOML"),
        ("seed = 1", "'simulations' is missing"),
        ("[[simulations]]\npericenter = 3", r"'simulations\[1\].pericenter'; did you mean 'peri"),
        ("[[simulations]]\nkind = 'collision'", r"simulations\[1\].kind"),
        ("[[simulations]]\nnumber = 0", r"simulations\[1\].number"),
        ("[[simulations]]\nmass_ratio = -1", "mass_ratio must be positive"),
        ("[[simulations]]\nmass_ratio = 'heavy'", r"simulations\[1\].mass_ratio: Input should be"),
        ("[[simulations]]\nmass_ratio = true", r"simulations\[1\].mass_ratio: Input should be"),
        ("[[simulations]]\nmass_ratio = [1, 'a']", r"simulations\[1\].mass_ratio\[2\]: Input"),
        ("[[simulations]]\nmass_ratio = {low = 1, hgh = 2}", "did you mean 'high'"),
        ("[[simulations]]\nmass_ratio = {low = 2, high = 1}", "low must not exceed high"),
        ("[[simulations]]\nseparation = 5\npericentre = 9", "pericentre must be smaller"),
        ("[[simulations]]\nparabolic_fraction = 1.5", "at most 1 for a merger"),
        ("[[simulations]]\nkind = 'isolated'\npericentre = 3", "pericentre: a simulation of the"),
        ("[[simulations]]\n[simulations.primary]\ndisc_mass = -4e10", "disc_mass must be pos"),
        ("[[simulations]]\n[simulations.primary]\nmass = -1", "primary.mass must be positive"),
        ("[run]\nparticles = 0\n[[simulations]]", "run.particles"),
        ("[run]\nduration = -5\n[[simulations]]", "run.duration"),
        ("[run]\nstep = 0\n[[simulations]]", "run.step"),
        ("[images]\ncameras = 0\n[[simulations]]", "images.cameras"),
        ("[images]\nfield = [80, 90]\n[[simulations]]", "field must be a number or a range"),
        ("[images]\nfield = -80\n[[simulations]]", "field must be from 1 to 10,000 kpc"),
        ("[images]\nfield = inf\n[[simulations]]", "images.field: Input should be a finite"),
        ("[[simulations]]\nkind = 'flyby'", "parabolic_fraction must exceed 1 for a flyby"),
        ("[[simulations]]\nmass_ratio = []", r"simulations\[1\].mass_ratio"),
        ("[[simulations]]\nnumber = 99999\nmass_ratio = [1, 2]", "at most 100000 simulations"),
        ("[[simulations]]\nmass_ratio = 1e-4", "particles must be more than 100000"),
        ("[run]\nsoftening = inf\n[[simulations]]", "run.softening"),
        ("[run]\nstep = 1e-9\n[[simulations]]", "run.step"),
    ],
)
def test_impossible_plans_are_refused_by_name(text, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        plan_of(text, tmp_path)
    assert "grid.toml: " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_plan_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.toml: no such file"):
        read_plan(tmp_path / "nowhere.toml")
