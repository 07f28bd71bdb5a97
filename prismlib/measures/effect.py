"""What an edit changes in the opinion of a classifier that never saw the generator's subjects."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prismlib.errors import UsageError


def _pair(before: ArrayLike, after: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if first.shape != second.shape or first.size == 0:
        raise UsageError(
            f"got scores of {first.shape} before and {second.shape} after, "
            "expected one shape with at least one score"
        )
    return first, second


def gains(before: ArrayLike, after: ArrayLike, target: int) -> NDArray[np.float64]:
    """How far each probability moved towards `target` (0 or 1); negative if it moved away."""
    if target not in (0, 1):
        raise UsageError(f"got target {target!r}, expected 0 (removed) or 1 (added)")
    first, second = _pair(before, after)
    return (second - first) if target == 1 else (first - second)


def cpg(before: ArrayLike, after: ArrayLike) -> float:
    """Counterfactual prediction gain as published: the mean absolute change of a probability.

    Section 3.2 (ii), after Nemirovsky et al. (2020). It is unsigned, so that an edit in the
    wrong direction counts as much as one in the right direction: see `signed_cpg`.
    """
    first, second = _pair(before, after)
    return float(np.abs(second - first).mean())


def signed_cpg(before: ArrayLike, after: ArrayLike, target: int) -> float:
    """The mean change of a probability towards `target`; at most `cpg`, and it can be negative."""
    return float(gains(before, after, target).mean())


def flips(
    before: ArrayLike, after: ArrayLike, threshold: float = 0.5, target: int | None = None
) -> NDArray[np.float64]:
    """1 where a decision changed, else 0; a decision is positive at `threshold` or above.

    With a `target`, only images that stood on the other side before count, and the rest are NaN:
    an image that was already classified as wanted can neither flip nor fail to. So is an image
    without a score (NaN) on either side.
    """
    if target not in (None, 0, 1):
        raise UsageError(f"got target {target!r}, expected 0 (removed), 1 (added) or None (either)")
    first, second = _pair(before, after)
    was, becomes = first >= threshold, second >= threshold
    counted = np.isfinite(first) & np.isfinite(second)
    if target is not None:
        counted &= was != bool(target)
    return np.where(counted, was != becomes, np.nan)


def flip_rate(
    before: ArrayLike, after: ArrayLike, threshold: float = 0.5, target: int | None = None
) -> float:
    """The share of images whose decision changed (see `flips`); NaN if no image counts."""
    counted = flips(before, after, threshold, target)
    counted = counted[~np.isnan(counted)]
    return float(counted.mean()) if counted.size else float("nan")


def max_abs_logit_shift(before: ArrayLike, after: ArrayLike) -> float:
    """The largest change of any logit, over all images and heads (Appendix B: close to zero)."""
    first, second = _pair(before, after)
    return float(np.abs(second - first).max())
