"""The grounding: a U-Net that learns in which cells that lies which a sentence speaks of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from prismlib.captions.wordings import HEADS, PRESENT, names_of
from prismlib.cohorts.cohort import Cohort, open_cohort
from prismlib.cohorts.labels import SHOWN_ATTRIBUTES
from prismlib.cohorts.phantom.subject import DEVICE_KINDS
from prismlib.errors import UsageError
from prismlib.models import ranks, weights
from prismlib.models.data import TrainingImages
from prismlib.models.epochs import shuffled
from prismlib.models.grounding import PART, TIMESTEP, sentence, with_one_output
from prismlib.models.pipeline import LatentDiffusion
from prismlib.models.places import Places, find_places
from prismlib.models.request import Request
from prismlib.models.rereading import rereading
from prismlib.models.train_unet import cached_latents, trainable
from prismlib.models.training import Batch, Objective, Run, Settings

ANY_DEVICE = "Support Devices"
OFTEN = 4.0  # how much more often one of the paper's attributes is asked for than another name
PRESENT_OFTEN = 4.0  # and what is there than what is not
THRESHOLDS = (0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class GroundingSettings(Settings):
    """`present_weight` is that of a cell in which the thing lies; most are empty."""

    batch_size: int = 32
    learning_rate: float = 5e-4
    steps: int = 1500
    present_weight: float = 3.0


class GroundingObjective(Objective):
    """Weighted cross-entropy of each cell, and the Dice loss of each map (Milletari et al. 2016).

    An image is asked for one thing at a time, in varied words: more often for one of the paper's
    attributes, and for what is there; where it is not, the map is empty. "Support devices" lie
    where any kind of them lies.
    """

    def __init__(
        self,
        network: Any,
        latents: np.ndarray,
        places: Places,
        model: Any,
        settings: GroundingSettings,
    ) -> None:
        super().__init__()
        self.network, self.latents, self.places = network, latents, places
        self.settings = settings
        self.names = (ANY_DEVICE, *places.names)
        self.kinds = [i for i, name in enumerate(places.names) if name in DEVICE_KINDS]
        texts, self.texts = sentences(self.names)
        self.embeddings = model.embed(texts).cpu()
        side = latents.shape[-1]
        there = [
            self._maps(np.arange(start, min(start + 256, len(latents))), side).amax((2, 3))
            for start in range(0, len(latents), 256)
        ]
        self.there = torch.cat(there).numpy() > 0

    def _maps(self, rows: np.ndarray, side: int) -> Tensor:
        """Where each of `names` lies in some images, (B, names, side, side) of 0 and 1."""
        known = self.places.of(rows, side)
        return torch.cat([known[:, self.kinds].amax(1, keepdim=True), known], dim=1)

    def draw(self, rng: np.random.Generator, position: int, size: int) -> Batch:
        """Latents, the embeddings of one sentence each, and the maps of what they speak of."""
        rows = shuffled(len(self.latents), self.settings.seed, position, size)
        often = np.array([OFTEN if name in SHOWN_ATTRIBUTES else 1.0 for name in self.names])
        chances = often * np.where(self.there[rows], PRESENT_OFTEN, 1.0)
        ends = (chances / chances.sum(1, keepdims=True)).cumsum(1)
        which = (rng.random((size, 1)) > ends).sum(1).clip(max=len(self.names) - 1)
        texts = [self.texts[name][int(rng.integers(len(self.texts[name])))] for name in which]
        maps = self._maps(rows, self.latents.shape[-1])[range(size), which]
        return {
            "latents": torch.from_numpy(np.asarray(self.latents[rows], dtype=np.float32)),
            "embeddings": self.embeddings[texts],
            "maps": maps[:, None],
        }

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        logits, maps = self.logits(batch["latents"], batch["embeddings"]), batch["maps"]
        weight = torch.as_tensor(self.settings.present_weight, device=maps.device)
        cells = binary_cross_entropy_with_logits(logits, maps, pos_weight=weight)
        chances = logits.sigmoid()
        common = 2 * (chances * maps).sum((1, 2, 3)) + 1
        dice = common / (chances.sum((1, 2, 3)) + maps.sum((1, 2, 3)) + 1)
        return cells + (1 - dice).mean()

    def logits(self, latents: Tensor, embeddings: Tensor) -> Tensor:
        """One logit a cell, (B, 1, h, w)."""
        return self.network(latents, TIMESTEP, encoder_hidden_states=embeddings).sample.float()

    @torch.no_grad()
    def measured(self, batch_size: int = 32) -> dict[str, dict[str, float]]:
        """Of the attributes that an edit takes away: how many of their cells are found, and how
        many of those found are theirs, by threshold; and the area under the curve over all cells.

        Of the images in which they lie, asked for by `sentence`.
        """
        from sklearn.metrics import roc_auc_score

        found = {}
        for name in SHOWN_ATTRIBUTES:
            place = self.names.index(name)
            rows, text = np.flatnonzero(self.there[:, place]), self.texts[place][0]
            device = next(self.network.parameters()).device
            chances, maps = [], []
            for start in range(0, len(rows), batch_size):
                part = rows[start : start + batch_size]
                latents = torch.from_numpy(np.asarray(self.latents[part], dtype=np.float32))
                said = self.embeddings[text].expand(len(part), -1, -1)
                logits = self.logits(latents.to(device), said.to(device)).cpu()
                chances.append(logits.sigmoid()[:, 0])
                maps.append(self._maps(part, self.latents.shape[-1])[:, place])
            if not maps:
                continue
            chance, truth = torch.cat(chances), torch.cat(maps) > 0
            row = {"n": float(len(rows)), "share": float(truth.float().mean())}
            row["auc"] = float(roc_auc_score(truth.flatten(), chance.flatten()))
            for limit in THRESHOLDS:
                seen = chance >= limit
                row[f"recall_at_{limit:g}"] = float((seen & truth).sum() / truth.sum())
                row[f"precision_at_{limit:g}"] = float((seen & truth).sum() / seen.sum())
            found[name] = row
        return found


def sentences(names: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """Texts that ask for names, and which of them ask for each, the first being its `sentence`."""
    texts: list[str] = []
    of_name = []
    for name in names:
        called = names_of(name.replace("_", " "))
        heads = [f"{head} {there}" for head in HEADS for there in dict.fromkeys(PRESENT)]
        own = [head.format(word) for word in called for head in heads]
        severe = "lots of" if name == ANY_DEVICE else "severe"
        own += [f"{head} with {severe} {word}" for word in called for head in HEADS]
        own = [sentence(name), *own]
        of_name.append(list(range(len(texts), len(texts) + len(own))))
        texts += own
    return texts, of_name


def grounded(
    request: Request, settings: GroundingSettings
) -> tuple[Run, TrainingImages, dict[str, Any]]:
    """Train on the generator's subjects and write the part; the run, its data and what it measures.

    Raises UsageError where nobody knows what lies where. Whoever does not lead writes and measures
    nothing.
    """
    model = LatentDiffusion.load(request.model, device=ranks.device())
    begun = model if request.start is None else LatentDiffusion.load(request.start)
    start = model.unet if request.start is None else begun.grounding
    if start is None:
        raise UsageError(f"--start {request.start}: that model has no {PART}")
    sets = []
    for split, n in (("train", request.cohort_size), ("development", request.held_out)):
        cohort = open_cohort(request.profile, split, n)
        data = request.prepared(cohort)
        with ranks.leader_first():
            places = _known(cohort, data, request)
            latents = cached_latents(model, data, request.report)
        sets.append((data, places, latents))
    network = trainable(with_one_output(start) if request.start is None else start)
    rereading(network, begun, model, sentences(sets[0][1].names)[0])
    objectives = [
        GroundingObjective(network, latents, places, model, settings) for _, places, latents in sets
    ]
    run = request.fit(objectives[0], settings)
    if not ranks.leads():
        return run, sets[0][0], {}
    weights.save_pretrained(network, request.out / "model" / PART)
    return run, sets[0][0], objectives[1].measured()


def _known(cohort: Cohort, data: TrainingImages, request: Request) -> Places:
    places = find_places(cohort, data, report=request.report)
    if places is None:
        raise UsageError(
            f"{cohort.name}: nobody knows where things lie in it; a grounding learns from a "
            "simulated cohort"
        )
    return places
