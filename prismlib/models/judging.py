"""What is done with a trained classifier of each role: calibrated, measured, ready to be saved."""

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from prismlib.models.calibration import best_threshold, fold_in, platt
from prismlib.models.classifiers import Classifier, Network
from prismlib.models.readers import DemographicsReader, PatientVerifier, SignsReader
from prismlib.models.roles import AGE_CENTRE, AGE_SCALE, SIGNS, Role, targets

Scores = dict[str, Any]


def finished(
    role: Role, model: Any, images: Tensor, table: pd.DataFrame, policy: str = "u-zeros"
) -> tuple[Network, Scores]:
    """A trained network as its role is used, and how it does on held-out images.

    Calibrated on these images (n, 1, H, W) too, so the scores of a `Classifier` say how well it
    ranks, not how well it would be calibrated elsewhere.
    """
    if role.learns == "demographics":
        return _reader(role, model, images, table)
    if role.learns == "patients":
        return _verifier(role, model, images, table)
    if role.learns == "latents":
        return _measurer(role, model, images, table)
    return _classifier(role, model, images, table, policy)


def _classifier(
    role: Role, model: Any, images: Tensor, table: pd.DataFrame, policy: str
) -> tuple[Classifier, Scores]:
    truth = targets(role, table, policy)
    raw = Classifier(model, role.outputs).logits(images).double().numpy()
    slopes, offsets = np.array([platt(raw[:, k], truth[:, k]) for k in range(raw.shape[1])]).T
    fold_in(model, slopes, offsets)
    chances = 1 / (1 + np.exp(-(raw * slopes + offsets)))
    chosen = {
        name: round(best_threshold(chances[:, k], truth[:, k]), 4)
        for k, name in enumerate(role.outputs)
    }
    classifier = Classifier(model, role.outputs, settings={"thresholds": chosen})
    scores = {
        name: attribute_scores(truth[:, k], chances[:, k], chosen[name])
        for k, name in enumerate(role.outputs)
    }
    return classifier, scores


def attribute_scores(truth: np.ndarray, chances: np.ndarray, threshold: float) -> dict[str, float]:
    """Balanced accuracy at a threshold and area under the ROC curve, NaN where one answer is
    missing."""
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    known = ~np.isnan(truth)
    answers, scores = truth[known] == 1, chances[known]
    if answers.all() or not answers.any():
        return {"balanced_accuracy": float("nan"), "auc": float("nan")}
    return {
        "balanced_accuracy": float(balanced_accuracy_score(answers, scores >= threshold)),
        "auc": float(roc_auc_score(answers, scores)),
    }


def _reader(
    role: Role, model: Any, images: Tensor, table: pd.DataFrame
) -> tuple[DemographicsReader, Scores]:
    fold_in(model, np.array([1.0, AGE_SCALE]), np.array([0.0, AGE_CENTRE]))
    reader = DemographicsReader(model, role.outputs)
    read, truth = reader.read(images), targets(role, table)
    years = truth[:, 1] * AGE_SCALE + AGE_CENTRE
    error = np.abs(read.age - years)
    scores = {
        "Male": attribute_scores(truth[:, 0], read.male, 0.5),
        "Age": {
            "mean_absolute_error_years": float(np.nanmean(error)),
            "of_guessing_the_mean": float(np.nanmean(np.abs(years - np.nanmean(years)))),
        },
    }
    return reader, scores


def _verifier(
    role: Role, model: Any, images: Tensor, table: pd.DataFrame
) -> tuple[PatientVerifier, Scores]:
    bare = PatientVerifier(model, role.outputs)
    same, other = pair_similarities(bare.embed(images), table["Patient"].tolist())
    threshold, error = equal_error(same, other)
    verifier = PatientVerifier(model, role.outputs, settings={"threshold": round(threshold, 4)})
    scores = {
        "auc": _auc(same, other),
        "equal_error_rate": error,
        "threshold": threshold,
        "pairs_of_one_patient": float(len(same)),
    }
    return verifier, scores


def _measurer(
    role: Role, model: Any, images: Tensor, table: pd.DataFrame
) -> tuple[SignsReader, Scores]:
    centre, scale = np.array(list(SIGNS.values())).T
    fold_in(model, scale, centre)
    reader = SignsReader(model, role.outputs)
    truth = targets(role, table) * scale + centre
    found = reader.answers(images).double().numpy()
    return reader, {
        name: _agreement(found[:, k], truth[:, k]) for k, name in enumerate(role.outputs)
    }


def _agreement(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    known = np.isfinite(truth)
    error = np.abs(found - truth)[known]
    share = np.corrcoef(found[known], truth[known])[0, 1] ** 2
    return {"r2": float(share), "mean_absolute_error": float(error.mean())}


def pair_similarities(embeddings: Tensor, patients: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all pairs of studies of one patient, and of pairs of different patients' first
    studies; embeddings (n, k) of unit length."""
    rows: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        rows.setdefault(patient, []).append(row)
    pairs = [pair for own in rows.values() for pair in combinations(own, 2)]
    cosines = (embeddings @ embeddings.T).double().numpy()
    firsts = np.array([own[0] for own in rows.values()])
    among = cosines[np.ix_(firsts, firsts)]
    same = np.array([cosines[pair] for pair in pairs])
    return same, among[np.triu_indices(len(firsts), 1)]


def equal_error(same: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The cosine at which as many true pairs are refused as false ones accepted, and that rate;
    NaN where there are no pairs of either kind."""
    if not len(same) or not len(other):
        return float("nan"), float("nan")
    levels = np.unique(same)
    refused = np.searchsorted(np.sort(same), levels) / len(same)
    accepted = 1 - np.searchsorted(np.sort(other), levels) / len(other)
    best = int(np.abs(refused - accepted).argmin())
    return float(levels[best]), float((refused[best] + accepted[best]) / 2)


def _auc(same: np.ndarray, other: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    if not len(same) or not len(other):
        return float("nan")
    answers = np.r_[np.ones(len(same)), np.zeros(len(other))]
    return float(roc_auc_score(answers, np.r_[same, other]))
