"""Whether images sampled from prompts show what was asked for, and are nobody's copy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from prismlib.errors import UsageError
from prismlib.measures.judges import Answers, balanced_accuracy, resampled

RARE = 0.01  # the quantile of held-out subjects' distances below which a sample is near a copy
_UNKNOWN = (float("nan"),) * 5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PromptAgreement:
    """A judge's balanced agreement with what prompts say of one attribute.

    `generated` is of images sampled from the prompts, `real` of the subjects whom the prompts
    describe; `ratio` is one by the other, with its 95% bootstrap interval over subjects.
    """

    attribute: str
    n: int
    n_positive: int
    generated: float
    real: float
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class Nearness:
    """How near samples lie to training subjects, beside how near subjects held out do.

    Medians of each one's distance to its nearest training subject. `near` is the share of samples
    nearer than all but 1% of the held-out subjects; a generator that copies has far more of them,
    one that copies nobody about 1%. So does one whose images are smoother than radiographs: they
    lie nearer to everybody. `singled_out` is not moved by that: the share of samples whose distance
    to the nearest, as a share of that to the second nearest, is smaller than all but 1% of the
    held-out subjects'; a copy lies near to one alone, unless that stands twice in the training.
    """

    features: str
    n_training: int
    n_generated: int
    n_held_out: int
    generated: float
    held_out: float
    near: float
    singled_out: float


def asking_rows(asked: Array, each: int, first: int = 0) -> list[int]:
    """Rows whose prompts say of an attribute that it is there, or that it is not, sorted.

    Of every attribute the first `each` rows of the one, from row `first` on, and half as many of
    the other; fewer where there are no more. `asked` (N, k) is as for `prompt_agreement`. Of
    captions as subjects come few ask for what is rare, and then a ratio says little.
    """
    rows: set[int] = set()
    for column in asked.T:
        for value, number in ((1, each), (0, each // 2)):
            found = np.flatnonzero(column == value)
            rows.update(found[found >= first][:number].tolist())
    return sorted(rows)


def prompt_agreement(
    attributes: Sequence[str],
    thresholds: Mapping[str, float],
    generated: Array,
    real: Array,
    asked: Array,
    patients: Sequence[Any],
) -> list[PromptAgreement]:
    """A row an attribute from probabilities (N, k) of samples and of the subjects described.

    `asked` (N, k) is 1 or 0 where the prompt says so and NaN where it says nothing; such rows take
    no part. Raises UsageError if shapes differ.
    """
    if not generated.shape == real.shape == asked.shape == (len(patients), len(attributes)):
        raise UsageError(
            f"got probabilities of {generated.shape} and {real.shape}, prompts of {asked.shape}; "
            f"expected ({len(patients)}, {len(attributes)}) for all"
        )
    names = np.asarray(patients)
    rows = []
    for column, attribute in enumerate(attributes):
        told = ~np.isnan(asked[:, column])
        both = [
            Answers(
                scores[told, column],
                asked[told, column] == 1,
                names[told],
                float(thresholds[attribute]),
            )
            for scores in (generated, real)
        ]
        rows.append(_agreement(attribute, *both))
    return rows


def _agreement(attribute: str, generated: Answers, real: Answers) -> PromptAgreement:
    n, positive = len(generated.truth), int(generated.truth.sum())
    if positive in (0, n):
        return PromptAgreement(attribute, n, positive, *_UNKNOWN)
    made, known = balanced_accuracy(generated), balanced_accuracy(real)
    draws = [resampled(answers)["balanced_accuracy"] for answers in (generated, real)]
    low, high = np.nanquantile(draws[0] / draws[1], [0.025, 0.975])
    return PromptAgreement(
        attribute, n, positive, made, known, made / known, float(low), float(high)
    )


def nearness(name: str, training: Tensor, generated: Tensor, held_out: Tensor) -> Nearness:
    """Distances between features (N, D), (M, D) and (K, D); `name` says what sees them."""
    finder = NearestNeighbors(n_neighbors=2).fit(training.numpy())
    samples, others = (finder.kneighbors(some.numpy())[0] for some in (generated, held_out))
    shares = [_share(*found.T) for found in (samples, others)]
    return Nearness(
        features=name,
        n_training=len(training),
        n_generated=len(generated),
        n_held_out=len(held_out),
        generated=float(np.median(samples[:, 0])),
        held_out=float(np.median(others[:, 0])),
        near=float((samples[:, 0] < np.quantile(others[:, 0], RARE)).mean()),
        singled_out=float((shares[0] < np.quantile(shares[1], RARE)).mean()),
    )


def _share(nearest: Array, second: Array) -> Array:
    """How near the nearest is as a share of the second; 1 where both are the same picture."""
    return np.divide(nearest, second, out=np.ones_like(second), where=second > 0)
