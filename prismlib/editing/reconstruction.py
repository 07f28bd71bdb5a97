"""Reconstructions: what comes back when an image is inverted and nothing is asked of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prismlib.editing.branches import embed_prompts, prompt_to_prompt, sample_branches
from prismlib.editing.inversion import content_seed, invert
from prismlib.editing.recipe import InversionKind, NegativeKind, Recipe
from prismlib.errors import UsageError
from prismlib.progress import progress

if TYPE_CHECKING:
    from prismlib.models.pipeline import LatentDiffusion

Image = NDArray[np.float32]
Method = Literal[
    "autoencoder",
    "ddim",
    "negative-prompt",
    "null-text",
    "direct",
    "edit-friendly",
    "virtual",
]
_SAMPLED_AS: dict[str, InversionKind] = {
    "ddim": "direct",  # whose target branch is plain DDIM, and its source costs nothing
    "negative-prompt": "direct",
    "null-text": "null-text",
    "direct": "direct-shared",
    "edit-friendly": "edit-friendly",
    "virtual": "virtual",
}


@dataclass(frozen=True)
class Reconstruction:
    """An image (H, W) in [0, 1] and what a method gave back for it.

    `nfe` counts the U-Net evaluations that were made for it, `seconds` the time.
    """

    factual: Image
    image: Image
    method: Method
    nfe: int
    seconds: float


def reconstruct(
    model: "LatentDiffusion",
    images: Sequence[Image],
    prompts: Sequence[str],
    method: Method,
    steps: int = 50,
    guidance_scale: float = 1.0,
    batch_size: int = 8,
    inner_steps: int = 10,
) -> list[Reconstruction]:
    """Invert every image under its own prompt and sample it back (Appendix B).

    `autoencoder` only encodes and decodes, the bound for all others. `ddim` inverts without
    guidance and samples with it; `negative-prompt` is guided away from the prompt itself, and
    `null-text` from embeddings that take `inner_steps` to find at each level. `direct`,
    `edit-friendly` and `virtual` are sampled beside their own path and return to it (see
    `branches`). The result does not depend on `batch_size`.
    """
    if method not in get_args(Method):
        raise UsageError(
            f"got the method {method!r}; expected one of {', '.join(get_args(Method))}"
        )
    if len(images) != len(prompts):
        raise UsageError(f"got {len(images)} images and {len(prompts)} prompts; expected as many")
    negative: NegativeKind = "source" if method == "negative-prompt" else "empty"
    kind = _SAMPLED_AS.get(method, "autoencoder")
    recipe = Recipe(method, kind, steps, guidance_scale, negative=negative, inner_steps=inner_steps)
    made: list[Reconstruction] = []
    for start in progress(range(0, len(images), batch_size), f"{method} reconstructions"):
        part = slice(start, start + batch_size)
        started = time.perf_counter()
        batch = torch.from_numpy(np.stack(images[part]).astype(np.float32))[:, None]
        latents, asked = model.encode(batch.to(model.device)), (0,) * len(batch)
        if recipe.edits:
            seeds = [content_seed(image) for image in images[part]]
            with torch.no_grad():
                latents, asked = _there_and_back(model, latents, prompts[part], seeds, recipe)
        decoded = model.decode(latents)[:, 0].float().cpu().numpy()
        seconds = (time.perf_counter() - started) / len(batch)
        made += [
            Reconstruction(factual, image, method, nfe, seconds)
            for factual, image, nfe in zip(images[part], decoded, asked, strict=True)
        ]
    return made


def autoencoded(
    model: "LatentDiffusion", images: Sequence[Image], batch_size: int = 8
) -> list[Image]:
    """Images (H, W) encoded and decoded alone: the yardstick of what any edit of latents loses."""
    made = reconstruct(model, images, [""] * len(images), "autoencoder", batch_size=batch_size)
    return [one.image for one in made]


def _there_and_back(
    model: "LatentDiffusion",
    latents: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    recipe: Recipe,
) -> tuple[Tensor, tuple[int, ...]]:
    """Latents after inversion and sampling, and the U-Net evaluations for each image."""
    embedded = embed_prompts(model, prompts, prompts, recipe)
    inversion = invert(model, latents, embedded.source, recipe, seeds)
    control = prompt_to_prompt(model, prompts, prompts, recipe, embedded.source.shape[1])
    ends = sample_branches(model, inversion, embedded, control, recipe)
    return ends.target, tuple(asked + ends.evaluations for asked in inversion.evaluations)
