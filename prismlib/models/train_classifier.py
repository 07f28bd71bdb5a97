"""Classifiers: binary cross-entropy over the four attributes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from prismlib.cohorts.labels import ATTRIBUTES, binarize
from prismlib.models import architectures
from prismlib.models.classifiers import Classifier
from prismlib.models.clip import resized
from prismlib.models.data import as_bytes, as_floats
from prismlib.models.training import Batch, Objective, Settings, fit, shuffled


@dataclass(frozen=True)
class ClassifierSettings(Settings):
    """`policy` says what uncertain labels count as; `shift` is in shares of the image's side."""

    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    image_size: int = architectures.CLASSIFIER_SIZE
    policy: str = "u-zeros"
    shift: float = 0.05


class ClassifierObjective(Objective):
    """Cross-entropy of images (n, s, s) in bytes, `targets` (n, 4) of 0, 1 or NaN (not counted).

    Augmented by small shifts and by brightness and contrast. Never flipped: the heart lies left.
    """

    def __init__(
        self, model: Any, images: np.ndarray, targets: np.ndarray, settings: ClassifierSettings
    ) -> None:
        super().__init__()
        self.model, self.images, self.settings = model, images, settings
        self.targets = torch.from_numpy(np.array(targets, dtype=np.float32))
        config = model.pretrained_cfg
        self.mean, self.std = float(config["mean"][0]), float(config["std"][0])

    def draw(self, rng: np.random.Generator, position: int, size: int) -> Batch:
        """Augmented images (B, 1, s, s) and their targets."""
        rows = shuffled(len(self.images), self.settings.seed, position, size)
        reach = int(self.settings.shift * self.images.shape[-1])
        shifts = rng.integers(-reach, reach + 1, (size, 2))
        pairs = zip(rows, shifts, strict=True)
        moved = np.stack([moved_by(self.images[i], down, right) for i, (down, right) in pairs])
        gain = _tensor(rng.uniform(0.9, 1.1, (size, 1, 1, 1)))
        offset = _tensor(rng.uniform(-0.05, 0.05, (size, 1, 1, 1)))
        pixels = as_floats(moved) * gain + offset
        return {"images": pixels.clamp(0, 1), "targets": self.targets[rows]}

    def forward(self, batch: Batch) -> Tensor:
        """The mean cross-entropy over targets that are known."""
        logits = self.model((batch["images"] - self.mean) / self.std).float()
        known = ~batch["targets"].isnan()
        losses = binary_cross_entropy_with_logits(
            logits, batch["targets"].nan_to_num(), reduction="none"
        )
        return (losses * known).sum() / known.sum().clamp_min(1)


def moved_by(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """An image (H, W) shifted by whole pixels, its border repeated."""
    rows = np.clip(np.arange(image.shape[0]) - down, 0, image.shape[0] - 1)
    columns = np.clip(np.arange(image.shape[1]) - right, 0, image.shape[1] - 1)
    return image[rows][:, columns]


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def fit_classifier(
    images: np.ndarray | Sequence[np.ndarray],
    targets: np.ndarray | pd.DataFrame,
    *,
    seed: int = 0,
    steps: int = 200,
    batch_size: int = 32,
    image_size: int = 128,
    learning_rate: float = 3e-3,
    ema_decay: float = 0.98,
    report: Callable[[str], None] | None = None,
) -> Classifier:
    """Train a classifier from nothing on images (n, H, W), float in [0, 1] or bytes.

    `targets` (n, 4) are 0 or 1 in the order of ATTRIBUTES, NaN where unknown. The same `seed`
    and data give the same network.
    """
    settings = ClassifierSettings(
        seed=seed,
        steps=steps,
        batch_size=min(batch_size, len(images)),
        image_size=image_size,
        learning_rate=learning_rate,
        ema_decay=ema_decay,
        warmup_steps=max(1, steps // 20),
    )
    model = untrained(settings)
    objective = ClassifierObjective(
        model, small_bytes(images, image_size), np.asarray(targets), settings
    )
    fit(objective, settings, report=report or _silent)
    settle_statistics(objective)
    return Classifier(model)


def untrained(settings: ClassifierSettings) -> Any:
    """A network with weights drawn from the seed, leaving the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return architectures.classifier(size=settings.image_size)


def small_bytes(
    images: np.ndarray | Sequence[np.ndarray], size: int, block: int = 64
) -> np.ndarray:
    """Images (n, H, W), float in [0, 1] or bytes, as bytes (n, size, size)."""
    parts = []
    for start in range(0, len(images), block):
        part = np.stack([np.asarray(image) for image in images[start : start + block]])
        floats = as_floats(part) if part.dtype == np.uint8 else torch.from_numpy(part).unsqueeze(1)
        parts.append(as_bytes(resized(floats.float(), size)[:, 0].numpy()))
    return np.concatenate(parts)


@torch.no_grad()
def settle_statistics(objective: ClassifierObjective, batches: int = 16) -> None:
    """Measure the batch statistics anew for the averaged weights, which never saw a batch."""
    norms = [m for m in objective.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    objective.model.train()
    rng = np.random.default_rng(objective.settings.seed)
    size = min(objective.settings.batch_size, len(objective.images))
    device = next(objective.model.parameters()).device
    for index in range(batches):
        pixels = objective.draw(rng, index * size, size)["images"].to(device)
        objective.model((pixels - objective.mean) / objective.std)
    objective.model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def attribute_targets(table: pd.DataFrame, policy: str) -> np.ndarray:
    """Targets (n, 4) of a label table under a policy."""
    return binarize(table, policy, ATTRIBUTES).to_numpy(dtype=np.float32)


def held_out_scores(
    classifier: Classifier, images: Tensor, table: pd.DataFrame, policy: str = "u-zeros"
) -> dict[str, dict[str, float]]:
    """Accuracy and area under the ROC curve for each attribute on held-out images."""
    from sklearn.metrics import roc_auc_score

    probabilities = classifier.probabilities(images).numpy()
    targets = attribute_targets(table, policy)
    scores = {}
    for column, attribute in enumerate(classifier.attributes):
        known = ~np.isnan(targets[:, column])
        truth, answer = targets[known, column], probabilities[known, column]
        both = 0 < truth.mean() < 1
        scores[attribute] = {
            "accuracy": float(((answer > 0.5) == truth).mean()),
            "auc": float(roc_auc_score(truth, answer)) if both else float("nan"),
        }
    return scores


def _silent(_line: str) -> None:
    """Say nothing."""
