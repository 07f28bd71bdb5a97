"""The image-text encoder: CLIP on radiographs and paraphrased captions."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, normalize

from prismlib.captions import EDIT_PROMPTS, OTHER_WORDS, TEMPLATES, caption, paraphrase
from prismlib.cohorts.labels import ATTRIBUTES, LABELS, binarize
from prismlib.models import weights
from prismlib.models.data import TrainingImages, as_floats
from prismlib.models.tokenizers import save_tokenizer, tokenize
from prismlib.models.training import Batch, Objective, Settings, shuffled

MEAN, STD = 0.5, 0.25
SHARPNESS = 10.0  # the head sees unit vectors, whose parts are small
_MARGIN = 16  # pixels by which the kept image is larger than the crop that is drawn from it

# What is asked of held-out images: which of two sentences fits better?
QUESTIONS = {
    "Pleural Effusion": ("chest x-ray of the patient with pleural effusion",
                         "chest x-ray of the patient with no pleural effusion"),
    "Cardiomegaly": ("chest x-ray of the patient with cardiomegaly",
                     "chest x-ray of the patient with no cardiomegaly"),
    "No Finding": ("chest x-ray of the patient with no finding",
                   "chest x-ray of the patient with pleural effusion, cardiomegaly"),
    "Support Devices": ("chest x-ray of the patient with support devices",
                        "chest x-ray of the patient with no support devices"),
}  # fmt: skip


@dataclass(frozen=True)
class ClipSettings(Settings):
    """`paraphrases` per image and `vocabulary` are the tokenizer's.

    `label_weight` is that of the labels' own cross-entropy beside the contrastive loss.
    `freeze_text` keeps the text tower and tokenizer of the model that is there already, so that a
    U-Net trained on it stays valid, and trains the images' side alone.
    """

    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    paraphrases: int = 8
    vocabulary: int = 800
    label_weight: float = 1.0
    freeze_text: bool = False


class ClipObjective(Objective):
    """Contrastive loss in which every image that a caption is true of counts as its partner.

    Captions of label tables repeat: in a batch, "with no support devices" is true of many images.
    Plain InfoNCE would push all but one of them away. Here the target of a caption is spread
    evenly over the images whose labels agree with everything it says, and likewise for an image.

    A batch of pairs says little about one image, and there are few images. So a linear head on the
    image's embedding also learns the labels that the captions are made of; it is then discarded.
    """

    def __init__(
        self, model: Any, tokenizer: Any, data: TrainingImages, settings: ClipSettings
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.size = int(model.config.vision_config.image_size)
        self.images = data.at(self.size + _MARGIN)
        self.rows = data.table.to_dict("records")
        self.labels = data.table[list(LABELS)].fillna(0.0).to_numpy()
        self.targets = head_targets(data.table)
        self.head = torch.nn.Linear(model.config.projection_dim, self.targets.shape[1])

    def draw(self, rng: np.random.Generator, position: int, size: int) -> Batch:
        """Images at a small random shift and brightness, ids of a fresh paraphrase, who fits."""
        rows = shuffled(len(self.images), self.settings.seed, position, size)
        captions = [paraphrase(self.rows[i], rng) for i in rows]
        corners = rng.integers(0, _MARGIN + 1, (size, 2))
        crops = np.stack(
            [
                self.images[i, y : y + self.size, x : x + self.size]
                for i, (y, x) in zip(rows, corners, strict=True)
            ]
        )
        gain = torch.from_numpy(rng.uniform(0.9, 1.1, (size, 1, 1, 1)).astype(np.float32))
        pixels = ((as_floats(crops) * gain).clamp(0, 1) - MEAN) / STD
        fits = truth_table(captions, self.labels[rows])
        np.fill_diagonal(fits, True)
        return {
            "pixels": pixels,
            "ids": torch.tensor(tokenize(self.tokenizer, captions)),
            "fits": torch.from_numpy(fits),
            "targets": self.targets[rows],
        }

    def forward(self, batch: Batch) -> Tensor:
        """The symmetric cross-entropy of a batch against its soft targets."""
        output = self.model(
            input_ids=batch["ids"], pixel_values=batch["pixels"].expand(-1, 3, -1, -1)
        )
        logits = output.logits_per_text.float()
        fits = batch["fits"].float()
        to_images = -(fits / fits.sum(1, keepdim=True) * log_softmax(logits, dim=1)).sum(1)
        to_texts = -(fits / fits.sum(0, keepdim=True) * log_softmax(logits, dim=0)).sum(0)
        contrast = (to_images.mean() + to_texts.mean()) / 2
        return contrast + self.settings.label_weight * self._label_loss(output, batch["targets"])

    def _label_loss(self, output: Any, targets: Tensor) -> Tensor:
        """Cross-entropy of the labels that are known, from the normalised image embedding."""
        answers = self.head(output.image_embeds * SHARPNESS).float()
        known = ~targets.isnan()
        losses = binary_cross_entropy_with_logits(answers, targets.nan_to_num(), reduction="none")
        return (losses * known).sum() / known.sum().clamp_min(1)


def head_targets(table: pd.DataFrame) -> Tensor:
    """Attributes and, where the table tells them, device kinds: 1, 0 or NaN for uncertain."""
    devices = table[[name for name in table if str(name).startswith("device:")]]
    known = pd.concat([binarize(table, "u-ignore"), devices], axis="columns")
    return torch.from_numpy(known.to_numpy(dtype=np.float32, copy=True))


_NEGATED = re.compile(r"\b(?:no|without)\s+([a-z ]+)")


def claims(text: str) -> dict[str, float]:
    """What a caption says of the labels: 1 there, 0 not there; "possible" says nothing."""
    text = text.lower()
    normal = "no finding" in text or "no significant finding" in text or "normal" in text
    said = {"No Finding": 1.0} if normal else {}
    absent = ",".join(_NEGATED.findall(text))
    sure = re.sub(r"possible [a-z ]+", "", text)
    for label in LABELS:
        words = ("support device", "medical device") if label == "Support Devices" else (label,)
        for word in (word.lower() for word in words):
            if label != "No Finding" and word in sure:
                said[label] = 0.0 if word in absent else 1.0
    return said


def truth_table(captions: Sequence[str], labels: np.ndarray) -> np.ndarray:
    """Bool (captions, images): whether all that a caption says agrees with an image's labels.

    `labels` (images, 14) holds 1, 0 and -1; an uncertain label agrees with neither answer.
    """
    fits = np.ones((len(captions), len(labels)), dtype=bool)
    for row, text in enumerate(captions):
        for label, value in claims(text).items():
            fits[row] &= labels[:, LABELS.index(label)] == value
    return fits


def caption_corpus(
    table: pd.DataFrame, rng: np.random.Generator, paraphrases: int = 8
) -> Iterable[str]:
    """What the tokenizer learns from: captions in every template, paraphrases, edit prompts."""
    for row in table.to_dict("records"):
        yield from (caption(row, template) for template in TEMPLATES)
        yield from (paraphrase(row, rng) for _ in range(paraphrases))
    for edit in (*EDIT_PROMPTS.values(), *OTHER_WORDS.values()):
        yield from (edit.source, edit.target) * 2


@torch.no_grad()
def zero_shot(encoder: Any, images: Tensor, table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """How well the sentence that fits is picked for held-out images, for each attribute.

    `balanced_accuracy` of taking the nearer sentence, and `auc` of the difference.
    """
    from sklearn.metrics import roc_auc_score

    pictures = normalize(encoder.embed_images(images), dim=-1)
    result = {}
    for attribute in ATTRIBUTES:
        texts = normalize(encoder.embed_texts(QUESTIONS[attribute]), dim=-1)
        scores = (pictures @ (texts[0] - texts[1])).cpu().numpy()
        labels = table[attribute].fillna(0.0).to_numpy()
        known = labels >= 0
        truth = labels[known] == 1
        both = truth.any() and not truth.all()
        result[attribute] = {
            "balanced_accuracy": _balanced(scores[known] > 0, truth),
            "auc": float(roc_auc_score(truth, scores[known])) if both else float("nan"),
        }
    return result


def _balanced(answers: np.ndarray, truth: np.ndarray) -> float:
    if truth.all() or not truth.any():
        return float("nan")
    return float((answers[truth].mean() + (~answers[~truth]).mean()) / 2)


def save_clip(model: Any, tokenizer: Any, folder: Path) -> None:
    """A transformers folder with everything that CLIP's processor needs."""
    from transformers import CLIPImageProcessor

    save_tokenizer(tokenizer, folder)
    weights.save_pretrained(model, folder, keep=True)
    size = model.config.vision_config.image_size
    CLIPImageProcessor(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
    ).save_pretrained(folder)


def text_encoder_of(model: Any) -> Any:
    """The text tower of a CLIP as the network that a Stable Diffusion pipeline holds."""
    from transformers import CLIPTextModel

    encoder = CLIPTextModel(model.config.text_config)
    tower = model.text_model.state_dict()
    expected = encoder.state_dict()
    prefix = "text_model." if any(key.startswith("text_model.") for key in expected) else ""
    encoder.load_state_dict({prefix + key: value for key, value in tower.items()})
    return encoder
