import numpy as np
import pytest
from astropy import units as u

from astro_deepgalaxy.metrics import time_errors


def test_figures_of_a_small_example():
    true = [0, 10, 20, 30, 40] * u.Myr
    predicted = [10, 10, 10, 20, 90] * u.Myr
    errors = time_errors(predicted, true, 20 * u.Myr, predicted - 15 * u.Myr, predicted + 5 * u.Myr)
    assert errors.n == 5
    assert errors.median == 10
    assert errors.mean == 16
    assert errors.bias == 0
    assert errors.baseline == 10
    assert errors.coverage == pytest.approx(2 / 5)
    assert errors.interval_width == 20


def test_units_are_honoured_and_gaps_left_out():
    true = [0, 0.1, np.nan] * u.Gyr
    errors = time_errors([5, np.nan, 3] * u.Myr, true, 0 * u.Myr)
    assert errors.n == 1
    assert errors.median == 5
    assert np.isnan(errors.coverage)


def test_nothing_to_compare_is_an_error():
    with pytest.raises(ValueError, match="no image has both"):
        time_errors([np.nan] * u.Myr, [1] * u.Myr, 0 * u.Myr)
