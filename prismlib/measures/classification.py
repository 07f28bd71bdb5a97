"""How well a classifier does on held-out images, beside what never looking at them scores."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from prismlib.errors import UsageError
from prismlib.measures.intervals import bootstrap

UNKNOWN = float("nan")


@dataclass(frozen=True)
class Performance:
    """One attribute's scores on `n_test` images, averaged over `seeds` trained networks.

    The interval of the accuracy is a 95% bootstrap over patients, for the networks as trained; it
    does not hold how much other training runs would differ. `majority_accuracy` is the share of
    the more frequent answer. NaN where a score cannot be had, as the AUC of a single class.
    """

    attribute: str
    seeds: int
    n_test: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    balanced_accuracy: float
    auc: float
    majority_accuracy: float


def performance(
    attribute: str,
    labels: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    threshold: float = 0.5,
) -> Performance:
    """Score probabilities (seeds, N) against labels (N,) of 0, 1 or NaN (left out).

    Raises UsageError if the shapes do not fit or nothing is labelled.
    """
    truth, scores = np.asarray(labels, dtype=float), np.asarray(probabilities, dtype=float)
    if scores.ndim != 2 or scores.shape[1:] != truth.shape:
        raise UsageError(f"got probabilities {scores.shape} for {truth.shape} labels")
    known = ~np.isnan(truth)
    if not known.any():
        raise UsageError(f"{attribute}: no image has a label")
    truth, scores, names = truth[known] == 1, scores[:, known], np.asarray(patients)[known]
    answers = scores >= threshold
    correct = (answers == truth).mean(axis=0)
    interval = bootstrap(correct, names)
    return Performance(
        attribute=attribute,
        seeds=len(scores),
        n_test=len(truth),
        accuracy=float(correct.mean()),
        accuracy_low=interval.low,
        accuracy_high=interval.high,
        balanced_accuracy=_over_seeds(balanced_accuracy_score, truth, answers),
        auc=_over_seeds(roc_auc_score, truth, scores),
        majority_accuracy=float(max(truth.mean(), 1 - truth.mean())),
    )


def paired_gain(
    labels: ArrayLike,
    before: ArrayLike,
    after: ArrayLike,
    patients: ArrayLike,
    threshold: float = 0.5,
) -> tuple[float, float, float]:
    """How much the accuracy rises from `before` to `after`, both (seeds, N), with its interval.

    Both are asked about the same images, so that what is hard for both takes no part in the
    interval (95% bootstrap over patients).
    """
    truth = np.asarray(labels, dtype=float)
    known = ~np.isnan(truth)
    answers = [np.asarray(scores, dtype=float)[:, known] >= threshold for scores in (before, after)]
    correct = [(answer == (truth[known] == 1)).mean(axis=0) for answer in answers]
    gain = correct[1] - correct[0]
    interval = bootstrap(gain, np.asarray(patients)[known])
    return float(gain.mean()), interval.low, interval.high


def as_table(rows: list[Performance]) -> pd.DataFrame:
    """One row a performance, columns as the contract names them."""
    return pd.DataFrame([vars(row) for row in rows])


def _over_seeds(score: Callable[..., float], truth: NDArray, answers: NDArray) -> float:
    if truth.all() or not truth.any():
        return UNKNOWN
    return float(np.mean([score(truth, answer) for answer in answers]))
