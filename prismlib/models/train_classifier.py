"""Classifiers: what each role minimises, and how it is measured and calibrated afterwards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
    normalize,
    smooth_l1_loss,
)

from prismlib.errors import UsageError
from prismlib.models import architectures
from prismlib.models.augmentation import Variation, varied
from prismlib.models.classifiers import Classifier, prepared
from prismlib.models.clip import resized
from prismlib.models.data import as_bytes, as_floats
from prismlib.models.epochs import shuffled
from prismlib.models.roles import ROLES, Role, find_role
from prismlib.models.training import Batch, Objective, Settings, fit

TEMPERATURE = 0.1  # of the cosines that tell patients apart


@dataclass(frozen=True)
class ClassifierSettings(Settings):
    """`policy` says what uncertain labels count as; `shift` and `blur` are `Variation`'s.

    `network` (a timm name), `image_size` and `fold` are the role's own where empty or 0.
    `pretrained` begins with the ImageNet weights of `network`, which are fetched from the hub.
    """

    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    role: str = "judge"
    network: str = ""
    image_size: int = 0
    fold: int = 0
    pretrained: bool = False
    policy: str = "u-zeros"
    shift: float = 0.05
    blur: float = 1.5


def resolved(settings: ClassifierSettings) -> ClassifierSettings:
    """The same settings with what is left open taken from the role."""
    role = find_role(settings.role)
    return replace(
        settings,
        network=settings.network or role.network,
        image_size=settings.image_size or role.side,
        fold=settings.fold or role.fold,
    )


class ClassifierObjective(Objective):
    """The loss of images (n, s, s) in bytes with `targets` (n, k) of 0, 1 or NaN (not counted)."""

    def __init__(
        self, model: Any, images: np.ndarray, targets: np.ndarray, settings: ClassifierSettings
    ) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # half again as fast on a CPU
        self.images, self.settings = images, resolved(settings)
        self.targets = torch.from_numpy(np.array(targets, dtype=np.float32))
        self.also = self.targets.shape[1] > len(find_role(settings.role).outputs)
        self.variation = Variation(shift=settings.shift, blur=settings.blur)
        config = model.pretrained_cfg
        self.mean, self.std = float(config["mean"][0]), float(config["std"][0])

    def draw(self, rng: np.random.Generator, position: int, size: int) -> Batch:
        """Varied images (B, 1, s, s) and their targets."""
        rows = shuffled(len(self.images), self.settings.seed, position, size)
        return {"images": self.pictures(rows, rng), "targets": self.targets[rows]}

    def pictures(self, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Some rows' images, varied, (len(rows), 1, s, s)."""
        return varied(np.stack([self.images[row] for row in rows]), rng, self.variation)

    def answers(self, images: Tensor) -> Tensor:
        """The network's outputs for images (B, 1, s, s) in [0, 1]."""
        pixels = prepared(images, self.mean, self.std, self.settings.fold)
        return self.model(pixels.contiguous(memory_format=torch.channels_last)).float()

    def forward(self, batch: Batch) -> Tensor:
        """The mean cross-entropy over targets that are known, that of auxiliary ones added."""
        logits, targets = self.answers(batch["images"]), batch["targets"]
        losses = binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none")
        own = len(find_role(self.settings.role).outputs)
        main = _mean_known(losses[:, :own], targets[:, :own])
        return main + _mean_known(losses[:, own:], targets[:, own:]) if self.also else main


class DemographicsObjective(ClassifierObjective):
    """Cross-entropy of sex, and the squared error of scaled age."""

    def forward(self, batch: Batch) -> Tensor:
        """The sum of both, over what is known."""
        answers, targets = self.answers(batch["images"]), batch["targets"]
        known = targets.nan_to_num()
        sex = binary_cross_entropy_with_logits(answers[:, 0], known[:, 0], reduction="none")
        age = mse_loss(answers[:, 1], known[:, 1], reduction="none")
        return _mean_known(sex, targets[:, 0]) + _mean_known(age, targets[:, 1])


class SignsObjective(ClassifierObjective):
    """A Huber loss of each scaled sign, so that a few large effusions do not decide."""

    def forward(self, batch: Batch) -> Tensor:
        """The mean over signs and images that are known."""
        answers, targets = self.answers(batch["images"]), batch["targets"]
        losses = smooth_l1_loss(answers, targets.nan_to_num(), beta=0.3, reduction="none")
        return _mean_known(losses, targets)


class IdentityObjective(ClassifierObjective):
    """Contrastive: of a batch's second studies, which is the first one's patient? (InfoNCE)

    Targets (n, 1) number the patients; those with one study take no part. A batch of B is B / 2
    patients with two of their studies each.
    """

    def __init__(
        self, model: Any, images: np.ndarray, targets: np.ndarray, settings: ClassifierSettings
    ) -> None:
        super().__init__(model, images, targets, settings)
        numbers = np.asarray(targets)[:, 0]
        self.studies = [
            rows for n in np.unique(numbers) if len(rows := np.flatnonzero(numbers == n)) > 1
        ]
        if len(self.studies) < 2:
            raise UsageError(
                f"{len(self.studies)} patients have two studies among {len(images)}; expected at "
                "least 2 to tell patients apart: raise --cohort-size"
            )

    def draw(self, rng: np.random.Generator, position: int, size: int) -> Batch:
        """Pairs of varied images (B / 2, 2, 1, s, s)."""
        count = max(2, size // 2)
        patients = shuffled(len(self.studies), self.settings.seed, position // 2, count)
        chosen = [rng.choice(self.studies[p], 2, replace=False) for p in patients]
        pictures = self.pictures(np.concatenate(chosen), rng)
        return {"images": pictures.unflatten(0, (count, 2)), "patients": torch.tensor(patients)}

    def forward(self, batch: Batch) -> Tensor:
        """The cross-entropy of finding the partner, both ways round."""
        flat = normalize(self.answers(batch["images"].flatten(0, 1)), dim=-1)
        first, second = flat[0::2], flat[1::2]
        patients = batch["patients"]
        same = (patients[:, None] == patients) & ~torch.eye(len(patients), dtype=torch.bool)
        cosines = (first @ second.T / TEMPERATURE).masked_fill(same, -torch.inf)
        right = torch.arange(len(first), device=cosines.device)
        return (cross_entropy(cosines, right) + cross_entropy(cosines.T, right)) / 2


def _mean_known(losses: Tensor, targets: Tensor) -> Tensor:
    known = ~targets.isnan()
    return (losses * known).sum() / known.sum().clamp_min(1)


def objective_for(
    role: Role, model: Any, images: np.ndarray, targets: np.ndarray, settings: ClassifierSettings
) -> ClassifierObjective:
    """What a role minimises."""
    kinds = {
        "demographics": DemographicsObjective,
        "patients": IdentityObjective,
        "latents": SignsObjective,
    }
    return kinds.get(role.learns, ClassifierObjective)(model, images, targets, settings)


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
        fold=1,
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


def untrained(settings: ClassifierSettings, also: int = 0) -> Any:
    """A network with weights drawn from the seed, leaving the global generator as it was.

    It has `also` more outputs than its role (see `roles.auxiliary` and `without_auxiliary`).
    """
    settings = resolved(settings)
    outputs = len(ROLES[settings.role].outputs) + also
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return architectures.classifier(
            settings.network, settings.image_size, outputs, settings.fold, settings.pretrained
        )


def without_auxiliary(model: Any, outputs: int) -> Any:
    """The same network with its first outputs alone."""
    last = model.get_classifier()
    kept = torch.nn.Linear(last.in_features, outputs)
    with torch.no_grad():
        kept.weight.copy_(last.weight[:outputs])
        kept.bias.copy_(last.bias[:outputs])
    name = next(name for name, module in model.named_children() if module is last)
    setattr(model, name, kept)
    model.num_classes = model.pretrained_cfg["num_classes"] = outputs
    return model


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
        images = objective.draw(rng, index * size, size)["images"].to(device)
        objective.answers(images.flatten(0, -4))
    objective.model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _silent(_line: str) -> None:
    """Say nothing."""
