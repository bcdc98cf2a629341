import json

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from astro_deepgalaxy import TimeScale
from astro_deepgalaxy.metrics import Conformal, groups_needed

SCALE = TimeScale()


def classes(median, width):
    """Class probabilities of normal posteriors."""
    below = norm.cdf(
        (SCALE.edges.value - np.asarray(median)[:, np.newaxis]) / np.asarray(width)[:, np.newaxis]
    )
    posterior = np.diff(below, axis=1)
    return posterior / posterior.sum(axis=1, keepdims=True)


def simulations(rng, n_groups, dependence, images=(3, 15), stated=20.0, scatter=36.0):
    """Simulations whose images share a part of their error, with posteriors much too narrow.

    The sizes of the groups differ, and go with their errors.
    """
    shared = rng.standard_normal(n_groups)
    sizes = rng.integers(*images, n_groups) + (10 * np.abs(shared)).astype(int)
    groups = np.repeat(np.arange(n_groups), sizes)
    own = rng.standard_normal(len(groups))
    error = scatter * (np.sqrt(dependence) * shared[groups] + np.sqrt(1 - dependence) * own)
    time = rng.uniform(0, 330, len(groups))
    return classes(time + error, np.full(len(groups), stated)), time * u.Myr, groups


def fit(posterior, time, groups):
    return Conformal.fit(SCALE.cdf(posterior, time), groups)


def interval(conformal, posterior, level):
    s = conformal.half_width(level)
    return SCALE.quantile(posterior, 0.5 - s), SCALE.quantile(posterior, 0.5 + s)


@pytest.mark.parametrize("dependence", [0.0, 0.9])
@pytest.mark.parametrize(("level", "n_groups"), [(0.68, 5), (0.9, 10), (0.9, 20)])
def test_a_new_group_is_covered_as_promised(level, n_groups, dependence):
    """One image of a new group, over many surveys."""
    rng = np.random.default_rng(3)
    trials, held, plain = 400, 0, 0
    for _ in range(trials):
        posterior, time, groups = simulations(rng, n_groups + 1, dependence)
        old, new = groups < n_groups, np.flatnonzero(groups == n_groups)
        conformal = fit(posterior[old], time[old], groups[old])
        one = rng.choice(new)
        lower, upper = interval(conformal, posterior[one], level)
        held += lower <= time[one] <= upper
        tail = (1 - level) / 2
        plain += SCALE.quantile(posterior[one], tail) <= time[one] and time[one] <= SCALE.quantile(
            posterior[one], 1 - tail
        )
    # At least the level, and not above it by more than two groups' weight.
    assert held >= binom.ppf(0.001, trials, level)
    assert held <= binom.ppf(0.999, trials, min(1, level + 2 / (n_groups + 1)))
    assert plain < binom.ppf(0.001, trials, level)


def test_counting_images_as_if_independent_would_break_the_promise():
    rng = np.random.default_rng(5)
    trials, groups = 1000, np.repeat(np.arange(5), 50)
    old = groups < 4
    missed = {"groups": 0, "images": 0}
    for _ in range(trials):
        error = 2 * rng.standard_normal(5)[groups] + 0.1 * rng.standard_normal(len(groups))
        pit = norm.cdf(error)
        for kind, counted in (("groups", groups), ("images", np.arange(len(groups)))):
            missed[kind] += abs(pit[-1] - 0.5) > Conformal.fit(pit[old], counted[old]).half_width(
                0.74
            )
    assert missed["groups"] <= binom.ppf(0.999, trials, 0.26)
    assert missed["images"] > binom.ppf(0.999, trials, 0.3)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 0.99), st.integers(0, 6)), min_size=2, max_size=40),
    st.sampled_from([0.3, 0.5, 0.68, 0.8]),
)
def test_groups_left_out_are_covered_on_the_average(images, level):
    """The limit is a score at whose rank the others' scores hold enough of each group."""
    pit, groups = np.array([p for p, _ in images]), np.array([g for _, g in images])
    names = np.unique(groups)
    score = np.abs(pit - 0.5)
    conformal = Conformal.fit(pit, groups)
    if len(names) < 1 / (1 - level) - 1e-6:
        with pytest.raises(ValueError, match="calibration groups"):
            conformal.half_width(level)
        return

    def quantile(which, rank):
        weights = {g: 1 / np.sum(groups[which] == g) for g in np.unique(groups[which])}
        mass, whole = 0.0, len(weights)
        for i in sorted(np.flatnonzero(which), key=lambda i: score[i]):
            mass += weights[groups[i]] / whole
            if mass >= rank - 1e-9:
                return score[i]
        return score[which].max()

    def share(rank):
        limits = [quantile(groups != g, rank) for g in names]
        parts = zip(names, limits, strict=True)
        return np.mean([np.mean(score[groups == g] <= limit) for g, limit in parts])

    limit = conformal.half_width(level)
    assert limit in score
    ranks = np.arange(1, 2000, 21) / 2000
    reached = [rank for rank in ranks if quantile(score > -1, rank) <= limit]
    # The largest rank of this limit does, up to the steps of the ranks that are tried here.
    assert share(min(1, max(reached, default=0) + 0.011)) >= level - 1e-9


def test_intervals_hold_exactly_the_times_of_smaller_scores():
    posterior, time, groups = simulations(np.random.default_rng(2), 40, 0.5)
    conformal = fit(posterior, time, groups)
    lower, upper = interval(conformal, posterior, 0.8)
    score = np.abs(SCALE.cdf(posterior, time) - 0.5)
    clear = np.abs(score - conformal.half_width(0.8)) > 1e-9
    inside = (lower <= time) & (time <= upper)
    assert np.array_equal(inside[clear], score[clear] < conformal.half_width(0.8))
    assert (lower < upper).all()


def test_calibrated_posteriors_are_left_nearly_alone():
    rng = np.random.default_rng(8)
    conformal = Conformal.fit(rng.uniform(size=20_000), np.arange(20_000) // 20)
    for level in (0.5, 0.68, 0.9, 0.95):
        assert conformal.half_width(level) == pytest.approx(level / 2, abs=0.012)


def test_higher_levels_hold_lower_ones():
    conformal = fit(*simulations(np.random.default_rng(4), 30, 0.5))
    widths = [conformal.half_width(level) for level in (0.2, 0.5, 0.68, 0.9, 0.95)]
    assert sorted(widths) == widths


def test_a_posterior_that_is_zero_at_true_times_cannot_be_repaired():
    below = np.where(np.arange(40) < 10, 1.0, np.linspace(0.1, 0.9, 40))
    conformal = Conformal.fit(below, np.arange(40))
    assert conformal.half_width(0.5) < 0.4
    with pytest.raises(ValueError, match="gave no probability to too many true times"):
        conformal.half_width(0.9)
    with pytest.raises(ValueError, match="gave no probability"):
        Conformal.fit(np.ones(40), np.arange(40)).half_width(0.1)


def test_it_is_plain_data():
    conformal = fit(*simulations(np.random.default_rng(4), 12, 0.5))
    text = json.dumps(conformal.to_dict())
    assert len(text) < 12_000
    assert Conformal.from_dict(json.loads(text)) == conformal


def test_too_few_groups_are_named():
    conformal = Conformal.fit(np.linspace(0.01, 0.99, 80), np.arange(80) % 8)
    conformal.half_width(0.874)
    with pytest.raises(ValueError, match=r"level 0\.9 need at least 10 calibration groups.*are 8"):
        conformal.half_width(0.9)
    # Rounding up to the next level that is kept must not ask for the groups that are there.
    with pytest.raises(ValueError, match="at least 9 calibration groups"):
        conformal.half_width(0.8755)


@pytest.mark.parametrize("level", [0, 1, -0.5, 68, 0.9999, np.nan])
def test_a_level_is_a_probability(level):
    with pytest.raises(ValueError, match=r"must be above 0 and at most 0\.998"):
        groups_needed(level)


def test_rounding_beyond_one_is_forgiven():
    assert Conformal.fit([0.5, np.nextafter(1, 2)], ["a", "b"]).groups == 2


@pytest.mark.parametrize(
    ("below", "groups", "message"),
    [
        ([], [], "at least one"),
        ([0.5, 0.5], [1], "as many"),
        ([0.5, 1.5], [1, 2], "not between 0 and 1"),
        ([0.5, np.nan], [1, 2], "not between 0 and 1"),
    ],
)
def test_bad_calibration_data_are_refused(below, groups, message):
    with pytest.raises(ValueError, match=message):
        Conformal.fit(below, groups)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"half_widths": [0.2, 0.1], "groups": 3},
        {"half_widths": [0.7], "groups": 3},
        {"half_widths": ["a lot"], "groups": 3},
        {"half_widths": None, "groups": 3},
        {"half_widths": [0.1] * 500, "groups": 3},
    ],
)
def test_data_of_something_else_are_refused(data):
    with pytest.raises(ValueError):
        Conformal.from_dict(data)
