"""What a label table and its split say before anything is trained: counts, majorities, leakage.

Every function gives a tidy table, one row for each number; `None` for a split means all rows.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from prismlib.cohorts.labels import ATTRIBUTES, LABELS, POLICIES, binarize
from prismlib.cohorts.splits import SPLITS, paper_split, patient_overlap, patient_split

PRINTED_TABLE_1: Mapping[str, Mapping[str, int]] = {
    "train": dict(zip(ATTRIBUTES, (62509, 21888, 12222, 78211), strict=True)),
    "validation": dict(zip(ATTRIBUTES, (10996, 3739, 2161, 13678), strict=True)),
    "test": dict(zip(ATTRIBUTES, (12972, 4515, 2591, 16196), strict=True)),
}
PRINTED_ACCURACY: Mapping[str, float] = dict(zip(ATTRIBUTES, (0.80, 0.87, 0.91, 0.86), strict=True))
ROUNDING = 0.005  # half of the last printed digit
RECIPES = {"paper": paper_split, "patient": patient_split}


def count_table(
    table: pd.DataFrame,
    split: pd.Series,
    policy: str = "u-ones",
    columns: Sequence[str] = ATTRIBUTES,
) -> pd.DataFrame:
    """Positive images for each split and attribute: `split, attribute, n, positives`.

    With `u-ones`, uncertain labels counted as positive, and `paper_split` it is Table 1.
    """
    labels = binarize(table.loc[split.index], policy, columns)
    return pd.DataFrame(
        [
            {
                "split": name,
                "attribute": column,
                "n": len(part),
                "positives": int(part[column].sum()),
            }
            for name, part in _parts(labels, split)
            for column in columns
        ]
    )


def table_1(table: pd.DataFrame) -> pd.DataFrame:
    """Table 1 of the paper beside what the label table gives, by image and by patient.

    `split_recipe, split, attribute, paper, ours, difference`, 24 rows; the printed numbers belong
    to the recipe `paper` and stand beside `patient` to show what splitting by patient changes.
    """
    parts = []
    for recipe, cut in RECIPES.items():
        counts = count_table(table, cut(table))
        printed = [
            PRINTED_TABLE_1[name][attribute]
            for name, attribute in zip(counts["split"], counts["attribute"], strict=True)
        ]
        counts = counts.assign(split_recipe=recipe, paper=printed, ours=counts["positives"])
        parts.append(counts.assign(difference=counts["ours"] - counts["paper"]))
    columns = ["split_recipe", "split", "attribute", "paper", "ours", "difference"]
    return pd.concat(parts, ignore_index=True)[columns]


def majority_table(
    table: pd.DataFrame,
    split: pd.Series | None = None,
    columns: Sequence[str] = ATTRIBUTES,
) -> pd.DataFrame:
    """The accuracy of giving everybody the more frequent answer, for each attribute and policy.

    `split, attribute, policy, n, positives, prevalence, majority_answer, majority_accuracy`.
    Under `u-ignore` the uncertain images are not counted in `n`. A classifier that scores no more
    has not been shown to look at the picture.
    """
    split = pd.Series("all", index=table.index) if split is None else split
    rows = []
    for policy in POLICIES:
        labels = binarize(table.loc[split.index], policy, columns)
        for name, part in _parts(labels, split):
            rows += [
                {"split": name, "attribute": column, "policy": policy, **_majority(part[column])}
                for column in columns
            ]
    return pd.DataFrame(rows)


def against_printed(majorities: pd.DataFrame) -> pd.DataFrame:
    """The rows of `majority_table` for test, with what the paper's classifier adds to the majority.

    Adds `paper_accuracy` (Table 3, first row), `gain` (paper minus majority), and `gain_low` and
    `gain_high`: the gain if the printed number, which has two digits, was rounded by up to 0.005.
    """
    rows = majorities[majorities["split"] == "test"].reset_index(drop=True)
    printed = rows["attribute"].map(PRINTED_ACCURACY)
    gain = printed - rows["majority_accuracy"]
    return rows.assign(
        paper_accuracy=printed, gain=gain, gain_low=gain - ROUNDING, gain_high=gain + ROUNDING
    )


def cooccurrence_table(
    table: pd.DataFrame, policy: str = "u-zeros", columns: Sequence[str] = LABELS
) -> pd.DataFrame:
    """How often label `other` is there with and without label `given`, for every ordered pair.

    `given, other, policy, n, n_given, n_other, n_both, share_with, share_without, odds_ratio,
    share_difference`; the shares are of `other` among the images with and without `given`. The
    odds ratio is 1 where the two are independent, NaN or infinite where a cell of the two-by-two
    table is empty.
    Pairs with an uncertain label are left out of `n` under `u-ignore`.
    """
    labels = binarize(table, policy, columns)
    rows = []
    for given in columns:
        for other in columns:
            if given != other:
                pair = labels[[given, other]].dropna()
                numbers = _two_by_two(pair[given].to_numpy() == 1, pair[other].to_numpy() == 1)
                rows.append({"given": given, "other": other, "policy": policy, **numbers})
    return pd.DataFrame(rows)


def leakage_table(
    table: pd.DataFrame,
    recipes: Mapping[str, pd.Series] | None = None,
) -> pd.DataFrame:
    """How much of each later split belongs to patients, and to studies, of an earlier one.

    `split_recipe, split, shared_with, level, images, images_shared, image_share, groups,
    groups_shared, group_share`; a group is what `level` names. `recipes` maps a name to a split of
    the table, the paper's and the one by patient if None.
    """
    recipes = recipes or {name: cut(table) for name, cut in RECIPES.items()}
    levels = ("patient", "study") if "Study" in table else ("patient",)
    return pd.DataFrame(
        [
            {"split_recipe": name, **_leak(table, split, of, other, level)}
            for name, split in recipes.items()
            for level in levels
            for other, of in _pairs(split)
        ]
    )


def _parts(labels: pd.DataFrame, split: pd.Series) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each split, train, validation and test first and any others after them."""
    return [(name, labels[split == name]) for name in _names(split)]


def _names(split: pd.Series) -> list[str]:
    found = set(split.unique())
    return [name for name in SPLITS if name in found] + sorted(found - set(SPLITS))


def _pairs(split: pd.Series) -> list[tuple[str, str]]:
    names = _names(split)
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


def _majority(labels: pd.Series) -> dict[str, object]:
    known = labels.dropna()
    prevalence = float(known.mean()) if len(known) else float("nan")
    return {
        "n": len(known),
        "positives": int(known.sum()),
        "prevalence": prevalence,
        "majority_answer": "present" if prevalence > 0.5 else "absent",
        "majority_accuracy": max(prevalence, 1 - prevalence),
    }


def _two_by_two(given: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """The counts, shares and odds ratio of two columns of truth values."""
    both, only_given = int((given & other).sum()), int((given & ~other).sum())
    only_other, neither = int((~given & other).sum()), int((~given & ~other).sum())
    share_with = _ratio(both, both + only_given)
    share_without = _ratio(only_other, only_other + neither)
    return {
        "n": len(given),
        "n_given": both + only_given,
        "n_other": both + only_other,
        "n_both": both,
        "share_with": share_with,
        "share_without": share_without,
        "odds_ratio": _ratio(both * neither, only_given * only_other),
        "share_difference": share_with - share_without,
    }


def _ratio(numerator: float, denominator: float) -> float:
    if denominator:
        return numerator / denominator
    return float("inf") if numerator else float("nan")


def _leak(
    table: pd.DataFrame, split: pd.Series, of: str, other: str, level: str
) -> dict[str, object]:
    overlap = patient_overlap(table, split, of, other, level.title())
    return {
        "split": of,
        "shared_with": other,
        "level": level,
        "images": overlap.images,
        "images_shared": overlap.shared_images,
        "image_share": overlap.image_share,
        "groups": overlap.groups,
        "groups_shared": overlap.shared_groups,
        "group_share": overlap.group_share,
    }
