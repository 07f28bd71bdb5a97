"""Counterfactuals: the image that would have been, had the prompt been another one."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prismlib.editing.alignment import s_clip
from prismlib.editing.branches import embed_prompts, prompt_to_prompt, sample_branches
from prismlib.editing.inversion import ddim_invert
from prismlib.editing.recipe import CONTROLS, RECIPES, Recipe, find_recipe
from prismlib.errors import UsageError
from prismlib.progress import progress

if TYPE_CHECKING:
    from prismlib.models.clip import ImageTextEncoder
    from prismlib.models.pipeline import LatentDiffusion

__all__ = ["CONTROLS", "RECIPES", "Counterfactual", "Recipe", "edit", "find_recipe"]

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Counterfactual:
    """An edited radiograph with what is needed to judge it.

    Images are float32 (H, W) in [0, 1]. `reconstruction` is the source branch: what the model
    makes of the factual image when nothing is asked of it. `passed` says whether S_CLIP reached
    the recipe's threshold; `nfe` counts U-Net evaluations and `seconds` the time, for this image.
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
        return np.clip(self.factual + (self.image - self.reconstruction), 0.0, 1.0)


def edit(
    model: "LatentDiffusion",
    encoder: "ImageTextEncoder",
    images: Sequence[Image],
    source_prompts: Sequence[str],
    target_prompts: Sequence[str],
    recipe: Recipe,
    batch_size: int = 8,
    truncate: bool = False,
) -> list[Counterfactual]:
    """Make the counterfactual of every image, from its source prompt to its target prompt.

    `images` (H, W) in [0, 1], all of one size that the autoencoder takes. The result does not
    depend on `batch_size`. Raises UsageError for unequal numbers, for an empty prompt and, unless
    `truncate`, for a prompt longer than the tokenizer takes.
    """
    _check(images, source_prompts, target_prompts, batch_size)
    counterfactuals: list[Counterfactual] = []
    starts = range(0, len(images), batch_size)
    for start in progress(starts, f"{recipe.name} edits, batches of {batch_size}"):
        part = slice(start, start + batch_size)
        counterfactuals += _edit_batch(
            model,
            encoder,
            images[part],
            source_prompts[part],
            target_prompts[part],
            recipe,
            truncate,
        )
    return counterfactuals


@torch.no_grad()
def _edit_batch(
    model: "LatentDiffusion",
    encoder: "ImageTextEncoder",
    images: Sequence[Image],
    sources: Sequence[str],
    targets: Sequence[str],
    recipe: Recipe,
    truncate: bool,
) -> list[Counterfactual]:
    started = time.perf_counter()
    factual = torch.from_numpy(np.stack(images).astype(np.float32))[:, None].to(model.device)
    edited, reconstruction, evaluations = _apply(model, factual, sources, targets, recipe, truncate)
    if recipe.residual:
        edited = (factual + edited - reconstruction).clamp(0.0, 1.0)
    scores = s_clip(
        encoder.embed_images(factual),
        encoder.embed_images(edited),
        encoder.embed_texts(list(sources)),
        encoder.embed_texts(list(targets)),
    ).tolist()
    seconds = (time.perf_counter() - started) / len(images)
    return [
        Counterfactual(
            image,
            _array(edited[row]),
            _array(reconstruction[row]),
            sources[row],
            targets[row],
            recipe,
            scores[row],
            scores[row] >= recipe.s_clip_threshold,
            evaluations,
            seconds,
        )
        for row, image in enumerate(images)
    ]


def _apply(
    model: "LatentDiffusion",
    factual: Tensor,
    sources: Sequence[str],
    targets: Sequence[str],
    recipe: Recipe,
    truncate: bool,
) -> tuple[Tensor, Tensor, int]:
    """Edited images and reconstructions (B, 1, H, W), and U-Net evaluations per image."""
    if recipe.inversion == "identity":
        return factual, factual, 0
    latents = model.encode(factual)
    if recipe.inversion == "autoencoder":
        decoded = model.decode(latents)
        return decoded, decoded, 0
    prompts = embed_prompts(model, sources, targets, recipe, truncate)
    inversion = ddim_invert(model, latents, prompts.source, recipe.steps)
    control = prompt_to_prompt(model.tokenizer, sources, targets, recipe, prompts.source.shape[1])
    ends = sample_branches(model, inversion, prompts, control, recipe)
    evaluations = inversion.schedule.steps + ends.evaluations
    return model.decode(ends.target), model.decode(ends.source), evaluations


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
