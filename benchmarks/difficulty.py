"""How hard the simulated cohort is: an EfficientNet's AUC on subjects it has not seen.

    python benchmarks/difficulty.py --train 5000 --test 1500 --out runs/difficulty

Trains on the judges' pool with the reported labels (uncertain as negative), as on CheXpert, and
scores development subjects against what is in the picture, by severity band, and against what is
reported. The sealed test list is not opened. Writes difficulty.csv; a cohort version 1 must lie
between 0.85 and 0.97 for every attribute.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from sklearn.metrics import roc_auc_score

from prismlib.cohorts.labels import ATTRIBUTES, binarize
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.cohorts.phantom.scm import band
from prismlib.models.data import as_floats, prepare_images
from prismlib.models.train_classifier import ClassifierObjective, ClassifierSettings
from prismlib.models.training import fit

DEVICES = "Support Devices"


def main() -> None:
    """Train, score and write the table."""
    args = _arguments()
    train = prepare_images(PhantomCohort("judges", args.train, seed=args.seed))
    test = prepare_images(PhantomCohort("development", args.test, seed=args.seed))
    started = time.perf_counter()
    model = _train(train, args)
    logits = _predict(model, test.at(args.size))
    table = pd.DataFrame(_rows(logits, test.table)).assign(
        architecture=args.architecture, size=args.size, train_subjects=args.train,
        epochs=args.epochs, seconds=round(time.perf_counter() - started), domain="SIMULATED",
    )  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out / "difficulty.csv", index=False)
    print(table.drop(columns=["architecture", "domain"]).to_string(index=False))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--test", type=int, default=1500)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--epochs", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--architecture", default="test_efficientnet")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--out", type=Path, default=Path("runs/difficulty"))
    return parser.parse_args()


def _train(data, args: argparse.Namespace) -> torch.nn.Module:
    torch.manual_seed(args.seed)
    model = timm.create_model(args.architecture, in_chans=1, num_classes=len(ATTRIBUTES))
    model.pretrained_cfg = {**model.pretrained_cfg, "mean": (0.5,), "std": (0.25,)}
    settings = ClassifierSettings(
        seed=args.seed, batch_size=32, steps=int(args.epochs * len(data) / 32),
        image_size=args.size, learning_rate=args.learning_rate, ema_decay=0.99, warmup_steps=30,
    )  # fmt: skip
    targets = binarize(data.table, "u-zeros")[list(ATTRIBUTES)].to_numpy(np.float32)
    fit(ClassifierObjective(model, data.at(args.size), targets, settings), settings)
    return model.eval()


@torch.inference_mode()
def _predict(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    parts = [images[start : start + 64] for start in range(0, len(images), 64)]
    return torch.cat([model((as_floats(part) - 0.5) / 0.25) for part in parts]).numpy()


def _rows(logits: np.ndarray, table: pd.DataFrame):
    reported = binarize(table, "u-zeros")
    kinds = table.filter(like="device:")
    severities = table.filter(like="severity:")
    truths = {
        "No Finding": (severities == 0).all(axis=1),
        DEVICES: kinds.any(axis=1),
        **{name: table[f"severity:{name}"] > 0 for name in ("Pleural Effusion", "Cardiomegaly")},
    }
    for column, name in enumerate(ATTRIBUTES):
        score, there = logits[:, column], truths[name].to_numpy()
        known = reported[name].notna().to_numpy()
        yield _row(name, "in the picture", score, there)
        yield _row(name, "as reported", score[known], reported[name].to_numpy()[known] == 1)
        yield from _banded(name, score, there, table)


def _banded(name: str, score: np.ndarray, there: np.ndarray, table: pd.DataFrame):
    if name in ("No Finding", DEVICES):
        return
    bands = table[f"severity:{name}"].map(band).to_numpy()
    for each in ("hard", "usual", "easy"):
        chosen = ~there | (bands == each)
        yield _row(name, each, score[chosen], there[chosen])


def _row(name: str, against: str, score: np.ndarray, truth: np.ndarray) -> dict[str, object]:
    auc = roc_auc_score(truth, score) if 0 < truth.sum() < len(truth) else np.nan
    return {"attribute": name, "against": against, "n": len(truth),
            "positives": int(truth.sum()), "auc": round(float(auc), 3)}  # fmt: skip


if __name__ == "__main__":
    main()
