"""Autoencoding and generation, where the answer follows from arithmetic."""

import numpy as np
import pandas as pd
import pytest
import torch

from prismlib.errors import UsageError
from prismlib.measures.autoencoding import device_recall
from prismlib.measures.generation import asking_rows, nearness, prompt_agreement

RNG = np.random.default_rng(0)


def people(n=200):
    """Kinds `a` and `b` on a third of the subjects each, nobody with both."""
    kind = np.arange(n) % 3
    return pd.DataFrame({"a": kind == 1, "b": kind == 2}), [f"p{i}" for i in range(n)]


def test_recall_by_kind_is_as_counted():
    kinds, patients = people()
    a, b = (kinds[name].to_numpy() for name in kinds)
    before = np.where(a | b, 0.9, RNG.uniform(0, 0.1, len(a)))
    after = before.copy()
    half = np.flatnonzero(b)[::2]
    after[half] = 0.0  # half of the second kind is lost
    rows = {row.kind: row for row in device_recall(before, after, kinds, patients)}
    assert list(rows) == ["any", "a", "b"]
    assert rows["a"].ratio == 1 and rows["a"].original == 1 and rows["a"].n == a.sum()
    left = 1 - len(half) / b.sum()
    assert rows["b"].reconstructed == rows["b"].ratio == pytest.approx(left)
    assert rows["b"].ratio_low < left < rows["b"].ratio_high
    assert rows["any"].n == (a | b).sum()


def test_a_judge_who_says_yes_to_all_blurred_images_gains_nothing():
    kinds, patients = people(3000)
    there = kinds.any(axis=1).to_numpy()
    before = np.where(there, 0.9, RNG.uniform(0, 0.1, len(there)))
    after = 0.95 + RNG.uniform(0, 0.01, len(there))
    row = device_recall(before, after, kinds, patients, false_positives=0.1)[0]
    assert row.original == 1 and row.reconstructed == pytest.approx(0.1, abs=0.04)


def test_recall_needs_somebody_without_a_device():
    (row,) = device_recall(np.ones(2), np.ones(2), pd.DataFrame({"a": [1, 1]}), ["x", "y"])
    assert row.n == 2 and np.isnan(row.original) and np.isnan(row.ratio)


def test_a_kind_that_nobody_has_is_unknown():
    kinds, patients = people()
    rows = device_recall(np.ones(200), np.ones(200), kinds.assign(c=False), patients)
    assert rows[-1].kind == "c" and rows[-1].n == 0 and np.isnan(rows[-1].ratio)


def test_what_is_rarely_asked_is_asked_often_enough():
    asked = np.full((1000, 2), np.nan)
    asked[:500, 0], asked[500:, 0] = 1, 0  # often
    asked[::100, 1], asked[1::250, 1] = 1, 0  # ten rows and four
    rows = asking_rows(asked, 6, first=100)
    assert rows == sorted(set(rows)) and min(rows) >= 100
    for column, there, not_there in ((0, 6, 3), (1, 6, 3)):
        assert (asked[rows, column] == 1).sum() >= there
        assert (asked[rows, column] == 0).sum() >= not_there
    assert len(rows) <= 18 and asking_rows(asked, 0) == []
    assert len(asking_rows(asked[:, 1:], 1000)) == 14  # no more than there are


def agreed(generated, real, asked):
    patients = np.arange(len(asked))
    return prompt_agreement(
        ["x"], {"x": 0.5}, generated[:, None], real[:, None], asked[:, None], patients
    )[0]


def test_samples_that_show_what_was_asked_score_one_and_silence_is_not_counted():
    asked = np.tile([1.0, 0.0, np.nan], 30)
    shown = np.where(asked == 1, 0.9, 0.1)
    real = shown.copy()
    real[np.flatnonzero(asked == 1)[:15]] = 0.1  # the judge misses half of the real positives
    row = agreed(shown, real, asked)
    assert (row.n, row.n_positive) == (60, 30)
    assert (row.generated, row.real) == (1.0, 0.75) and row.ratio == pytest.approx(4 / 3)
    assert row.ratio_low < row.ratio < row.ratio_high


def test_samples_all_alike_agree_by_chance():
    asked = np.tile([1.0, 0.0, 0.0], 30)
    row = agreed(np.full(90, 0.9), np.where(asked == 1, 0.9, 0.1), asked)
    assert row.generated == 0.5 and row.ratio == 0.5


def test_a_prompt_that_never_varies_cannot_be_judged():
    assert np.isnan(agreed(np.ones(4), np.ones(4), np.ones(4)).ratio)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(UsageError, match="expected"):
        prompt_agreement(
            ["x"], {"x": 0.5}, np.ones((3, 1)), np.ones((2, 1)), np.ones((3, 1)), "abc"
        )


def test_copies_are_near_and_strangers_are_not():
    training, held_out, strangers = (torch.from_numpy(RNG.normal(size=(300, 6))) for _ in range(3))
    copies = nearness("x", training, training[:100] + 1e-3, held_out)
    assert copies.near == 1 and copies.generated < 0.01 < copies.held_out
    assert copies.singled_out > 0.9
    found = nearness("x", training, strangers, held_out)
    assert max(found.near, found.singled_out) < 0.05


def test_smooth_samples_are_near_to_everybody_and_single_nobody_out():
    """Nearer to the middle is nearer to all. Who is copied but there twice is near, not single."""
    training, held_out, strangers = (torch.from_numpy(RNG.normal(size=(300, 6))) for _ in range(3))
    smooth = nearness("x", training, 0.3 * strangers, held_out)
    assert smooth.near > 0.1 and smooth.singled_out < 0.05
    twice = nearness("x", training.repeat(2, 1), training[:9], held_out)
    assert twice.near == 1 and twice.singled_out == 0
