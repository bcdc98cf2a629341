"""Figures of merit against analytic answers and other libraries."""

import numpy as np
import pytest
from astropy import units as u
from scipy.stats import beta, bootstrap, norm, spearmanr
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from astro_deepgalaxy.metrics import (
    bootstrap_range,
    class_accuracy,
    detection,
    error_bins,
    interval_coverage,
    quantile_calibration,
    rank_correlation,
)


def test_the_range_of_a_mean_is_that_of_scipy():
    values = np.random.default_rng(1).normal(size=60)
    low, high = bootstrap_range(lambda rows: values[rows].mean(), np.arange(60), resamples=4000)
    theirs = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert low == pytest.approx(theirs.low, abs=0.02)
    assert high == pytest.approx(theirs.high, abs=0.02)


def test_images_of_one_group_move_together():
    """With all variance between groups the range is that of the groups' means, not narrower."""
    rng = np.random.default_rng(1)
    mean = rng.normal(size=30)
    groups = np.repeat(np.arange(30), 50)
    low, high = bootstrap_range(lambda rows: mean[groups[rows]].mean(), groups)
    assert high - low == pytest.approx(2 * 1.96 * mean.std() / np.sqrt(30), rel=0.15)


def test_one_group_has_no_range():
    low, high = bootstrap_range(lambda rows: np.array([1.0, 2.0]), ["a", "a"])
    assert np.isnan(low).all()
    assert low.shape == high.shape == (2,)


def test_coverage_of_a_small_example():
    true = [0, 10, 20, 30, np.nan] * u.Myr
    coverage = interval_coverage(
        true - 5 * u.Myr, [5, 5, 25, 25, 5] * u.Myr, true, ["a", "a", "a", "b", "b"], 0.9
    )
    # Group a: two of three inside; group b: none of one. Both count the same.
    assert coverage.share == pytest.approx(1 / 3)
    assert (coverage.n, coverage.groups) == (4, 2)
    assert coverage.width == 5
    assert (coverage.low, coverage.high) == pytest.approx((0, 2 / 3))


def test_the_range_of_a_coverage_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(40), 10)
    held = 0
    for seed in range(100):
        chance = rng.beta(8, 2, 40)[groups]
        inside = rng.uniform(size=400) < chance
        true = np.where(inside, 0, 2) * u.Myr
        found = interval_coverage(
            true * 0 - 1 * u.Myr, true * 0 + 1 * u.Myr, true, groups, 0.8, seed
        )
        held += found.low <= 0.8 <= found.high
    assert 0.88 <= held / 100 <= 1


def test_quantiles_of_calibrated_and_of_narrow_posteriors():
    rng = np.random.default_rng(2)
    groups = np.arange(4000) // 20
    levels = [0.1, 0.5, 0.9]
    right = quantile_calibration(rng.uniform(size=4000), groups, levels)
    assert np.allclose(right.share, levels, atol=0.02)
    narrow = quantile_calibration(norm.cdf(2 * rng.normal(size=4000)), groups, levels)
    assert np.allclose(narrow.share, norm.cdf(norm.ppf(levels) / 2), atol=0.03)
    assert narrow.low[0] > 0.1
    assert narrow.high[2] < 0.9


def test_nothing_to_compare_is_an_error():
    nan = [np.nan] * u.Myr
    with pytest.raises(ValueError, match="no image has both an interval and a true time"):
        interval_coverage(nan, nan, nan, ["a"], 0.9)
    with pytest.raises(ValueError, match="no image has both a posterior and a true time"):
        quantile_calibration([np.nan], ["a"])
    with pytest.raises(ValueError, match="no image has both class probabilities and a true class"):
        class_accuracy(np.full((2, 71), 1 / 71), [-1, -1])


def test_accuracy_of_a_small_example():
    probabilities = np.full((5, 10), 0.01)
    guess = [3, 3, 3, 3, 3]
    probabilities[np.arange(5), guess] = 0.5
    probabilities[:, 4:8] += [0.04, 0.03, 0.02, 0.01]
    probabilities[4] = np.nan
    # Right; two off; among the best five but far; far; failed.
    accuracy = class_accuracy(probabilities, [3, 5, 7, 9, 3])
    assert accuracy.n == 4
    assert accuracy.top_1 == 1 / 4
    assert accuracy.within_2 == 2 / 4
    assert accuracy.top_5 == 3 / 4


def test_a_class_beyond_the_scale_is_named():
    with pytest.raises(ValueError, match="a true class is 80; the classes are 0 to 70"):
        class_accuracy(np.full((2, 71), 1 / 71), [1, 80])


@pytest.fixture(scope="module")
def judged():
    """Probabilities from two beta distributions, of 3000 mergers and 2000 others."""
    rng = np.random.default_rng(6)
    truth = np.arange(5000) < 3000
    probability = np.where(truth, rng.beta(4, 2, 5000), rng.beta(2, 4, 5000))
    return probability, truth, np.arange(5000) // 50


def test_detection_is_that_of_the_distributions(judged):
    found = detection(*judged, prevalence=0.1)
    assert (found.n, found.mergers, found.groups) == (5000, 3000, 100)
    assert found.auc == pytest.approx(roc_auc_score(judged[1], judged[0]))
    assert found.auc_low < found.auc < found.auc_high
    for threshold, complete, false in zip(
        found.thresholds[::10], found.completeness[::10], found.false_positive[::10], strict=True
    ):
        assert complete == pytest.approx(beta(4, 2).sf(threshold), abs=0.03)
        assert false == pytest.approx(beta(2, 4).sf(threshold), abs=0.03)
    assert np.all(np.diff(found.thresholds) > 0)
    assert found.brier < found.brier_constant == pytest.approx(0.24)


def test_purity_is_what_a_sky_of_that_prevalence_would_show(judged):
    probability, truth, _ = judged
    found = detection(*judged, prevalence=0.1)
    i = np.searchsorted(found.thresholds, 0.6)
    called = probability >= found.thresholds[i]
    weights = np.where(truth, 0.1 / 3000, 0.9 / 2000)
    assert found.purity[i] == pytest.approx(precision_score(truth, called, sample_weight=weights))
    assert found.completeness[i] == pytest.approx(recall_score(truth, called))


def test_reliability_of_probabilities_that_are_true():
    rng = np.random.default_rng(0)
    probability = rng.uniform(size=5000)
    truth = rng.uniform(size=5000) < probability
    found = detection(probability, truth, np.arange(5000) // 50, 0.5)
    assert np.allclose(found.measured, found.stated, atol=0.05)
    assert sum(found.counts) == 5000
    assert found.brier == pytest.approx(1 / 6, abs=0.01)


@pytest.mark.parametrize(
    ("truth", "prevalence", "message"),
    [
        ([True, True], 0.1, "is none but mergers"),
        ([False, False], 0.1, "is no merger"),
        ([True, False], 1.0, "prevalence must be between 0 and 1"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(truth, prevalence, message):
    with pytest.raises(ValueError, match=message):
        detection([0.2, 0.7], truth, ["a", "b"], prevalence)


def test_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(3)
    first = rng.normal(size=40)
    second = first + rng.normal(size=40)
    found = rank_correlation([*first, np.nan], [*second, 1])
    assert found.n == 40
    assert found.rho == pytest.approx(spearmanr(first, second).statistic)
    # Fisher's transformation, with the variance of Bonett and Wright (2000).
    error = 1.96 * np.sqrt((1 + found.rho**2 / 2) / 37)
    expected = np.tanh(np.arctanh(found.rho) + np.array([-error, error]))
    assert [found.low, found.high] == pytest.approx(expected, abs=0.12)


def test_an_order_needs_three():
    with pytest.raises(ValueError, match="three galaxies or more"):
        rank_correlation([1, 2, np.nan], [1, 2, 3])
    with pytest.raises(ValueError, match="whose values differ"):
        rank_correlation([1, 1, 1], [1, 2, 3])


def test_errors_in_bins_of_numbers():
    value = np.arange(1000.0)
    error = np.where(value < 500, 10.0, -30.0)
    bins = error_bins(error, value, np.arange(1000) % 20, bins=4)
    assert [row.n for row in bins] == [250, 250, 250, 250]
    assert [row.median for row in bins] == [10, 10, 30, 30]
    assert bins[0].name == "0 to 250"
    assert bins[0].groups == 20
    assert bins[0].low <= bins[0].median <= bins[0].high


def test_few_values_have_a_bin_each_and_gaps_have_none():
    value = np.array([0.5, 1.0, 0.5, 1.0, np.nan, np.inf])
    bins = error_bins([1, 2, 3, np.nan, 5, 6], value, ["a", "b", "a", "b", "a", "b"])
    assert [(row.name, row.n, row.median) for row in bins] == [("0.5", 2, 2.0), ("1", 1, 2.0)]
    assert np.isnan(bins[1].low)


def test_names_keep_their_order():
    bins = error_bins(
        [1, 2, 3],
        np.array(["late", "early", ""]),
        ["a", "b", "c"],
        names=("early", "middle", "late"),
    )
    assert [(row.name, row.position) for row in bins] == [("early", 0.0), ("late", 2.0)]
