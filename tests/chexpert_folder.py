"""A fabricated folder in the shape of CheXpert, since the real one may not be passed on."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from prismlib.cohorts.labels import LABELS

PATIENTS = 30
FINDINGS = [label for label in LABELS if label not in ("No Finding", "Support Devices")]


def make_chexpert(
    parent: Path, name: str = "CheXpert-v1.0-small", seed: int = 0, patients: int = PATIENTS
) -> Path:
    """Write `parent/name/train.csv` and its images; give `parent/name`.

    30 patients have about 60 frontal and 10 lateral views, grey JPEGs of 112x96 pixels that differ.
    """
    rng = np.random.default_rng(seed)
    rows = [row for number in range(1, patients + 1) for row in _patient(name, number, rng)]
    table = pd.DataFrame(rows)
    for path in table["Path"]:
        file = parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_picture(rng)).save(file, quality=90)
    table.to_csv(parent / name / "train.csv", index=False)
    return parent / name


def _patient(name: str, number: int, rng: np.random.Generator) -> list[dict]:
    person = {"Sex": rng.choice(["Male", "Female"]), "Age": int(rng.integers(18, 91))}
    rows = []
    for study in range(1, 1 + int(rng.integers(1, 4))):
        views = ["frontal", "lateral"] if rng.random() < 0.2 else ["frontal"]
        labels = _labels(rng)
        for view, kind in enumerate(views, start=1):
            path = f"{name}/train/patient{number:05d}/study{study}/view{view}_{kind}.jpg"
            side = {"Frontal/Lateral": kind.title(), "AP/PA": "AP" if kind == "frontal" else None}
            rows.append({"Path": path, **person, **side, **labels})
    return rows


def _labels(rng: np.random.Generator) -> dict[str, float]:
    """Labels as CheXpert has them: mostly blank, some uncertain, No Finding or a finding."""
    labels = dict.fromkeys(LABELS, np.nan)
    if rng.random() < 0.3:
        labels["No Finding"] = 1.0
    else:
        for finding in rng.choice(FINDINGS, size=3, replace=False):
            labels[finding] = rng.choice([1.0, 0.0, -1.0])
        labels["Pleural Effusion" if rng.random() < 0.5 else "Cardiomegaly"] = 1.0
    labels["Support Devices"] = 1.0 if rng.random() < 0.5 else np.nan
    return labels


def _picture(rng: np.random.Generator) -> np.ndarray:
    """A bright frame around two dark fields, with noise: as much of a chest as a test needs."""
    y, x = np.mgrid[-1:1:96j, -1:1:112j]
    fields = sum(np.exp(-(((x - side) / 0.3) ** 2) - (y / 0.6) ** 2) for side in (-0.45, 0.45))
    grey = 0.8 - 0.6 * fields + 0.05 * rng.standard_normal(x.shape)
    return (255 * np.clip(grey, 0, 1)).astype(np.uint8)
