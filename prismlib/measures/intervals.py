"""How sure a number is: intervals that respect that images of one patient are alike."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from prismlib.errors import UsageError

Statistic = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True)
class Interval:
    """A confidence interval; both ends are NaN where none can be given."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


UNKNOWN = Interval(float("nan"), float("nan"))


def bootstrap(
    values: ArrayLike,
    groups: ArrayLike | None = None,
    n: int = 1000,
    rng: np.random.Generator | None = None,
    *,
    statistic: Statistic | None = None,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of a statistic (default: the mean) under resampling of whole groups.

    `values` is (N,), or (N, K) for a statistic of several columns; rows with a NaN are left out.
    `groups` (N,) names the patient of each row; every patient is drawn with all its rows, because
    two radiographs of one patient are not two observations. Without `groups` each row is its own.
    `rng` defaults to a generator seeded with 0. Fewer than two groups give an unknown interval.
    """
    rows = np.asarray(values, dtype=float)
    rows = rows[:, None] if rows.ndim == 1 else rows
    names = np.arange(len(rows)) if groups is None else np.asarray(groups)
    if len(names) != len(rows):
        raise UsageError(f"got {len(names)} groups for {len(rows)} values, expected one for each")
    known = ~np.isnan(rows).any(axis=1)
    rows, names = rows[known], names[known]
    members = _members(names)
    if len(members) < 2:
        return UNKNOWN
    rng = np.random.default_rng(0) if rng is None else rng
    draws = rng.integers(len(members), size=(n, len(members)))
    if statistic is None and rows.shape[1] == 1:
        results = _means(rows[:, 0], members, draws)
    else:
        results = np.array([_apply(statistic, rows, members, draw) for draw in draws])
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.nanquantile(results, tails) if np.isfinite(results).any() else (np.nan, np.nan)
    return Interval(float(low), float(high))


def _members(names: NDArray) -> list[NDArray[np.int64]]:
    """The rows of each group."""
    _, numbers = np.unique(names, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers))[:-1]) if len(names) else []


def _means(
    values: NDArray[np.float64], members: list[NDArray[np.int64]], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The mean of each draw, from the groups' sums and sizes."""
    sums = np.array([values[rows].sum() for rows in members])
    sizes = np.array([len(rows) for rows in members])
    return sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)


def _apply(
    statistic: Statistic | None,
    rows: NDArray[np.float64],
    members: list[NDArray[np.int64]],
    draw: NDArray[np.int64],
) -> float:
    drawn = rows[np.concatenate([members[group] for group in draw])]
    drawn = drawn[:, 0] if drawn.shape[1] == 1 else drawn
    return float(np.mean(drawn)) if statistic is None else float(statistic(drawn))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjusted p-values of several tests, in the order given (Holm 1979).

    The i-th smallest of m is multiplied by m - i + 1, and never falls below a smaller one's; at
    most 1. Rejecting what lies at or below 0.05 keeps the chance of any false rejection at 0.05,
    however the tests depend on each other. NaN (not tested) stays NaN and is not counted. Raises
    UsageError for anything else outside [0, 1].
    """
    raw = np.atleast_1d(np.asarray(p_values, dtype=float))
    known = ~np.isnan(raw)
    tested = raw[known]
    if ((tested < 0) | (tested > 1)).any():
        raise UsageError(f"got p-values from {tested.min():g} to {tested.max():g}, expected 0 to 1")
    order = np.argsort(tested, kind="stable")
    steps = tested[order] * np.arange(len(tested), 0, -1)
    adjusted, result = np.empty_like(tested), np.full(raw.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    result[known] = adjusted
    return result


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927); unknown for n = 0."""
    if not 0 <= successes <= n:
        raise UsageError(f"got {successes} successes of {n}, expected between 0 and {n}")
    if n == 0:
        return UNKNOWN
    z = float(norm.ppf((1 + level) / 2))
    share, weight = successes / n, 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / weight
    half = z / weight * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = float(centre - half) if successes > 0 else 0.0
    high = float(centre + half) if successes < n else 1.0
    return Interval(low, high)
