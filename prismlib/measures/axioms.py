"""What a counterfactual must fulfil: composition, reversibility, effectiveness, minimality.

The axioms are Monteiro et al.'s (2023, arXiv 2303.01274), minimality is of Melistas et al.'s
benchmark (2024, arXiv 2403.20287). Nothing here edits: each function takes what edits gave.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from prismlib.errors import UsageError
from prismlib.measures.intervals import wilson
from prismlib.measures.preservation import Image, l1

Distance = Callable[[Image, Image], float]


def composition(
    factual: Sequence[Image], null_edits: Sequence[Sequence[Image]], distance: Distance = l1
) -> NDArray[np.float64]:
    """How far images drift when nothing is asked of them: distances (k, N), one row a repetition.

    `null_edits` holds, after 1, 2, ... k edits that change no attribute, the images of all N
    subjects. 0 throughout for a perfect model (Monteiro et al., Definition of composition).
    """
    return np.array([_distances(factual, images, distance) for images in null_edits]).reshape(
        len(null_edits), len(factual)
    )


def reversibility(
    factual: Sequence[Image], edited_back: Sequence[Image], distance: Distance = l1
) -> NDArray[np.float64]:
    """How far from itself each image ends after an edit and the edit that undoes it, (N,).

    An editor that changes nothing is perfectly reversible: read it beside `effectiveness`.
    """
    return _distances(factual, edited_back, distance)


@dataclass(frozen=True)
class Effectiveness:
    """How often an oracle finds one attribute as it should be in `n` counterfactuals.

    `share` has Wilson's 95% interval; NaN where for no image is anything expected.
    """

    attribute: str
    n: int
    share: float
    low: float
    high: float


def effectiveness(
    after: ArrayLike, expected: ArrayLike, attributes: Sequence[str], thresholds: ArrayLike = 0.5
) -> list[Effectiveness]:
    """Whether each attribute, the target and all others, came out as expected: one row each.

    `after` are an oracle's probabilities (N, A) in the counterfactuals; `expected` (N, A) is 1, 0
    or NaN where nothing is asked: labels where an intervention's outcome is known, else
    `unchanged_but`. `thresholds` is one for all or one an attribute; positive at or above it.
    """
    probabilities, wanted = np.asarray(after, dtype=float), np.asarray(expected, dtype=float)
    if probabilities.shape != wanted.shape or probabilities.shape[1:] != (len(attributes),):
        raise UsageError(
            f"got probabilities of {probabilities.shape} and expectations of {wanted.shape} "
            f"for {len(attributes)} attributes, expected both (N, {len(attributes)})"
        )
    right = (probabilities >= np.asarray(thresholds)) == (wanted == 1)
    counted = np.isfinite(wanted) & np.isfinite(probabilities)
    return [
        _effectiveness(name, right[counted[:, column], column])
        for column, name in enumerate(attributes)
    ]


def unchanged_but(
    before: ArrayLike,
    target: int,
    wanted: float,
    *,
    thresholds: ArrayLike = 0.5,
    free: Sequence[int] = (),
) -> NDArray[np.float64]:
    """What an edit should leave an oracle saying, (N, A), from its probabilities before, (N, A).

    Column `target` should be `wanted` (0 or 1); every other decision should stay as it was, save
    in the columns `free`, which may follow the target and are NaN ("No Finding", once a disease is
    added). The oracle's own decisions stand for the truth, so that its mistakes do not count
    against the edit.
    """
    probabilities = np.asarray(before, dtype=float)
    decisions = (probabilities >= np.asarray(thresholds)).astype(float)
    expected = np.where(np.isfinite(probabilities), decisions, np.nan)
    expected[:, list(free)] = np.nan
    expected[:, target] = wanted
    return expected


def minimality(
    factual: ArrayLike,
    counterfactual: ArrayLike,
    like_factual: ArrayLike,
    like_counterfactual: ArrayLike,
) -> NDArray[np.float64]:
    """Counterfactual latent divergence of each edit, (N,) in [0, 1]: small is minimal.

    All are embeddings: of the N images, of their edits, and of M and K other subjects' images with
    the attributes of the factual images and of the edits. An edit should move an image less than
    to a stranger who has the target attributes, and yet not less than strangers with its own
    attributes differ: log(exp P(to target strangers <= moved)/2 + exp P(to own strangers >=
    moved)/2). Sanchez and Tsaftaris (2022, arXiv 2202.10166), with equal weights, and Euclidean
    distances in the embedding given where they take a divergence in a VAE's latents.
    """
    own, edited = np.asarray(factual, dtype=float), np.asarray(counterfactual, dtype=float)
    if own.shape != edited.shape or own.ndim != 2:
        raise UsageError(
            f"got embeddings of {own.shape} and {edited.shape}, expected one shape (N, D)"
        )
    moved = np.linalg.norm(edited - own, axis=1)[:, None]
    to_target = cdist(own, np.asarray(like_counterfactual, dtype=float))
    to_own = cdist(own, np.asarray(like_factual, dtype=float))
    if not to_target.size or not to_own.size:
        return np.full(len(own), np.nan)
    as_far = np.mean(to_target <= moved, axis=1)
    as_near = np.mean(to_own >= moved, axis=1)
    return np.log((np.exp(as_far) + np.exp(as_near)) / 2)


def excess_change(counterfactual: Image, factual: Image, truth: Image) -> float:
    """How much an edit changes, as a multiple of what the true counterfactual changes (L1).

    1 is as much as needed; above 1 more was changed than was asked, below 1 less. It does not say
    whether the right pixels changed: see `preservation.error_to_truth`. NaN where the truth is the
    factual image itself.
    """
    needed = l1(truth, factual)
    return l1(counterfactual, factual) / needed if needed else float("nan")


def _distances(
    first: Sequence[Image], second: Sequence[Image], distance: Distance
) -> NDArray[np.float64]:
    if len(first) != len(second):
        raise UsageError(f"got {len(second)} edited images for {len(first)} factual ones")
    return np.array([distance(a, b) for a, b in zip(first, second, strict=True)], dtype=float)


def _effectiveness(attribute: str, right: NDArray[np.bool_]) -> Effectiveness:
    n, hits = len(right), int(right.sum())
    interval = wilson(hits, n)
    share = hits / n if n else float("nan")
    return Effectiveness(attribute, n, share, interval.low, interval.high)
