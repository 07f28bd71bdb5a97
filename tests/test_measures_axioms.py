"""The axioms and the reliance on a cue: by hand, by closed form, and at their ends."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from prismlib.errors import UsageError
from prismlib.measures import axioms, reliance
from prismlib.measures.preservation import psnr

ATTRIBUTES = ("Pleural Effusion", "Cardiomegaly", "No Finding")


def flat(value):
    return np.full((4, 4), value, np.float32)


def test_composition_by_hand():
    factual = [flat(0.5), flat(0.2)]
    once, twice = [flat(0.6), flat(0.2)], [flat(0.7), flat(0.1)]
    found = axioms.composition(factual, [once, twice])
    assert found == pytest.approx(np.array([[0.1, 0], [0.2, 0.1]]), abs=1e-6)
    assert axioms.composition(factual, []).shape == (0, 2)
    assert axioms.composition(factual, [factual], psnr).tolist() == [[math.inf] * 2]
    with pytest.raises(UsageError, match="1 edited images for 2"):
        axioms.composition(factual, [once[:1]])


def test_reversibility_by_hand():
    found = axioms.reversibility([flat(0.5), flat(0.2)], [flat(0.5), flat(0.6)])
    assert found == pytest.approx([0, 0.4])


def test_effectiveness_by_hand():
    expected = [[0, 1, np.nan], [0, 0, np.nan], [0, np.nan, np.nan]]
    after = [[0.1, 0.9, 0.5], [0.6, 0.45, 0.5], [0.2, 0.1, 0.5]]
    found = axioms.effectiveness(after, expected, ATTRIBUTES)
    assert [row.attribute for row in found] == list(ATTRIBUTES)
    assert [row.n for row in found] == [3, 2, 0]
    assert [row.share for row in found[:2]] == pytest.approx([2 / 3, 1])
    assert found[0].low < 2 / 3 < found[0].high and math.isnan(found[2].share)
    # The second attribute counts as present from 0.4 on: the second image is then wrong.
    lower = axioms.effectiveness(after, expected, ATTRIBUTES, [0.5, 0.4, 0.5])
    assert [row.share for row in lower[:2]] == pytest.approx([2 / 3, 1 / 2])
    with pytest.raises(UsageError, match="3 attributes"):
        axioms.effectiveness([[0.1, 0.2]], [[0, 1]], ATTRIBUTES)


def test_what_an_edit_should_leave():
    before = [[0.9, 0.3, 0.8], [0.6, 0.7, np.nan]]
    kept = axioms.unchanged_but(before, target=0, wanted=0)
    assert kept == pytest.approx(np.array([[0, 0, 1], [0, 1, np.nan]]), nan_ok=True)
    free = axioms.unchanged_but(before, 0, 0, thresholds=[0.5, 0.2, 0.5], free=[2])
    assert free == pytest.approx(np.array([[0, 1, np.nan], [0, 1, np.nan]]), nan_ok=True)


@given(arrays.arrays(float, (6, 3), elements=st.floats(0, 1)), st.sampled_from([0, 1]))
def test_an_edit_that_does_nothing_keeps_all_others_and_flips_no_target(before, wanted):
    expected = axioms.unchanged_but(before, 1, wanted)
    effusion, target, finding = axioms.effectiveness(before, expected, ATTRIBUTES)
    assert effusion.share == finding.share == 1
    assert target.share == np.mean((before[:, 1] >= 0.5) == wanted)


def test_minimality_by_hand():
    own, target = [[1.0], [2.0], [-3.0], [4.0]], [[5.0], [6.0]]
    # From 0 to 2.5: none of the target strangers is as near, two of four own ones are as far.
    middling = axioms.minimality([[0.0]], [[2.5]], own, target)
    assert middling == pytest.approx([math.log((1 + math.exp(0.5)) / 2)])
    # Not moved: all own strangers are farther. Beyond all: all target strangers are nearer.
    ends = axioms.minimality([[0.0], [0.0], [0.0]], [[0.0], [9.0], [4.5]], own, target)
    assert ends == pytest.approx([math.log((1 + math.e) / 2)] * 2 + [0.0])
    assert np.isnan(axioms.minimality([[0.0]], [[1.0]], np.empty((0, 1)), target)).all()
    with pytest.raises(UsageError, match="one shape"):
        axioms.minimality([[0.0]], [[1.0, 2.0]], own, target)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.floats(0, 5))
def test_minimality_lies_between_0_and_1_and_knows_no_rotation(seed, step):
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=(n, 2)) for n in (3, 3, 9, 7)]
    rows[1] = rows[0] + step * rows[1]
    found = axioms.minimality(*rows)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert ((found >= -1e-12) & (found <= 1 + 1e-12)).all()
    assert axioms.minimality(*(r @ turn + 1 for r in rows)) == pytest.approx(found)


def test_excess_change_by_hand():
    assert axioms.excess_change(flat(0.2), flat(0.5), flat(0.4)) == pytest.approx(3)
    assert axioms.excess_change(flat(0.5), flat(0.5), flat(0.4)) == 0
    assert math.isnan(axioms.excess_change(flat(0.5), flat(0.5), flat(0.5)))


def test_latching_by_hand():
    before, no_cue, no_disease = [0.9, 0.8, 0.7], [0.7, 0.8, 0.6], [0.3, 0.2, 0.1]
    found = reliance.latching(before, no_cue, no_disease, ["a", "b", "c"])
    assert (found.cue_effect, found.disease_effect) == pytest.approx((0.1, 0.6))
    assert found.score == pytest.approx(1 / 6) and found.n == 3
    assert found.low <= found.score <= found.high


probabilities = arrays.arrays(float, 8, elements=st.floats(0, 1))


@settings(max_examples=20, deadline=None)  # each draws a thousand samples
@given(probabilities, st.floats(0.1, 1), st.floats(-0.5, 2))
def test_a_cue_that_is_a_share_of_the_disease_scores_that_share(before, fall, share):
    found = reliance.latching(before, before - share * fall, before - fall)
    assert found.score == pytest.approx(share, abs=1e-9)
    assert found.low == pytest.approx(share, abs=1e-9) == pytest.approx(found.high, abs=1e-9)


def test_latching_is_unknown_where_the_disease_does_not_show():
    assert math.isnan(reliance.latching([0.5, 0.5], [0.4, 0.4], [0.5, 0.6]).score)
    assert math.isnan(reliance.latching([np.nan], [0.4], [0.5]).score)
    assert reliance.latching([0.9, np.nan], [0.9, 0.1], [0.1, 0.1]).score == 0
    with pytest.raises(UsageError, match="one shape"):
        reliance.latching([0.5, 0.5], [0.4], [0.5, 0.5])
