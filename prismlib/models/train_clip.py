"""The image-text encoder: CLIP on radiographs and paraphrased captions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, normalize

from prismlib.captions import PARAPHRASES, TEMPLATES, Description, caption, describe
from prismlib.captions.claims import agreement, claimed, known_columns
from prismlib.captions.claims import claims as claims
from prismlib.captions.claims import truth_table as truth_table
from prismlib.captions.wordings import ABSENT, BARE, ask, names_of, pick
from prismlib.cohorts.cohort import Cohort, open_cohort
from prismlib.cohorts.labels import ATTRIBUTES, binarize, in_picture, visible
from prismlib.cohorts.pools import open_pool
from prismlib.config import Profile
from prismlib.errors import UsageError
from prismlib.models import weights
from prismlib.models.architectures import VOCABULARY
from prismlib.models.augmentation import Variation, moved_by, varied
from prismlib.models.data import TrainingImages
from prismlib.models.epochs import shuffled
from prismlib.models.places import CELLS, Places
from prismlib.models.tokenizers import save_tokenizer, tokenize
from prismlib.models.training import Batch, Objective, Settings

MEAN, STD = 0.5, 0.25
POOLS = ("train", "encoder")
FOLDERS = {"train": "clip", "encoder": "second_clip"}
SHARPEST = 100.0  # the scale of cosines at most, as CLIP has it
PRESENT_WEIGHT = 4.0  # of a patch in which something lies; most are empty
MOST_STRANGE = 6  # tokens that mean nothing, before a question
_RARE = -4.0  # the logit at which the head for places begins


@dataclass(frozen=True)
class ClipSettings(Settings):
    """`captions` is `paraphrases` or one of the paper's templates; `pool` whose subjects are seen.

    The pool `train` is the generator's; `encoder` makes the second encoder, for reporting, from
    subjects that share no patient with it. `paraphrases` per image and `vocabulary` are the
    tokenizer's. The weights are those of what is learnt beside the contrastive loss: of the
    labels, of telling a sentence from its negation (with paraphrases alone), and of where things
    lie (where the cohort is simulated); 0 leaves one out. `shift` and `blur` are `Variation`'s.
    `strange` is the share of questions before which stand tokens without meaning instead of a known
    head, so that words that were never met are not heard. `freeze_text` keeps the text tower and
    tokenizer of the model that is there already and trains the images' side alone; that tower is
    then what a U-Net reads with, whatever it read with before. `keep_text_encoder` trains both
    towers and leaves alone the text encoder that the U-Net reads with.
    """

    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    captions: str = PARAPHRASES
    pool: str = "train"
    paraphrases: int = 8
    vocabulary: int = VOCABULARY
    label_weight: float = 1.0
    question_weight: float = 1.0
    place_weight: float = 1.0
    shift: float = 0.05
    blur: float = 1.5
    strange: float = 0.3
    freeze_text: bool = False
    keep_text_encoder: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("captions", self.captions, (PARAPHRASES, *TEMPLATES)),
            ("pool", self.pool, POOLS),
        ):
            if value not in known:
                raise UsageError(f"{name} {value!r}; expected one of {', '.join(known)}")
        if self.freeze_text and self.keep_text_encoder:
            raise UsageError("freeze_text leaves nothing to keep_text_encoder: give one of them")
        if self.freeze_text and self.pool != "train":
            raise UsageError(
                "freeze_text keeps the first encoder's text tower; the second, of pool "
                f"{self.pool!r}, shares nothing with it: leave freeze_text out"
            )


class ClipObjective(Objective):
    """Contrastive loss in which every image that a caption is true of counts as its partner.

    Captions of label tables repeat: in a batch, "with no support devices" is true of many images.
    Plain InfoNCE would push all but one of them away. Here the target of a caption is spread
    evenly over the images with which everything it says agrees, and likewise for an image.

    A batch of pairs says little about one image, and there are few images. So three things more
    are learnt. Each image is asked, for each attribute, which of a sentence and its negation fits;
    both answers weigh the same, so that zero is the natural threshold. A linear head on what the
    vision tower gives learns labels, findings and device kinds; another, on its patches, where
    they lie. Both heads are discarded.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        data: TrainingImages,
        settings: ClipSettings,
        places: Places | None = None,
    ) -> None:
        super().__init__()
        model.set_attn_implementation("eager")  # a CPU's fused attention is slower backwards
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        vision = model.config.vision_config
        self.size = int(vision.image_size)
        self.grid = self.size // int(vision.patch_size)
        self.images = data.at(self.size)
        self.rows = data.table.to_dict("records")
        self.known = known_columns(data.table)
        self.meaningless = meaningless(tokenizer)
        self.targets = head_targets(data.table)
        self.answers, self.worth = (torch.from_numpy(part) for part in answers(data.table))
        self.places = places if settings.place_weight else None
        self.variation = Variation(shift=0.0, blur=settings.blur)
        self.head = torch.nn.Linear(vision.hidden_size, self.targets.shape[1])
        if self.places is not None:
            self.finder = torch.nn.Linear(vision.hidden_size, len(self.places.names))
            torch.nn.init.constant_(self.finder.bias, _RARE)

    @property
    def asks(self) -> bool:
        """Whether sentences and their negations are learnt; no template of the paper has any."""
        return self.settings.captions == PARAPHRASES and self.settings.question_weight > 0

    def draw(self, rng: np.random.Generator, position: int, size: int) -> Batch:
        """Varied images, ids of a fresh caption each, who fits, what is asked and the answers."""
        rows = shuffled(len(self.images), self.settings.seed, position, size)
        described = [self._describe(self.rows[i], rng) for i in rows]
        fits = agreement(described, {name: values[rows] for name, values in self.known.items()})
        np.fill_diagonal(fits, True)
        batch = {
            **self._pictures(rows, rng),
            "ids": torch.tensor(tokenize(self.tokenizer, [each.text for each in described])),
            "fits": torch.from_numpy(fits),
            "targets": self.targets[rows],
        }
        if self.asks:
            batch |= self._questions(rows, rng)
        return batch

    def share(self, batch: Batch, mine: slice) -> Batch:
        """One process's samples; texts and images are contrasted among its own."""
        return {**super().share(batch, mine), "fits": batch["fits"][mine, mine]}

    def _describe(self, row: Mapping[str, Any], rng: np.random.Generator) -> Description:
        if self.settings.captions == PARAPHRASES:
            return describe(row, rng)
        return claimed(caption(row, self.settings.captions))

    def _pictures(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Images (B, 1, s, s), each moved and varied, and in which patch what lies (B, k, g, g)."""
        reach = self.settings.shift
        shifts = rng.uniform(-reach, reach, (len(rows), 2))
        pixels = np.round(shifts * self.size).astype(int)
        images = np.stack(
            [moved_by(self.images[row], *by) for row, by in zip(rows, pixels, strict=True)]
        )
        batch = {"pixels": (varied(images, rng, self.variation) - MEAN) / STD}
        if self.places is not None:
            cells = np.round(shifts * CELLS).astype(int)
            batch["places"] = self.places.of(rows, self.grid, cells)
        return batch

    def _questions(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Ids of two sentences for each attribute (B, 4, 2, 77), the answers and their worth.

        A batch shares its sentences: two wordings of each pair, dealt to the images in turn.
        """
        ids = torch.stack([self._wording(rng) for _ in range(2)])
        return {
            "questions": ids[torch.arange(len(rows)) % 2],
            "answers": self.answers[rows],
            "worth": self.worth[rows],
        }

    def _wording(self, rng: np.random.Generator) -> Tensor:
        """Ids of a sentence and its negation for each attribute (4, 2, 77), said in one way."""
        strange = rng.random() < self.settings.strange
        pairs = [
            BARE.pair(name, pick(rng, names_of(name))) if strange else ask(name, rng)
            for name in ATTRIBUTES
        ]
        ids = torch.tensor(tokenize(self.tokenizer, [text for pair in pairs for text in pair]))
        if strange:
            some = rng.choice(self.meaningless, int(rng.integers(1, MOST_STRANGE + 1)))
            head = torch.from_numpy(some).expand(len(ids), -1)
            ids = torch.cat([ids[:, :1], head, ids[:, 1 : ids.shape[1] - len(some)]], dim=1)
        return ids.unflatten(0, (len(ATTRIBUTES), 2))

    def forward(self, batch: Batch) -> Tensor:
        """The sum of the losses, weighted."""
        settings = self.settings
        seen = self.model.vision_model(pixel_values=batch["pixels"].expand(-1, 3, -1, -1))
        pictures = normalize(self.model.visual_projection(seen.pooler_output).float(), dim=-1)
        texts = self._embedded(batch["ids"])
        scale = self.model.logit_scale.exp().clamp(max=SHARPEST)
        loss = contrast(scale * texts @ pictures.T, batch["fits"].float())
        loss = loss + settings.label_weight * self._label_loss(seen, batch["targets"])
        if self.asks:
            loss = loss + settings.question_weight * self._question_loss(scale, pictures, batch)
        if self.places is not None:
            loss = loss + settings.place_weight * self._place_loss(seen, batch["places"])
        return loss

    def _embedded(self, ids: Tensor) -> Tensor:
        """Normalised embeddings (B, D) of ids (B, 77); nothing is computed for padding."""
        end = int((ids == self.tokenizer.eos_token_id).int().argmax(dim=1).max()) + 1
        read = self.model.text_model(input_ids=ids[:, :end]).pooler_output
        return normalize(self.model.text_projection(read).float(), dim=-1)

    def _label_loss(self, seen: Any, targets: Tensor) -> Tensor:
        """Cross-entropy of what is known, from what the vision tower gives."""
        return known_loss(self.head(seen.pooler_output).float(), targets)

    def _question_loss(self, scale: Tensor, pictures: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of preferring each sentence to its negation."""
        distinct, index = batch["questions"].flatten(0, 2).unique(dim=0, return_inverse=True)
        texts = self._embedded(distinct)[index].unflatten(0, batch["questions"].shape[:3])
        nearer = (pictures[:, None] * (texts[:, :, 0] - texts[:, :, 1])).sum(-1)
        return known_loss(scale * nearer, batch["answers"], batch["worth"])

    def _place_loss(self, seen: Any, places: Tensor) -> Tensor:
        """Cross-entropy of where things lie, summed over the things; what is there weighs more."""
        patches = seen.last_hidden_state[:, 1:]
        found = self.finder(patches).float().transpose(1, 2).unflatten(2, places.shape[2:])
        more = torch.full((1,), PRESENT_WEIGHT, device=found.device)
        losses = binary_cross_entropy_with_logits(found, places, reduction="none", pos_weight=more)
        return losses.mean(dim=(0, 2, 3)).sum()


def contrast(logits: Tensor, fits: Tensor) -> Tensor:
    """The symmetric cross-entropy of logits (texts, images) against soft targets.

    `fits` (texts, images) is 1 where a text is true of an image; each row and column holds a 1.
    """
    to_images = -(fits / fits.sum(1, keepdim=True) * log_softmax(logits, dim=1)).sum(1)
    to_texts = -(fits / fits.sum(0, keepdim=True) * log_softmax(logits, dim=0)).sum(0)
    return (to_images.mean() + to_texts.mean()) / 2


def known_loss(logits: Tensor, targets: Tensor, worth: Tensor | None = None) -> Tensor:
    """The mean cross-entropy over targets that are not NaN, each weighted by its worth."""
    known = (~targets.isnan()).float() * (1.0 if worth is None else worth)
    losses = binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none")
    return (losses * known).sum() / known.sum().clamp_min(1)


def meaningless(tokenizer: Any) -> np.ndarray:
    """The ids of all tokens that no attribute's name and no word for "not" is written with."""
    said = [name for attribute in ATTRIBUTES for name in names_of(attribute)]
    said += [f"{way.format('a')} with" for way in ABSENT]
    used = {each for ids in tokenizer(said)["input_ids"] for each in ids}
    return np.array(sorted(set(range(len(tokenizer))) - used - set(tokenizer.all_special_ids)))


def head_targets(table: pd.DataFrame) -> Tensor:
    """What the head learns: 1, 0 or NaN for what is not known, float (n, k).

    The attributes as they are reported, then each device kind and finding that the table knows.
    """
    columns = table.filter(regex="^(device|severity):")
    known = pd.concat([binarize(table, "u-ignore"), (columns > 0).astype(float)], axis="columns")
    return torch.from_numpy(known.to_numpy(dtype=np.float32, copy=True))


def answers(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Of each image and attribute whether it is there, and what that answer weighs, (n, 4) each.

    The truth where the table knows it, NaN below visible severity; elsewhere what is reported.
    Yes and no weigh the same in total.
    """
    if table.filter(like="severity:").empty:
        found = binarize(table, "u-ignore").to_numpy(np.float32, copy=True)
    else:
        there = [in_picture(table, name).to_numpy(np.float32) for name in ATTRIBUTES]
        seen = [visible(table, name).to_numpy() for name in ATTRIBUTES]
        found = np.where(np.stack(seen, 1), np.stack(there, 1), np.float32(np.nan))
    known = ~np.isnan(found)
    share = np.nansum(found, axis=0) / np.maximum(known.sum(axis=0), 1)
    share = np.clip(share, 1e-3, 1 - 1e-3)
    worth = np.where(found == 1, 0.5 / share, 0.5 / (1 - share)) * known
    return found, worth.astype(np.float32)


def cohort_of(profile: Profile, settings: ClipSettings, n: int | None) -> Cohort:
    """Whose radiographs and captions an image-text encoder sees."""
    if settings.pool == "train":
        return open_cohort(profile, "train", n)
    return open_pool(profile, settings.pool, n)


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
