"""How good a judge is on subjects that nobody learnt from, and how sure that is: `table_judges`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from torchmetrics.functional.classification import binary_calibration_error

from prismlib.cohorts.labels import VISIBLE, binarize, in_picture, visible

if TYPE_CHECKING:
    from prismlib.models.classifiers import Classifier

BINS = 15  # of equal width, of the expected calibration error
DRAWS = 1000
EASY = 0.65  # severity from which a finding is easily seen
AGES = (0, 50, 70, 200)
UNKNOWN = float("nan")

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]

# Section 3.3: EfficientNet's accuracies (Table 3's first row), AlexNet's accuracy and AUC. Both
# saw what the generator saw, so they stand beside `biased` and `guide`.
PAPER: Mapping[tuple[str, str], tuple[float, float]] = MappingProxyType(
    {
        ("biased", "Pleural Effusion"): (0.80, UNKNOWN),
        ("biased", "Cardiomegaly"): (0.87, UNKNOWN),
        ("biased", "No Finding"): (0.91, UNKNOWN),
        ("biased", "Support Devices"): (0.86, UNKNOWN),
        ("guide", "Support Devices"): (0.89, 0.91),
    }
)


@dataclass(frozen=True)
class Answers:
    """One judge's probabilities (n,) of one attribute, the truth as bool (n,), whose images."""

    probabilities: Array
    truth: Mask
    patients: NDArray
    threshold: float = 0.5

    def only(self, members: Mask) -> "Answers":
        """The same for some of the images."""
        return Answers(
            self.probabilities[members], self.truth[members], self.patients[members], self.threshold
        )


def strata(table: pd.DataFrame, attribute: str) -> dict[str, Mask]:
    """The groups of images, bool (n,) by name, in which a judge of an attribute is looked at.

    `visible` are images with and without it, those left out in which it would be hard to see:
    findings below severity `VISIBLE`; for No Finding, what is sick by no more than that. The
    severity groups hold their positives and every negative (No Finding: their negatives and every
    positive). Devices have no severity: there the groups are by the number of kinds.
    """
    groups = {"all": np.ones(len(table), dtype=bool)}
    if not table.filter(like="severity:").empty:
        groups |= _by_severity(table, attribute)
    for name, column in (("sex", "Sex"), ("view", "AP/PA")):
        if column in table:
            values = table[column].dropna().unique()
            groups |= {f"{name} {v}": (table[column] == v).to_numpy() for v in sorted(values)}
    if "Age" in table:
        years = table["Age"].astype(float).to_numpy()
        for low, high in pairwise(AGES):
            name = f"age from {low}" if high == AGES[-1] else f"age {low} to {high - 1}"
            groups[name] = (years >= low) & (years < high)
    return groups


def _by_severity(table: pd.DataFrame, attribute: str) -> dict[str, Mask]:
    there = in_picture(table, attribute).to_numpy()
    if attribute == "Support Devices":
        kinds = table.filter(like="device:").sum(axis=1).to_numpy()
        parts = {"one kind": kinds == 1, "two kinds": kinds == 2, "three or more": kinds > 2}
        return {"visible": np.ones(len(table), dtype=bool)} | {
            name: part | ~there for name, part in parts.items()
        }
    columns = "severity:" if attribute == "No Finding" else f"severity:{attribute}"
    worst = table.filter(like=columns).max(axis=1).to_numpy()
    kept = there if attribute == "No Finding" else ~there
    return {
        "visible": visible(table, attribute).to_numpy(),
        "severity hard": kept | ((worst > 0) & (worst < VISIBLE)),
        "severity usual": kept | ((worst >= VISIBLE) & (worst < EASY)),
        "severity easy": kept | (worst >= EASY),
    }


def accuracy(answers: Answers) -> float:
    """The share of right decisions at the judge's threshold."""
    return float(accuracy_score(answers.truth, answers.probabilities >= answers.threshold))


def balanced_accuracy(answers: Answers) -> float:
    """The mean of sensitivity and specificity at the judge's threshold; NaN for a single class."""
    if not _two(answers.truth):
        return UNKNOWN
    return float(balanced_accuracy_score(answers.truth, answers.probabilities >= answers.threshold))


def auc(answers: Answers) -> float:
    """The area under the ROC curve; NaN for a single class."""
    return (
        float(roc_auc_score(answers.truth, answers.probabilities)) if _two(answers.truth)
        else UNKNOWN
    )  # fmt: skip


def calibration_error(answers: Answers) -> float:
    """Expected calibration error (Naeini et al. 2015) of the probability of yes, in `BINS` bins."""
    chances = torch.from_numpy(np.asarray(answers.probabilities, dtype=np.float64))
    truth = torch.from_numpy(answers.truth.astype(np.int64))
    return float(binary_calibration_error(chances, truth, n_bins=BINS, norm="l1"))


def gain(answers: Answers) -> float:
    """How much the accuracy exceeds that of always giving the more frequent answer."""
    share = float(answers.truth.mean())
    return accuracy(answers) - max(share, 1 - share)


def _two(truth: Mask) -> bool:
    return bool(truth.any() and not truth.all())


def resampled(answers: Answers, draws: int = DRAWS, seed: int = 0) -> dict[str, Array]:
    """The scores under `draws` bootstrap samples of whole patients, (draws,) each.

    Every sample is a weighting of the images: how often their patient was drawn. NaN where a
    sample lacks a class.
    """
    _, whose = np.unique(answers.patients, return_inverse=True)
    count = int(whose.max()) + 1
    chance = np.full(count, 1 / count)
    drawn = np.random.default_rng(seed).multinomial(count, chance, size=draws)
    weights: Array = drawn[:, whose].astype(np.float64)
    truth = answers.truth
    right = (answers.probabilities >= answers.threshold) == truth
    with np.errstate(invalid="ignore", divide="ignore"):
        sides = [(weights @ (right & side)) / (weights @ side) for side in (truth, ~truth)]
        return {
            "accuracy": (weights @ right) / weights.sum(axis=1),
            "gain": (weights @ right - np.maximum(weights @ truth, weights @ ~truth))
            / weights.sum(axis=1),
            "balanced_accuracy": (sides[0] + sides[1]) / 2,
            "auc": _weighted_auc(answers, weights),
            "calibration_error": _weighted_calibration(answers, weights),
        }


def _weighted_auc(answers: Answers, weights: Array) -> Array:
    levels, level = np.unique(answers.probabilities, return_inverse=True)
    order = np.argsort(level, kind="stable")
    starts = np.searchsorted(level[order], np.arange(len(levels)))
    positive, negative = (
        np.add.reduceat((weights * side)[:, order], starts, axis=1)
        for side in (answers.truth, ~answers.truth)
    )
    below = negative.cumsum(axis=1) - negative / 2
    return (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))


def _weighted_calibration(answers: Answers, weights: Array) -> Array:
    bins = np.minimum((answers.probabilities * BINS).astype(int), BINS - 1)
    gaps = np.eye(BINS)[bins] * (answers.probabilities - answers.truth)[:, None]
    return np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


SCORES: Mapping[str, Callable[[Answers], float]] = MappingProxyType(
    {
        "accuracy": accuracy,
        "balanced_accuracy": balanced_accuracy,
        "auc": auc,
        "calibration_error": calibration_error,
        "gain": gain,
    }
)


def score_row(answers: Answers, draws: int = DRAWS) -> dict[str, float]:
    """All scores with their 95% intervals (percentiles of `resampled`), n and the majority's."""
    if len(answers.truth) == 0:
        empty = {f"{name}{end}": UNKNOWN for name in SCORES for end in ("", "_low", "_high")}
        return {"n_test": 0, "n_positive": 0, **empty, "majority_accuracy": UNKNOWN}
    samples = resampled(answers, draws)
    row: dict[str, float] = {
        "n_test": len(answers.truth),
        "n_positive": int(answers.truth.sum()),
    }
    for name, measure in SCORES.items():
        known = samples[name][np.isfinite(samples[name])]
        low, high = np.quantile(known, [0.025, 0.975]) if known.size else (UNKNOWN, UNKNOWN)
        row |= {name: measure(answers), f"{name}_low": float(low), f"{name}_high": float(high)}
    share = float(answers.truth.mean())
    return {**row, "majority_accuracy": max(share, 1 - share)}


def compared(first: Answers, second: Answers, draws: int = DRAWS) -> dict[str, float]:
    """Each score of two judges of the same images, and what the first gains, with its 95% interval.

    Patients are resampled for both at once, so that what is hard for both takes no part.
    """
    samples = [resampled(answers, draws) for answers in (first, second)]
    row: dict[str, float] = {"n_test": len(first.truth), "n_positive": int(first.truth.sum())}
    for name, measure in SCORES.items():
        one, other = measure(first), measure(second)
        gains = samples[0][name] - samples[1][name]
        known = gains[np.isfinite(gains)]
        low, high = np.quantile(known, [0.025, 0.975]) if known.size else (UNKNOWN, UNKNOWN)
        row |= {f"{name}_first": one, f"{name}_second": other, f"{name}_gain": one - other}
        row |= {f"{name}_gain_low": float(low), f"{name}_gain_high": float(high)}
    return row


def judge_rows(
    judge: "Classifier",
    name: str,
    training_cohort: str,
    probabilities: Array,
    table: pd.DataFrame,
    against: Sequence[str] = ("in picture", "reported"),
    draws: int = DRAWS,
) -> list[dict[str, object]]:
    """The rows of `table_judges` of one judge: each attribute, against each truth, in each group.

    `probabilities` (n, k) are the judge's of the images of `table`. `against` what is in the
    picture, or what the report says (uncertain as negative; then without groups).
    """
    rows: list[dict[str, object]] = []
    patients = table["Patient"].to_numpy()
    for column, attribute in enumerate(judge.attributes):
        printed = PAPER.get((name, attribute), (UNKNOWN, UNKNOWN))
        named = {"judge": name, "training_cohort": training_cohort, "attribute": attribute}
        for truth in against:
            answers = Answers(
                probabilities[:, column],
                _truth(table, attribute, truth),
                patients,
                judge.threshold(attribute),
            )
            groups = strata(table, attribute)
            for group in groups if truth == "in picture" else ("all",):
                rows.append(
                    {**named, **score_row(answers.only(groups[group]), draws)}
                    | dict(zip(("paper_accuracy", "paper_auc"), printed, strict=True))
                    | {"against": truth, "subjects": group, "threshold": answers.threshold}
                )
    return rows


def _truth(table: pd.DataFrame, attribute: str, against: str) -> Mask:
    if against == "in picture":
        return in_picture(table, attribute).to_numpy()
    return (binarize(table, "u-zeros")[attribute] == 1).to_numpy()
