"""Agreement with the truth, by arithmetic on a few numbers."""

import math

import numpy as np
import pytest

from prismlib.measures.agreement import bland_altman, least_detectable_change, r_squared


def test_bias_and_limits_of_four_differences():
    found = bland_altman([1, 2, 3, 4], [1, 4, 5, 8])  # differences 0, 2, 2, 4
    deviation = math.sqrt((4 + 0 + 0 + 4) / 3)
    assert found.n == 4
    assert found.bias == 2
    assert found.low == pytest.approx(2 - 1.96 * deviation)
    assert found.high == pytest.approx(2 + 1.96 * deviation)
    assert found.least_change == pytest.approx(1.96 * math.sqrt(2) * deviation)


def test_a_measurement_that_reads_too_low_has_a_negative_bias():
    found = bland_altman([10, 20, 30], [9, 19, 29])
    assert (found.bias, found.low, found.high, found.least_change) == (-1, -1, -1, 0)


def test_what_was_not_measured_is_left_out():
    with_gaps = bland_altman([1, 2, np.nan, 3, 4], [2, np.nan, 5, 5, 5])
    assert with_gaps == bland_altman([1, 3, 4], [2, 5, 5])
    assert with_gaps.n == 3


@pytest.mark.parametrize("truth", [[], [1.0], [1.0, np.nan]])
def test_fewer_than_two_measurements_have_no_limits(truth):
    found = bland_altman(truth, truth)
    assert found.n == min(len(truth), 1)
    assert math.isnan(found.bias) and math.isnan(found.low) and math.isnan(found.least_change)


def test_limits_hold_about_95_of_100_differences():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 100, 20_000)
    error = rng.normal(3, 5, truth.size)
    found = bland_altman(truth, truth + error)
    inside = (error > found.low) & (error < found.high)
    assert inside.mean() == pytest.approx(0.95, abs=0.005)
    twice = rng.normal(3, 5, truth.size) - error
    assert (np.abs(twice) < found.least_change).mean() == pytest.approx(0.95, abs=0.005)


def test_r_squared_is_that_of_the_best_line_and_knows_no_sign():
    truth = np.array([0.0, 1.0, 2.0, 3.0])
    assert r_squared(truth, 5 - 2 * truth) == pytest.approx(1)
    assert r_squared(truth, [0, 1, 1, 0]) == pytest.approx(0)
    assert r_squared(truth, [0, 1, 2, 2]) == pytest.approx(3.5**2 / (5 * 2.75))


def test_r_squared_needs_three_that_vary():
    assert math.isnan(r_squared([1, 2], [1, 2]))
    assert math.isnan(r_squared([1, 1, 1], [1, 2, 3]))
    assert math.isnan(r_squared([1, 2, np.nan], [1, 2, 3]))


def test_least_change_of_repeated_pairs():
    assert least_detectable_change([3, -4, np.nan]) == pytest.approx(1.96 * math.sqrt(12.5))
    assert math.isnan(least_detectable_change([]))
