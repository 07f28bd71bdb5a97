"""Counterfactuals: the image that would have been, had the prompt been another one."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prismlib.editing.alignment import s_clip
from prismlib.editing.bounds import bounds
from prismlib.editing.branches import (
    embed_prompts,
    prompt_to_prompt,
    sample_branches,
)
from prismlib.editing.cache import NETWORK, InversionCache
from prismlib.editing.composition import composed, each_composed, only_darker
from prismlib.editing.context import contexts
from prismlib.editing.imagic import imagine
from prismlib.editing.inversion import Inversion, content_seed, invert
from prismlib.editing.masks import (
    Masks,
    Region,
    check_regions,
)
from prismlib.editing.reading import Reading, chosen_floors
from prismlib.editing.recipe import Recipe
from prismlib.editing.recipes import CONTROLS, OTHERS, RECIPES, find_recipe
from prismlib.editing.schedule import Schedule
from prismlib.errors import UsageError
from prismlib.progress import progress

if TYPE_CHECKING:
    from prismlib.models.clip import ImageTextEncoder
    from prismlib.models.pipeline import LatentDiffusion

__all__ = ["CONTROLS", "OTHERS", "RECIPES", "Counterfactual", "Recipe", "edit", "find_recipe"]

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Counterfactual:
    """An edited radiograph with what is needed to judge it.

    Images are float32 (H, W) in [0, 1]. `reconstruction` is the source branch: what the model
    makes of the factual image when nothing is asked of it. Where that branch is the inverted path
    itself (all but `ddim`, `negative-prompt` and `null-text`), it is what the autoencoder alone
    gives back. `context` is what both prompts were completed by, if the recipe asks for that;
    `floor` what residual composition drops, the recipe's `residual_floor` or what was enough;
    `mask_share` the share of the latents' cells that the recipe's mask lets change, 1 without any.
    `passed` says whether S_CLIP reached the recipe's threshold; `self_replace` is the
    value of a sweep that was kept, or the recipe's own. `nfe` counts U-Net evaluations, those of a
    kept inversion too, and `seconds` the time that it took now, for this image.
    """

    factual: Image
    image: Image
    reconstruction: Image
    source_prompt: str
    target_prompt: str
    recipe: Recipe
    s_clip: float
    passed: bool
    nfe: int
    seconds: float
    self_replace: float = 0.0
    context: str = ""
    floor: float = 0.0
    mask_share: float = 1.0

    @property
    def difference(self) -> Image:
        """Counterfactual minus factual, float32 (H, W) in [-1, 1]."""
        return self.image - self.factual

    def composed(self) -> Image:
        """factual + counterfactual - reconstruction, in [0, 1]: the edit without what was lost.

        The image itself where the recipe composed it already.
        """
        if self.recipe.residual:
            return self.image
        images = (self.factual, self.image, self.reconstruction)
        factual, edited, back = (torch.from_numpy(image)[None, None] for image in images)
        (darker,) = only_darker(self.recipe, [self.source_prompt], [self.target_prompt])
        limit = self.recipe.residual_limit
        return _array(composed(factual, edited, back, self.floor, limit, darker)[0])


def edit(
    model: "LatentDiffusion",
    encoder: "ImageTextEncoder",
    images: Sequence[Image],
    source_prompts: Sequence[str],
    target_prompts: Sequence[str],
    recipe: Recipe,
    batch_size: int = 8,
    truncate: bool = False,
    regions: Sequence[Region] | None = None,
    kept: "InversionCache | None" = None,
) -> list[Counterfactual]:
    """Make the counterfactual of every image, from its source prompt to its target prompt.

    `images` (H, W) in [0, 1], all of one size that the autoencoder takes. `regions`, one an image,
    go with a recipe whose mask is given. `kept` keeps inversions, which cost the most and serve
    every target prompt. The result does not depend on `batch_size`. Raises UsageError for unequal
    numbers, for an empty prompt and, unless `truncate`, for a prompt longer than the tokenizer
    takes.
    """
    _check(images, source_prompts, target_prompts, batch_size)
    check_regions(regions, recipe.mask, [image.shape for image in images])
    counterfactuals: list[Counterfactual] = []
    starts = range(0, len(images), batch_size)
    for start in progress(starts, f"{recipe.name} edits, batches of {batch_size}"):
        part = slice(start, start + batch_size)
        batch = Batch(
            images[part],
            source_prompts[part],
            target_prompts[part],
            None if regions is None else regions[part],
        )
        counterfactuals += _edit_batch(model, encoder, batch, recipe, truncate, kept)
    return counterfactuals


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

    def seeds(self, seed: int) -> list[int]:
        """A seed for each image's noise, of its content and `seed`, whatever stands beside it."""
        return [content_seed(image, seed) for image in self.images]


@dataclass(frozen=True)
class _Made:
    """Edited images and reconstructions (B, 1, H, W), and U-Net evaluations for each image.

    `evaluations` count those of the values of a sweep that were tried before; `masks` are None
    where anything may change.
    """

    edited: Tensor
    reconstruction: Tensor
    evaluations: Sequence[int]
    self_replace: float = 0.0
    masks: Masks | None = None

    def mask_share(self, row: int) -> float:
        """The share of an image's cells that may change."""
        return 1.0 if self.masks is None else float(self.masks.edit[row].float().mean())


@torch.no_grad()
def _edit_batch(
    model: "LatentDiffusion",
    encoder: "ImageTextEncoder",
    batch: Batch,
    recipe: Recipe,
    truncate: bool,
    kept: "InversionCache | None",
) -> list[Counterfactual]:
    started = time.perf_counter()
    factual = batch.pixels.to(model.device)
    texts = encoder.embed_texts(list(batch.sources)), encoder.embed_texts(list(batch.targets))
    before = encoder.embed_images(factual)
    words = [""] * len(batch.images)
    if recipe.context and recipe.edits:
        words = contexts(encoder, before, batch.sources, batch.targets, model.tokenizer)
    darker = only_darker(recipe, batch.sources, batch.targets)
    asked, tried = batch.completed(words), []
    for made in _variants(model, factual, asked, recipe, truncate, kept):
        ends = factual, made.edited, made.reconstruction
        floors = chosen_floors(*ends, recipe, Reading(encoder, *texts), darker)
        image = made.edited
        if recipe.residual:
            image = each_composed(*ends, floors, recipe.residual_limit, darker)
        scores = s_clip(before, encoder.embed_images(image), *texts).tolist()
        tried.append((image, made, scores, floors))
    seconds = (time.perf_counter() - started) / len(batch.images)
    found = []
    for row, factual_image in enumerate(batch.images):
        image, made, scores, floors = max(tried, key=lambda one: one[2][row])
        found.append(
            Counterfactual(
                factual_image,
                _array(image[row]),
                _array(made.reconstruction[row]),
                batch.sources[row],
                batch.targets[row],
                recipe,
                scores[row],
                scores[row] >= recipe.s_clip_threshold,
                tried[-1][1].evaluations[row],
                seconds,
                made.self_replace,
                words[row],
                floors[row],
                made.mask_share(row),
            )
        )
    return found


def _variants(
    model: "LatentDiffusion",
    factual: Tensor,
    batch: Batch,
    recipe: Recipe,
    truncate: bool,
    kept: "InversionCache | None",
) -> Iterator[_Made]:
    """The results that a recipe chooses from, one unless it sweeps; evaluations add up."""
    if recipe.inversion == "identity":
        yield _Made(factual, factual, (0,) * len(factual))
        return
    latents = model.encode(factual)
    if recipe.inversion == "autoencoder":
        decoded = model.decode(latents)
        yield _Made(decoded, decoded, (0,) * len(factual))
        return
    prompts = embed_prompts(model, batch.sources, batch.targets, recipe, truncate)
    seeds = batch.seeds(recipe.seed)
    if recipe.inversion == "imagic":
        imagined = imagine(model, latents, prompts.target, recipe, seeds)
        ends = model.decode(imagined.edited), model.decode(imagined.reconstruction)
        yield _Made(*ends, imagined.evaluations)
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
        yield _Made(*ends, tuple(asked), self_replace, masks)


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


def _array(image: Tensor) -> Image:
    return image[0].float().cpu().numpy()


def _check(
    images: Sequence[Image], sources: Sequence[str], targets: Sequence[str], batch_size: int
) -> None:
    if not len(images) == len(sources) == len(targets):
        raise UsageError(
            f"got {len(images)} images, {len(sources)} source and {len(targets)} target prompts; "
            "expected one of each per subject"
        )
    if batch_size < 1:
        raise UsageError(f"got a batch size of {batch_size}; expected 1 or more")
    for row, prompt in enumerate(zip(sources, targets, strict=True)):
        if not all(text.strip() for text in prompt):
            raise UsageError(f"subject {row}: got an empty prompt; expected words to edit by")
    sizes = sorted({image.shape for image in images})
    if len(sizes) > 1:
        raise UsageError(f"got images of sizes {sizes}; expected one size for all")
