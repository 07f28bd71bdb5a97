"""Who trains which classifier: pools of patients, none shared with another nor with the test.

A judge that has met a subject, or another judge's subjects, is no second opinion. Each role has a
pool of its own: a range of rows of a simulated split, or a share of the patients of a real one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from prismlib.cohorts.cohort import Cohort, Image, Truth, open_cohort
from prismlib.cohorts.labels import normal
from prismlib.cohorts.splits import paper_split
from prismlib.config import Profile
from prismlib.errors import UsageError


@dataclass(frozen=True)
class Pool:
    """Where the subjects of a role come from.

    Simulated: rows `first` to `last` of a `split`, drawn with a `spurious` strength; patients
    never cross multiples of 64, where all pools begin. Real: `share` (from, to) of the split's
    patients in a fixed random order.
    """

    split: str
    first: int
    last: int
    share: tuple[float, float]
    spurious: str | float = "natural"


# `biased` sees what the generator sees, correlations included; the judge's devices are drawn
# independently of effusion and cardiomegaly; `encoder` is for a second image-text encoder and
# `signs` for measured signs that learn. `last` of one is `first` of the next.
POOLS: Mapping[str, Pool] = MappingProxyType(
    {
        "biased": Pool("train", 0, 200_000, (0.0, 1.0)),
        "guide": Pool("judges", 0, 2_496, (0.0, 0.15)),
        "reader": Pool("judges", 2_496, 4_992, (0.15, 0.3)),
        "verifier": Pool("judges", 4_992, 40_960, (0.3, 0.45)),
        "judge": Pool("judges", 40_960, 102_400, (0.45, 0.8), spurious=0.5),
        "encoder": Pool("judges", 102_400, 149_952, (0.8, 0.95)),
        "signs": Pool("judges", 149_952, 200_000, (0.95, 1.0)),
    }
)


NORMAL = "normal"
"""Subjects of the generator's split without any finding or device: its base learns anatomy."""
SEARCHED = 64_000  # rows among which a simulated cohort's normal subjects are looked for; 4% are

LEAK = ("leaky", "strict")
"""Two classifiers that show what the paper's split by image is worth: see `leak_rows`."""
LEAK_SIZE = 2_500


class PartOfCohort:
    """Some rows of a cohort as a cohort of its own."""

    def __init__(self, whole: Cohort, rows: np.ndarray, name: str) -> None:
        self.whole, self.rows, self.name = whole, np.asarray(rows), name
        self.simulated = whole.simulated
        self.table = whole.table.iloc[self.rows].reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, index: int) -> Image:
        """The factual image of row `index`, float32 (512, 512) in [0, 1]."""
        return self.whole.image(int(self.rows[index]))

    def truth(self, index: int, intervention: Mapping[str, float]) -> Truth | None:
        """The image of row `index` under an intervention, where it can be known."""
        return self.whole.truth(int(self.rows[index]), intervention)

    def latents(self, index: int) -> dict[str, float]:
        """What a reader would measure in row `index`; a simulated cohort's alone."""
        return self._simulated().latents(int(self.rows[index]))

    def scene(self, index: int) -> Any:
        """The drawn anatomy of row `index`; a simulated cohort's alone."""
        return self._simulated().scene(int(self.rows[index]))

    def masks(self, index: int) -> dict[str, NDArray[np.bool_]]:
        """What lies where in row `index`, bool (512, 512) each; a simulated cohort's alone."""
        masks: dict[str, NDArray[np.bool_]] = self._simulated().masks(int(self.rows[index]))
        return masks

    def _simulated(self) -> Any:
        if not self.simulated:
            raise UsageError(f"{self.name}: nobody knows more of real patients than their labels")
        return self.whole


def open_pool(
    profile: Profile, role: str, n: int | None = None, seed: int | None = None
) -> PartOfCohort:
    """The first `n` subjects of a role's pool, all if None.

    For the two of `LEAK`, `n` counts the subjects of the biased pool that are split; `NORMAL` are
    the normal ones among them.

    Raises UsageError for an unknown role, and for more subjects than the pool has.
    """
    if role in LEAK:
        return _leak(profile, role, n or LEAK_SIZE, seed)
    if role == NORMAL:
        return _normal(profile, n, seed)
    if role not in POOLS:
        raise UsageError(f"role {role!r}; expected one of {', '.join((*POOLS, NORMAL, *LEAK))}")
    pool = POOLS[role]
    if profile.simulated:
        return _simulated(pool, role, n, profile.seed if seed is None else seed)
    return _real(pool, role, open_cohort(profile, pool.split, None, seed), n)


def _normal(profile: Profile, n: int | None, seed: int | None) -> PartOfCohort:
    whole = open_pool(profile, "biased", SEARCHED if profile.simulated else None, seed)
    rows = np.flatnonzero(normal(whole.table))
    _check(len(rows) if n is None else n, len(rows), NORMAL)
    return PartOfCohort(whole, rows[:n], f"{whole.name}-{NORMAL}")


@dataclass(frozen=True)
class LeakRows:
    """Rows of one table: `test` images, and two training sets of one size without them.

    `leaky` may hold other images of the test images' patients, as the paper's split by image does;
    `strict` holds none of theirs.
    """

    test: np.ndarray
    leaky: np.ndarray
    strict: np.ndarray


def leak_rows(table: pd.DataFrame, seed: int = 0) -> LeakRows:
    """Split a table by image as Table 1 is split, and find as many images by patient.

    Both training sets are then asked about the same images, so that what differs is the leak.
    """
    split = paper_split(table)
    rest, test = split.index[split != "test"], split.index[split == "test"]
    strangers = rest[~table.loc[rest, "Patient"].isin(table.loc[test, "Patient"])]
    rng = np.random.default_rng(seed)
    leaky = np.sort(rng.choice(rest, len(strangers), replace=False))
    return LeakRows(test.to_numpy(), leaky, strangers.to_numpy())


def _leak(profile: Profile, role: str, n: int, seed: int | None) -> PartOfCohort:
    whole = open_pool(profile, "biased", n, seed)
    return PartOfCohort(whole, getattr(leak_rows(whole.table), role), f"{whole.name}-{role}")


def _simulated(pool: Pool, role: str, n: int | None, seed: int) -> PartOfCohort:
    from prismlib.cohorts.phantom.cohort import PhantomCohort

    n = pool.last - pool.first if n is None else n
    _check(n, pool.last - pool.first, role)
    whole = PhantomCohort(pool.split, pool.first + n, seed=seed, spurious=pool.spurious)
    return PartOfCohort(whole, np.arange(pool.first, pool.first + n), f"{whole.name}-{role}")


def _real(pool: Pool, role: str, whole: Cohort, n: int | None) -> PartOfCohort:
    patients = np.sort(whole.table["Patient"].unique())
    order = np.random.default_rng(0).permutation(len(patients))
    ends = [round(share * len(patients)) for share in pool.share]
    chosen = whole.table["Patient"].isin(patients[order[slice(*ends)]])
    rows = np.flatnonzero(chosen)
    _check(len(rows) if n is None else n, len(rows), role)
    return PartOfCohort(whole, rows[:n], f"{whole.name}-{role}")


def _check(n: int, most: int, role: str) -> None:
    if not 1 <= n <= most:
        raise UsageError(f"{n} subjects of the pool {role!r}; it has {most}, ask for 1 to that")
