"""How well an image-text encoder picks, of a sentence and its negation, the one that fits."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from prismlib.captions.wordings import HELD_OUT, TRAINED, UNTAUGHT, Wording, questions
from prismlib.cohorts.labels import ATTRIBUTES, in_picture, visible
from prismlib.models.data import Bytes, as_floats

WORDINGS: Mapping[str, tuple[Wording, ...]] = MappingProxyType(
    {"trained": TRAINED, "held out": HELD_OUT, "untaught": UNTAUGHT}
)
COLUMNS = ("attribute", "subjects", "wording", "n", "positives", "balanced_accuracy", "auc")


def pictures_of(encoder: Any, images: Bytes | Tensor, batch_size: int = 32) -> Tensor:
    """Normalised embeddings (n, D) of images, bytes (n, H, W) or floats (n, 1, H, W) in [0, 1]."""
    parts = []
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        floats = part if isinstance(part, Tensor) else as_floats(np.asarray(part))
        parts.append(normalize(encoder.embed_images(floats), dim=-1).cpu())
    return torch.cat(parts)


def margins(
    encoder: Any, pictures: Tensor, wording: Wording, names: Sequence[str] = ATTRIBUTES
) -> dict[str, np.ndarray]:
    """For each attribute, by how much its sentence is nearer than its negation, (n,)."""
    found = {}
    for attribute, pair in questions(wording, names).items():
        texts = normalize(encoder.embed_texts(pair), dim=-1).cpu()
        found[attribute] = (pictures @ (texts[0] - texts[1])).numpy()
    return found


def zero_shot_table(encoder: Any, pictures: Tensor, table: pd.DataFrame) -> pd.DataFrame:
    """Balanced accuracy of taking the nearer sentence, and the AUC of by how much it is nearer.

    Against what is in the picture: for all subjects and for those above visible severity, in each
    wording and as the mean over the wordings of a kind (`wording` is then `trained`, `held out` or
    `untaught`). NaN where all subjects are of one class.
    """
    rows = [
        {**row, "wording": f"{kind}: {wording.head}"}
        for kind, wordings in WORDINGS.items()
        for wording in wordings
        for row in _rows(margins(encoder, pictures, wording), table)
    ]
    single = pd.DataFrame(rows)
    kinds = single["wording"].str.split(":").str[0]
    means = single.assign(wording=kinds).groupby(["attribute", "subjects", "wording"], sort=False)
    return pd.concat([means.mean().reset_index(), single], ignore_index=True)[list(COLUMNS)]


def _rows(scores: Mapping[str, np.ndarray], table: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for attribute in ATTRIBUTES:
        truth = in_picture(table, attribute).to_numpy()
        seen = visible(table, attribute).to_numpy()
        for subjects, members in (("all", np.ones_like(seen)), ("visible", seen)):
            measured = _measures(scores[attribute][members], truth[members])
            found.append({"attribute": attribute, "subjects": subjects, **measured})
    return found


def _measures(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    both = bool(truth.any() and not truth.all())
    return {
        "n": len(truth),
        "positives": int(truth.sum()),
        "balanced_accuracy": float(balanced_accuracy_score(truth, scores > 0))
        if both
        else float("nan"),
        "auc": float(roc_auc_score(truth, scores)) if both else float("nan"),
    }


def zero_shot(encoder: Any, images: Tensor, table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """`zero_shot_table` of subjects above visible severity, as a training's record keeps it."""
    measured = zero_shot_table(encoder, pictures_of(encoder, images), table)
    return {attribute: _summary(measured, attribute) for attribute in ATTRIBUTES}


def _summary(measured: pd.DataFrame, attribute: str) -> dict[str, float]:
    chosen = measured[(measured["attribute"] == attribute) & (measured["subjects"] == "visible")]
    rows = chosen.set_index("wording")
    return {
        "balanced_accuracy": float(rows.loc["trained", "balanced_accuracy"]),
        "auc": float(rows.loc["trained", "auc"]),
        "held_out_wordings": float(rows.loc["held out", "balanced_accuracy"]),
    }


def worst_drop(measured: pd.DataFrame, subjects: Sequence[str] = ("visible",)) -> float:
    """By how much the balanced accuracy falls at most, over attributes, in held-out wordings."""
    chosen = measured[measured["subjects"].isin(subjects)]
    by = chosen.pivot_table(index="attribute", columns="wording", values="balanced_accuracy")
    return float((by["trained"] - by["held out"]).max())
