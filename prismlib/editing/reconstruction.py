"""Reconstructions: what comes back when an image is inverted and nothing is asked of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prismlib.editing.inversion import ddim_invert, ddim_sample, direct_offsets
from prismlib.errors import UsageError
from prismlib.progress import progress

if TYPE_CHECKING:
    from prismlib.models.pipeline import LatentDiffusion

Image = NDArray[np.float32]
Method = Literal["autoencoder", "ddim", "direct"]


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
) -> list[Reconstruction]:
    """Invert every image under its own prompt and sample it back (Appendix B).

    `autoencoder` only encodes and decodes, the bound for all others. `ddim` inverts without
    guidance and samples with it. `direct` also stores by how much each step misses the inverted
    path, and adds that (Ju et al. 2023). The result does not depend on `batch_size`.
    """
    if method not in get_args(Method):
        raise UsageError(
            f"got the method {method!r}; expected one of {', '.join(get_args(Method))}"
        )
    if len(images) != len(prompts):
        raise UsageError(f"got {len(images)} images and {len(prompts)} prompts; expected as many")
    made: list[Reconstruction] = []
    for start in progress(range(0, len(images), batch_size), f"{method} reconstructions"):
        part = slice(start, start + batch_size)
        started = time.perf_counter()
        batch = torch.from_numpy(np.stack(images[part]).astype(np.float32))[:, None]
        latents = model.encode(batch.to(model.device))
        latents, nfe = _there_and_back(model, latents, prompts[part], method, steps, guidance_scale)
        decoded = model.decode(latents)[:, 0].float().cpu().numpy()
        seconds = (time.perf_counter() - started) / len(batch)
        made += [
            Reconstruction(factual, image, method, nfe, seconds)
            for factual, image in zip(images[part], decoded, strict=True)
        ]
    return made


def _there_and_back(
    model: "LatentDiffusion",
    latents: Tensor,
    prompts: Sequence[str],
    method: Method,
    steps: int,
    guidance_scale: float,
) -> tuple[Tensor, int]:
    """Latents after inversion and sampling, and the U-Net evaluations per image."""
    if method == "autoencoder":
        return latents, 0
    branches = 1 if guidance_scale == 1.0 else 2
    embeddings = model.embed(prompts)
    inversion = ddim_invert(model, latents, embeddings, steps)
    if method == "ddim":
        sampled = ddim_sample(model, inversion, embeddings, guidance_scale)
        return sampled, steps + steps * branches
    offsets = direct_offsets(model, inversion, embeddings, guidance_scale)
    sampled = ddim_sample(model, inversion, embeddings, guidance_scale, offsets)
    return sampled, steps + 2 * steps * branches
