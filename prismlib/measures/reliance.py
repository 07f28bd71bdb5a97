"""How far a classifier leans on a cue that merely stands beside the disease."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prismlib.errors import UsageError
from prismlib.measures.intervals import bootstrap

UNKNOWN = float("nan")


@dataclass(frozen=True)
class Latching:
    """A spurious-correlation latching score over `n` images, with its 95% interval over patients.

    `cue_effect` and `disease_effect` are the mean falls of the probability of the disease when the
    cue alone and the disease alone are removed.
    """

    score: float
    low: float
    high: float
    cue_effect: float
    disease_effect: float
    n: int


def latching(
    before: ArrayLike,
    without_cue: ArrayLike,
    without_disease: ArrayLike,
    patients: ArrayLike | None = None,
) -> Latching:
    """The fall of a disease's probability when its cue is removed, over that without the disease.

    All three are a classifier's probabilities (N,) of the disease in images that show both, and in
    their two counterfactuals. 0 means that the cue counts for nothing, 1 that it counts as much as
    the disease itself, more that it counts for more; negative that removing the cue makes the
    classifier surer. NaN where removing the disease does not lower the probability: then there is
    nothing to compare with.

    Kumar et al. (2023, arXiv 2308.10984) introduced a Spurious Correlation Latching Score (SCLS)
    "to quantify the extent of the classifier reliance on the spurious correlation as exposed by
    the counterfactual images". Their formula could not be verified when this was written: the
    quantity is so defined here, and its values do not compare with theirs.
    """
    probabilities = [
        np.asarray(given, dtype=float) for given in (before, without_cue, without_disease)
    ]
    shapes = [given.shape for given in probabilities]
    if len(set(shapes)) > 1 or probabilities[0].ndim != 1:
        raise UsageError(f"got probabilities of {shapes}, expected three of one shape (N,)")
    falls = np.stack([probabilities[0] - after for after in probabilities[1:]], axis=1)
    known = np.isfinite(falls).all(axis=1)
    interval = bootstrap(falls, patients, statistic=_ratio)
    cue, disease = falls[known].mean(axis=0) if known.any() else (UNKNOWN, UNKNOWN)
    return Latching(
        score=_ratio(falls[known]),
        low=interval.low,
        high=interval.high,
        cue_effect=float(cue),
        disease_effect=float(disease),
        n=int(known.sum()),
    )


def _ratio(falls: NDArray[np.float64]) -> float:
    """The mean of the first column over that of the second; NaN if this is not above 0."""
    if not len(falls):
        return UNKNOWN
    cue, disease = falls.mean(axis=0)
    return float(cue / disease) if disease > 0 else UNKNOWN
