"""How hard the simulated cohort is: a classifier's AUC on subjects it has not seen.

    prism train classifier --cohort-size 5000 --out runs/difficulty
    python benchmarks/difficulty.py --classifier runs/difficulty/model/classifier --n 1200

The classifier is an EfficientNet that has seen the judges' pool with its reported labels (uncertain
as negative), as on CheXpert. Development subjects are scored against what is in the picture, by
severity band, and against what is reported; the sealed test list stays closed. Writes
difficulty.csv; cohort version 1 was to lie between 0.85 and 0.97 for every attribute.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from prismlib.cohorts.labels import ATTRIBUTES, binarize, in_picture
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.cohorts.phantom.scm import band
from prismlib.models.classifiers import Classifier
from prismlib.models.data import as_floats, prepare_images


def main() -> None:
    """Score and write the table."""
    args = _arguments()
    data = prepare_images(PhantomCohort("development", args.n, seed=args.seed))
    classifier = Classifier.load(args.classifier)
    table = pd.DataFrame(_rows(_probabilities(classifier, data.at(classifier.size)), data.table))
    args.out.mkdir(parents=True, exist_ok=True)
    table.assign(domain="SIMULATED").to_csv(args.out / "difficulty.csv", index=False)
    print(table.to_string(index=False))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classifier", default="prism-mini")
    parser.add_argument("--n", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/difficulty"))
    return parser.parse_args()


def _probabilities(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    parts = [images[start : start + 64] for start in range(0, len(images), 64)]
    return torch.cat([classifier.probabilities(as_floats(part)) for part in parts]).numpy()


def _rows(chances: np.ndarray, table: pd.DataFrame):
    reported = binarize(table, "u-zeros")
    for column, name in enumerate(ATTRIBUTES):
        score, there = chances[:, column], in_picture(table, name).to_numpy()
        known = reported[name].notna().to_numpy()
        yield _row(name, "in the picture", score, there)
        yield _row(name, "as reported", score[known], reported[name].to_numpy()[known] == 1)
        yield from _banded(name, score, there, table)


def _banded(name: str, score: np.ndarray, there: np.ndarray, table: pd.DataFrame):
    """Apart by how severe it is; No Finding by the worst finding, devices by how many kinds."""
    if name == "Support Devices":
        kinds = table.filter(like="device:").sum(axis=1).to_numpy()
        groups = {"one kind": kinds == 1, "two kinds": kinds == 2, "three or more": kinds > 2}
    else:
        severities = table.filter(like="severity:" if name == "No Finding" else f"severity:{name}")
        bands = severities.max(axis=1).map(band).to_numpy()
        groups = {each: bands == each for each in ("hard", "usual", "easy")}
    for group, members in groups.items():
        chosen = members | (there if name == "No Finding" else ~there)
        yield _row(name, group, score[chosen], there[chosen])


def _row(name: str, against: str, score: np.ndarray, truth: np.ndarray) -> dict[str, object]:
    auc = roc_auc_score(truth, score) if 0 < truth.sum() < len(truth) else np.nan
    return {"attribute": name, "against": against, "n": len(truth),
            "positives": int(truth.sum()), "auc": round(float(auc), 3)}  # fmt: skip


if __name__ == "__main__":
    main()
