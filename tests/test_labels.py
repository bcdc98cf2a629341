import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, Table
from hypothesis import given
from hypothesis import strategies as st

from astro_deepgalaxy import TimeScale
from astro_deepgalaxy.labels import LABEL_COLUMNS, check_labels

SCALE = TimeScale()


def test_default_scale_covers_minus_190_to_520_myr():
    assert SCALE.edges[0] == -190 * u.Myr
    assert SCALE.edges[-1] == 520 * u.Myr
    assert len(SCALE.centres) == 71


def test_paper_scale_counts_snapshots_of_five_myr():
    assert TimeScale.paper().classify(35 * u.Myr) == 7


@given(st.floats(-1e4, 1e4))
def test_class_contains_its_time(time):
    k = int(SCALE.classify(time * u.Myr))
    if k < 0:
        assert not -190 <= time < 520
    else:
        assert SCALE.edges[k].value <= time < SCALE.edges[k + 1].value


def test_time_units_are_honoured():
    assert SCALE.classify(0.1 * u.Gyr) == SCALE.classify(100 * u.Myr)
    with pytest.raises(u.UnitConversionError):
        SCALE.classify(3 * u.kpc)


def test_not_a_number_has_no_class():
    assert SCALE.classify([np.nan, np.inf, -np.inf] * u.Myr).tolist() == [-1, -1, -1]


@given(
    st.lists(st.floats(0, 1), min_size=71, max_size=71).filter(lambda p: sum(p) > 0.01),
    st.floats(0.01, 0.99),
)
def test_quantile_inverts_the_cumulative_distribution(probabilities, q):
    time = SCALE.quantile(probabilities, q).to_value(u.Myr)
    cumulative = np.concatenate([[0], np.cumsum(probabilities)]) / np.sum(probabilities)
    assert np.interp(time, SCALE.edges.value, cumulative) == pytest.approx(q, abs=1e-6)


def test_quantile_of_a_certain_class_stays_inside_it():
    certain = np.eye(71)[[0, 70]]
    assert np.allclose(SCALE.quantile(certain, 0.5).value, SCALE.centres[[0, 70]].value)
    assert np.allclose(SCALE.quantile(certain, 0.1).value, SCALE.edges[[0, 70]].value + 1)
    assert np.allclose(SCALE.quantile(certain, 1.0).value, SCALE.edges[[1, 71]].value)


def test_quantile_refuses_another_number_of_classes():
    with pytest.raises(ValueError, match="70 classes for a time scale of 71"):
        SCALE.quantile(np.ones(70), 0.5)


@pytest.mark.parametrize("wrong", [{"step": 0}, {"step": -5}, {"n": 0}, {"start": np.nan}])
def test_impossible_scales_are_refused(wrong):
    with pytest.raises(ValueError, match="TimeScale"):
        TimeScale(**wrong)


def test_labels_get_their_units():
    table = Table({"id": ["a", "b"], "time_since_pericentre": [1.0, 2.0]})
    assert check_labels(table)["time_since_pericentre"].unit == u.Myr
    in_gyr = QTable({"id": ["a"], "time_since_pericentre": [0.25] * u.Gyr})
    assert check_labels(in_gyr)["time_since_pericentre"][0] == 250 * u.Myr


def test_masked_labels_become_nan():
    table = Table({"id": ["a", "b"], "separation": np.ma.array([1.0, 2.0], mask=[False, True])})
    assert np.isnan(check_labels(table)["separation"][1])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"file": ["a"]}, "'id' is missing"),
        ({"id": ["a", "a"]}, "'a' stands in more than one row"),
        ({"id": ["a"], "separation": [3] * u.Myr}, "'separation' must be in kpc"),
        ({"id": ["a"], "stage": ["melting"]}, "unknown stage 'melting'"),
    ],
)
def test_wrong_label_tables_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        check_labels(QTable(table))


def test_units_of_label_columns_exist():
    for column in LABEL_COLUMNS:
        assert u.Unit(column.unit) is not None
        assert column.summary.endswith(".")
