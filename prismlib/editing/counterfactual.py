"""Counterfactuals: the image that would have been, had the prompt been another one."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prismlib.captions.claims import takes_device
from prismlib.editing.alignment import s_clip
from prismlib.editing.batches import Batch, variants
from prismlib.editing.cache import InversionCache
from prismlib.editing.composition import composed, each_composed, manners
from prismlib.editing.context import contexts
from prismlib.editing.masks import Region, check_regions
from prismlib.editing.reading import Reading, chosen_floors
from prismlib.editing.recipe import Recipe
from prismlib.editing.recipes import CONTROLS, OTHERS, RECIPES, find_recipe
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
    `cells`, bool (h, w), which of the latents the recipe's mask lets change, None without any.
    `passed` says whether S_CLIP reached the recipe's threshold; `margin` is by how much the target
    prompt is nearer to the image than the source prompt, a difference of cosines (to the composed
    image where a recipe insists), and `insisted` whether it is the firmer of two edits;
    `self_replace` is the value of a sweep that was kept, or the recipe's own. `nfe` counts U-Net
    evaluations, those of a kept inversion too, and `seconds` the time that it took now, for this
    image.
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
    cells: NDArray[np.bool_] | None = None
    margin: float = 0.0
    insisted: bool = False

    @property
    def difference(self) -> Image:
        """Counterfactual minus factual, float32 (H, W) in [-1, 1]."""
        return self.image - self.factual

    @property
    def mask_share(self) -> float:
        """The share of the latents' cells that may change, 1 where all may."""
        return 1.0 if self.cells is None else float(self.cells.mean())

    def composed(self) -> Image:
        """factual + counterfactual - reconstruction, in [0, 1]: the edit without what was lost.

        The image itself where the recipe composed it already.
        """
        if self.recipe.residual:
            return self.image
        images = (self.factual, self.image, self.reconstruction)
        factual, edited, back = (torch.from_numpy(image)[None, None] for image in images)
        cells = None if self.cells is None else torch.from_numpy(self.cells)[None, None]
        (how,) = manners(self.recipe, [self.source_prompt], [self.target_prompt], cells)
        return _array(composed(factual, edited, back, self.floor, how)[0])


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


def _edit_batch(
    model: "LatentDiffusion",
    encoder: "ImageTextEncoder",
    batch: Batch,
    recipe: Recipe,
    truncate: bool,
    kept: "InversionCache | None",
) -> list[Counterfactual]:
    """The counterfactuals of a batch; of those not read as asked, a firmer one if it is nearer."""
    once = partial(_edit_once, model, encoder, truncate, kept, recipe.insist is not None)
    found = once(batch, recipe)
    again = [row for row, first in enumerate(found) if _asks_again(first, recipe)]
    if again:
        firm = once(batch.only(again), recipe.firmly)
        for row, second in zip(again, firm, strict=True):
            first, nearer = found[row], second.margin > found[row].margin
            found[row] = replace(
                second if nearer else first,
                recipe=recipe,
                nfe=first.nfe + second.nfe,
                seconds=first.seconds + second.seconds,
                insisted=nearer,
            )
    return found


def _asks_again(made: Counterfactual, recipe: Recipe) -> bool:
    """Whether an edit is not read as asked, and asking firmly can make sense."""
    prompts = made.source_prompt, made.target_prompt
    if recipe.insist is None or made.margin >= recipe.insist.margin or prompts[0] == prompts[1]:
        return False
    settled = recipe.object_scale is not None and recipe.object_detail is not None
    settled = settled and takes_device(*prompts)
    return not (settled or recipe.found_nothing(made.mask_share))


@torch.no_grad()
def _edit_once(
    model: "LatentDiffusion",
    encoder: "ImageTextEncoder",
    truncate: bool,
    kept: "InversionCache | None",
    reads_composed: bool,
    batch: Batch,
    recipe: Recipe,
) -> list[Counterfactual]:
    started = time.perf_counter()
    factual = batch.pixels.to(model.device)
    texts = encoder.embed_texts(list(batch.sources)), encoder.embed_texts(list(batch.targets))
    before = encoder.embed_images(factual)
    words = [""] * len(batch.images)
    if recipe.context and recipe.edits:
        words = contexts(encoder, before, batch.sources, batch.targets, model.tokenizer)
    asked, tried, reading = batch.completed(words), [], Reading(encoder, *texts)
    for made in variants(model, factual, asked, recipe, truncate, kept):
        ends = factual, made.edited, made.reconstruction
        cells = None if made.masks is None else made.masks.edit
        ways = manners(recipe, batch.sources, batch.targets, cells)
        floors = chosen_floors(*ends, recipe, reading, ways)
        shown = made.edited
        if recipe.residual or reads_composed:
            shown = each_composed(*ends, floors, ways)
        image = shown if recipe.residual else made.edited
        after = encoder.embed_images(image)
        scores: list[float] = s_clip(before, after, *texts).tolist()
        read = after if shown is image else encoder.embed_images(shown)
        margins: list[float] = reading.margins_of(read).tolist()
        tried.append((image, made, scores, floors, margins))
    seconds = (time.perf_counter() - started) / len(batch.images)
    found = []
    for row, factual_image in enumerate(batch.images):
        image, made, scores, floors, margins = max(tried, key=lambda one: one[2][row])
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
                made.cells(row),
                margins[row],
            )
        )
    return found


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
