"""Whether an edited radiograph still shows the same patient, as an embedding sees it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prismlib.errors import UsageError
from prismlib.measures.intervals import wilson


@dataclass(frozen=True)
class Verification:
    """The share of `n` edits that a verifier takes for their own patient, with Wilson's interval.

    A high share alone says little: a verifier that looks away accepts everything. Its `threshold`
    must have been found on strangers (`verifier_threshold`).
    """

    threshold: float
    n: int
    share: float
    low: float
    high: float


def same_patient(factual: ArrayLike, counterfactual: ArrayLike) -> NDArray[np.float64]:
    """The cosine (N,) between each factual image's embedding and its edit's, both (N, D).

    NaN where an embedding has no length. Raises UsageError if the shapes differ.
    """
    first, second = np.asarray(factual, dtype=float), np.asarray(counterfactual, dtype=float)
    if first.shape != second.shape or first.ndim != 2:
        raise UsageError(
            f"got embeddings of {first.shape} and {second.shape}, expected one shape (N, D)"
        )
    return np.sum(_unit(first) * _unit(second), axis=1)


def strangers(embeddings: ArrayLike, patients: Sequence[str]) -> NDArray[np.float64]:
    """The cosines of all pairs of images of two different patients, in no special order."""
    rows, names = _unit(np.asarray(embeddings, dtype=float)), np.asarray(patients)
    if len(rows) != len(names):
        raise UsageError(f"got {len(names)} patients for {len(rows)} embeddings")
    first, second = np.triu_indices(len(rows), k=1)
    apart = names[first] != names[second]
    return (rows @ rows.T)[first[apart], second[apart]]


def verifier_threshold(impostors: ArrayLike, false_matches: float = 0.01) -> float:
    """The cosine above which at most a share `false_matches` of strangers lie; NaN for none."""
    cosines = np.asarray(impostors, dtype=float)
    cosines = cosines[np.isfinite(cosines)]
    if not 0 <= false_matches < 1:
        raise UsageError(f"got a share of false matches of {false_matches}, expected 0 to below 1")
    if not cosines.size:
        return float("nan")
    return float(np.quantile(cosines, 1 - false_matches, method="higher"))


def verify(similarities: ArrayLike, threshold: float) -> Verification:
    """How many edits lie above a verifier's threshold; unknown (NaN) similarities do not count.

    The interval takes edits as independent: give one edit a patient.
    """
    cosines = np.asarray(similarities, dtype=float)
    cosines = cosines[np.isfinite(cosines)]
    n, accepted = len(cosines), int(np.sum(cosines > threshold))
    if np.isnan(threshold) or not n:
        return Verification(threshold, n, *[float("nan")] * 3)
    interval = wilson(accepted, n)
    return Verification(threshold, n, accepted / n, interval.low, interval.high)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, np.nan)
