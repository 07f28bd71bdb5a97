"""What every cohort can do, whoever is in it, and how a profile's cohort is opened."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from prismlib.config import Profile
from prismlib.errors import UsageError

SPLITS = ("train", "development", "test", "judges")
ROOT_VARIABLE = "PRISM_CHEXPERT_ROOT"

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """The true counterfactual of a subject.

    `image` is float32 (512, 512) in [0, 1]; `mask`, bool (512, 512), is where it differs from the
    factual image.
    """

    image: Image
    mask: Mask


class Cohort(Protocol):
    """Radiographs with their label table, one row for each image.

    `table` has a RangeIndex, CheXpert's columns and `Patient`; `simulated` says whether anybody
    was ever imaged.
    """

    name: str
    simulated: bool
    table: pd.DataFrame

    def __len__(self) -> int:
        """The number of images."""

    def image(self, index: int) -> Image:
        """The factual image of row `index`, float32 (512, 512) in [0, 1], bright is dense."""

    def truth(self, index: int, intervention: Mapping[str, float]) -> Truth | None:
        """The image under an intervention, all else held; None where it cannot be known."""


def open_cohort(
    profile: Profile, split: str, n: int | None = None, seed: int | None = None
) -> Cohort:
    """The cohort of a profile: simulated subjects, or CheXpert at `PRISM_CHEXPERT_ROOT`.

    `split` is `train`, `development` (settings are chosen on it) or `judges` (only classifiers
    that judge are trained on it); `test` is reported and opens with `sealed.open_test` alone. No
    patient is in two of the four. `seed`, the profile's if None, decides who is drawn when `n` is
    less than all.
    """
    if split not in SPLITS:
        raise UsageError(f"split {split!r}; expected one of {', '.join(SPLITS)}")
    if split == "test":
        raise UsageError(
            "the test split is sealed: nothing is trained or tuned on it; code that reports opens "
            "it with prismlib.cohorts.sealed.open_test(profile, n, seed, reason=...)"
        )
    return unsealed(profile, split, n, seed)


def unsealed(profile: Profile, split: str, n: int | None, seed: int | None) -> Cohort:
    """Any split of a profile's cohort; for `open_cohort` and `sealed.open_test` alone."""
    seed = profile.seed if seed is None else seed
    if profile.simulated:
        from prismlib.cohorts.phantom.cohort import PhantomCohort

        return PhantomCohort(split, n, seed=seed)
    from prismlib.cohorts.chexpert import CheXpertCohort

    return CheXpertCohort(chexpert_root(profile), split, n, seed)


def chexpert_root(profile: Profile) -> str:
    """The folder that `PRISM_CHEXPERT_ROOT` names; `UsageError` if it names none."""
    root = os.environ.get(ROOT_VARIABLE)
    if not root:
        raise UsageError(
            f"profile {profile.name!r} reads CheXpert, but {ROOT_VARIABLE} is not set; set it to "
            "the folder that holds CheXpert's train.csv"
        )
    return root
