"""What is edited in one pass, and what a recipe makes of it before anything is composed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prismlib.editing.bounds import bounds
from prismlib.editing.branches import embed_prompts, prompt_to_prompt, sample_branches
from prismlib.editing.cache import NETWORK, InversionCache
from prismlib.editing.imagic import imagine
from prismlib.editing.inversion import Inversion, content_seed, invert
from prismlib.editing.masks import Masks, Region
from prismlib.editing.recipe import Recipe
from prismlib.editing.schedule import Schedule

if TYPE_CHECKING:
    from prismlib.models.pipeline import LatentDiffusion

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """What is edited in one pass."""

    images: Sequence[Image]
    sources: Sequence[str]
    targets: Sequence[str]
    regions: Sequence[Region] | None = None

    @property
    def pixels(self) -> Tensor:
        """The images as (B, 1, H, W)."""
        return torch.from_numpy(np.stack(self.images).astype(np.float32))[:, None]

    def completed(self, words: Sequence[str]) -> "Batch":
        """The same with words of its own after both prompts of each image."""
        sources = [text + more for text, more in zip(self.sources, words, strict=True)]
        targets = [text + more for text, more in zip(self.targets, words, strict=True)]
        return replace(self, sources=sources, targets=targets)

    def only(self, rows: Sequence[int]) -> "Batch":
        """Some of it."""
        return Batch(
            [self.images[row] for row in rows],
            [self.sources[row] for row in rows],
            [self.targets[row] for row in rows],
            None if self.regions is None else [self.regions[row] for row in rows],
        )

    def seeds(self, seed: int) -> list[int]:
        """A seed for each image's noise, of its content and `seed`, whatever stands beside it."""
        return [content_seed(image, seed) for image in self.images]


@dataclass(frozen=True)
class Made:
    """Edited images and reconstructions (B, 1, H, W), and U-Net evaluations for each image.

    `evaluations` count those of the values of a sweep that were tried before; `masks` are None
    where anything may change.
    """

    edited: Tensor
    reconstruction: Tensor
    evaluations: Sequence[int]
    self_replace: float = 0.0
    masks: Masks | None = None

    def cells(self, row: int) -> NDArray[np.bool_] | None:
        """The cells (h, w) of an image that may change, None where all may."""
        return None if self.masks is None else self.masks.edit[row, 0].cpu().numpy()


def variants(
    model: "LatentDiffusion",
    factual: Tensor,
    batch: Batch,
    recipe: Recipe,
    truncate: bool,
    kept: "InversionCache | None",
) -> Iterator[Made]:
    """The results that a recipe chooses from, one unless it sweeps; evaluations add up."""
    if recipe.inversion == "identity":
        yield Made(factual, factual, (0,) * len(factual))
        return
    latents = model.encode(factual)
    if recipe.inversion == "autoencoder":
        decoded = model.decode(latents)
        yield Made(decoded, decoded, (0,) * len(factual))
        return
    prompts = embed_prompts(model, batch.sources, batch.targets, recipe, truncate)
    seeds = batch.seeds(recipe.seed)
    if recipe.inversion == "imagic":
        imagined = imagine(model, latents, prompts.target, recipe, seeds)
        ends = model.decode(imagined.edited), model.decode(imagined.reconstruction)
        yield Made(*ends, imagined.evaluations)
        return
    inversion = _inverted(model, latents, prompts.source, batch, recipe, seeds, kept)
    texts = batch.sources, batch.targets
    masks, spent = bounds(model, inversion, prompts, texts, batch.regions, recipe, seeds)
    asked = [once + more for once, more in zip(inversion.evaluations, spent, strict=True)]
    length, reconstruction = prompts.source.shape[1], None
    for self_replace in recipe.sweep or (recipe.self_replace,):
        chosen = replace(recipe, self_replace=self_replace)
        control = prompt_to_prompt(model, batch.sources, batch.targets, chosen, length)
        made = sample_branches(model, inversion, prompts, control, chosen, masks)
        asked = [evaluations + made.evaluations for evaluations in asked]
        if reconstruction is None:
            reconstruction = model.decode(made.source)
        ends = model.decode(made.target), reconstruction
        yield Made(*ends, tuple(asked), self_replace, masks)


def _inverted(
    model: "LatentDiffusion",
    latents: Tensor,
    embeddings: Tensor,
    batch: Batch,
    recipe: Recipe,
    seeds: Sequence[int],
    kept: InversionCache | None,
) -> Inversion:
    """The paths of a batch, those that are kept already read, the others made and kept."""
    if kept is None or recipe.inversion not in NETWORK:
        return invert(model, latents, embeddings, recipe, seeds)
    names = kept.names(model, batch.images, batch.sources, recipe)
    schedule = Schedule.of(model.scheduler, recipe.steps, recipe.strength)
    found = [kept.read(name, schedule) for name in names]
    missing = [row for row, one in enumerate(found) if one is None]
    if missing:
        some = [seeds[row] for row in missing]
        made = invert(model, latents[missing], embeddings[missing], recipe, some)
        for place, row in enumerate(missing):
            found[row] = made.row(place)
            kept.write(names[row], made.row(place))
    return Inversion.joined([one.to(model.device) for one in found if one is not None])
