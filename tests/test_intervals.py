"""Intervals against closed forms, a second implementation, and what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from prismlib.errors import UsageError
from prismlib.measures.intervals import Interval, bootstrap, holm, wilson


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy(case):
    successes, n = case
    ours = wilson(successes, n)
    theirs = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert ours.low == pytest.approx(theirs.low, abs=1e-9)
    assert ours.high == pytest.approx(theirs.high, abs=1e-9)
    assert 0 <= ours.low <= successes / n <= ours.high <= 1


def test_wilson_by_hand():
    # z = 1.959964: centre (0.8 + 1.92073/10)/(1 + 3.84146/10), half-width by the same formula
    interval = wilson(8, 10)
    assert interval.low == pytest.approx(0.4902, abs=1e-4)
    assert interval.high == pytest.approx(0.9433, abs=1e-4)


def test_no_data_give_no_interval():
    assert math.isnan(wilson(0, 0).low)
    assert math.isnan(bootstrap([]).low)
    assert math.isnan(bootstrap([1.0]).high)
    assert math.isnan(bootstrap([1.0, 2.0, 3.0], groups=["a", "a", "a"]).low)


def test_senseless_requests_are_refused():
    with pytest.raises(UsageError):
        wilson(5, 4)
    with pytest.raises(UsageError):
        bootstrap([1.0, 2.0], groups=["a"])


def test_bootstrap_of_a_mean_is_close_to_the_normal_interval():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    half = 1.96 * values.std(ddof=1) / np.sqrt(400)
    interval = bootstrap(values, n=4000)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_repeating_images_of_a_patient_adds_no_certainty():
    values = np.random.default_rng(2).normal(0, 1, 60)
    patients = np.arange(60)
    alone = bootstrap(values, patients, rng=np.random.default_rng(5))
    repeated = bootstrap(np.repeat(values, 7), np.repeat(patients, 7), rng=np.random.default_rng(5))
    naive = bootstrap(np.repeat(values, 7), rng=np.random.default_rng(5))
    assert repeated.low == pytest.approx(alone.low)
    assert repeated.high == pytest.approx(alone.high)
    assert naive.high - naive.low < 0.6 * (repeated.high - repeated.low)


def test_the_order_of_the_rows_of_a_patient_does_not_matter():
    values = np.array([1.0, 2.0, 3.0, 10.0, 20.0])
    groups = np.array(["b", "a", "b", "c", "a"])
    order = [4, 2, 0, 1, 3]
    first = bootstrap(values, groups, rng=np.random.default_rng(0))
    second = bootstrap(values[order], groups[order], rng=np.random.default_rng(0))
    assert first.low == pytest.approx(second.low) and first.high == pytest.approx(second.high)


def test_missing_values_are_left_out():
    values = np.array([1.0, np.nan, 2.0, 3.0, np.nan, 4.0])
    assert bootstrap(values) == bootstrap(values[~np.isnan(values)])


def test_a_statistic_of_two_columns_and_the_fast_mean_agree_with_the_slow_one():
    values = np.random.default_rng(3).normal(size=50)
    slow = bootstrap(values, statistic=lambda drawn: float(drawn.mean()))
    assert bootstrap(values).low == pytest.approx(slow.low)
    pairs = np.column_stack([values, values + 2.0])
    shift = bootstrap(pairs, statistic=lambda drawn: float((drawn[:, 1] - drawn[:, 0]).mean()))
    assert shift.low == pytest.approx(2.0) and shift.high == pytest.approx(2.0)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=40),
    st.floats(-3, 3),
)
def test_a_shift_of_the_values_shifts_the_interval(values, shift):
    here = bootstrap(values, n=200, rng=np.random.default_rng(0))
    there = bootstrap(np.add(values, shift), n=200, rng=np.random.default_rng(0))
    assert there.low == pytest.approx(here.low + shift, abs=1e-9)
    assert min(values) - 1e-9 <= here.low <= here.high <= max(values) + 1e-9


def test_holm_by_hand():
    # Smallest first: 4 * 0.01, 3 * 0.02, 2 * 0.04 and the last at least as large as that.
    assert holm([0.02, 0.5, 0.01, 0.04]) == pytest.approx([0.06, 0.5, 0.04, 0.08])
    assert holm([0.03, 0.04]) == pytest.approx([0.06, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert holm([0.3]) == pytest.approx([0.3])


def test_what_was_not_tested_costs_nothing():
    assert holm([0.02, np.nan, 0.01]) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)
    assert holm([]).shape == (0,) and np.isnan(holm([np.nan])).all()
    with pytest.raises(UsageError, match="0 to 1"):
        holm([0.2, 1.2])


p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(p_values, st.randoms())
def test_holm_keeps_the_order_and_is_at_least_raw_and_at_most_bonferroni(raw, shuffler):
    adjusted = holm(raw)
    assert (adjusted >= np.array(raw)).all()
    assert (adjusted <= np.minimum(np.array(raw) * len(raw), 1) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()
    order = list(range(len(raw)))
    shuffler.shuffle(order)
    assert holm(np.array(raw)[order]) == pytest.approx(adjusted[order])


@given(p_values)
def test_holm_rejects_what_its_steps_reject(raw):
    # Holm's own procedure: go up from the smallest, stop at the first above level / (m - i + 1).
    level, rejected = 0.05, np.zeros(len(raw), bool)
    for step, place in enumerate(np.argsort(raw, kind="stable")):
        if raw[place] * (len(raw) - step) > level:
            break
        rejected[place] = True
    assert ((holm(raw) <= level) == rejected).all()


def test_membership():
    assert 0.5 in Interval(0.4, 0.6)
    assert 0.7 not in Interval(0.4, 0.6)
