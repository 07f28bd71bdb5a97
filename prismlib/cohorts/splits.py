"""Who is trained on, who is chosen by, who is reported: the paper's split and one by patient."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from prismlib.cohorts.labels import frontal
from prismlib.errors import UsageError

SPLITS = ("train", "validation", "test")
TEST_SIZE = 0.15
PAPER_SEED = 42


@dataclass(frozen=True)
class Overlap:
    """How much of one split belongs to patients (or studies) who are in another too."""

    images: int
    shared_images: int
    groups: int
    shared_groups: int

    @property
    def image_share(self) -> float:
        """The share of the images, in [0, 1]; NaN for an empty split."""
        return self.shared_images / self.images if self.images else float("nan")

    @property
    def group_share(self) -> float:
        """The share of the patients (or studies), in [0, 1]; NaN for an empty split."""
        return self.shared_groups / self.groups if self.groups else float("nan")


def paper_split(table: pd.DataFrame) -> pd.Series:
    """The split that gives Table 1: images drawn one by one, whoever they belong to.

    Two draws of scikit-learn's `train_test_split` with 15% and the seed 42, the first for test
    and the second, among the rest, for validation. Only frontal rows are in it: the result is
    indexed by them. It depends on the rows' order, as the paper's does.
    """
    images = frontal(table).index
    return _cut(images, PAPER_SEED, "frontal images")


def patient_split(table: pd.DataFrame, seed: int = PAPER_SEED) -> pd.Series:
    """The same two draws, of patients instead of images: nobody is in two splits.

    Indexed by the frontal rows. It does not depend on the rows' order.
    """
    rows = frontal(table)
    patients = pd.Index(rows["Patient"].unique()).sort_values()
    chosen = _cut(patients, seed, "patients")
    return rows["Patient"].map(chosen).rename("split")


def judges_split(table: pd.DataFrame, split: pd.Series, seed: int = PAPER_SEED) -> pd.Series:
    """Take 15% of the training patients out as `judges`: those whom only classifiers see."""
    from sklearn.model_selection import train_test_split

    patients = table.loc[split.index, "Patient"]
    train = np.sort(patients[split == "train"].unique())
    if len(train) < 2:
        raise UsageError(f"{len(train)} training patients; expected at least 2 to spare a judge's")
    judges = train_test_split(train, test_size=TEST_SIZE, random_state=seed)[1]
    return split.mask((split == "train") & patients.isin(judges), "judges")


def patient_overlap(
    table: pd.DataFrame,
    split: pd.Series,
    of: str = "test",
    other: str = "train",
    level: str = "Patient",
) -> Overlap:
    """How many images of split `of` belong to patients who are also in split `other`.

    `level` is `Patient` or `Study`; a study is one patient's one visit.
    """
    keys = ["Patient", "Study"] if level == "Study" else [level]
    groups = table.loc[split.index, keys].groupby(keys, sort=False, dropna=False).ngroup()
    ours, theirs = groups[split == of], groups[split == other]
    own = pd.Series(ours.unique())
    shared_images, shared_groups = int(ours.isin(theirs).sum()), int(own.isin(theirs).sum())
    return Overlap(len(ours), shared_images, len(own), shared_groups)


def _cut(units: pd.Index, seed: int, what: str) -> pd.Series:
    """Name each unit train, validation or test by two seeded draws of 15%."""
    from sklearn.model_selection import train_test_split

    if len(units) < 3:
        raise UsageError(f"{len(units)} {what} in the table; expected at least 3 to split them")
    rest, test = train_test_split(units.to_numpy(), test_size=TEST_SIZE, random_state=seed)
    _, validation = train_test_split(rest, test_size=TEST_SIZE, random_state=seed)
    split = pd.Series("train", index=units, name="split")
    split[validation] = "validation"
    split[test] = "test"
    return split
