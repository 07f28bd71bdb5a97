"""Images from noise alone: what the poster's row "+ SD samples" is made of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prismlib.editing.inversion import Inversion, ddim_sample
from prismlib.editing.schedule import Schedule, noised, predicted_clean, seeded_noise
from prismlib.errors import UsageError
from prismlib.progress import progress

if TYPE_CHECKING:
    from prismlib.models.pipeline import LatentDiffusion

Image = NDArray[np.float32]


@torch.no_grad()
def synthesize(
    model: "LatentDiffusion",
    prompts: Sequence[str],
    seeds: Sequence[int],
    steps: int = 20,
    guidance_scale: float = 7.5,
    size: int = 512,
    batch_size: int = 8,
    rounds: int = 8,
) -> list[Image]:
    """Sample one image (size, size) in [0, 1] for each prompt by DDIM from noise of its own seed.

    The noisiest level of Stable Diffusion's schedule still holds a little of the image, and a
    network that finds none of it in pure noise concludes that there was little contrast (Lin et
    al. 2023, arXiv 2305.08891). So `rounds` times what it predicts there is noised again to the
    same level, as in restart sampling (Xu et al. 2023, arXiv 2306.14878); with 0 it is pure noise.

    The result does not depend on `batch_size`. Raises UsageError unless there are as many seeds
    as prompts.
    """
    if len(prompts) != len(seeds):
        raise UsageError(f"got {len(prompts)} prompts and {len(seeds)} seeds; expected as many")
    shape = tuple(model.encode(torch.zeros(1, 1, size, size)).shape[1:])
    schedule = Schedule.of(model.scheduler, steps)
    images: list[Image] = []
    for start in progress(range(0, len(prompts), batch_size), "samples from noise"):
        part = slice(start, start + batch_size)
        draws = [seeded_noise((rounds + 1, *shape), int(seed)) for seed in seeds[part]]
        embeddings = model.embed(prompts[part])
        noise = _settled(model, torch.stack(draws, dim=1).to(model.device), embeddings, schedule)
        path = Inversion(noise[None], schedule, (0,) * len(noise))
        latents = ddim_sample(model, path, embeddings, guidance_scale)
        images += list(model.decode(latents)[:, 0].float().cpu().numpy())
    return images


def _settled(
    model: "LatentDiffusion", draws: Tensor, embeddings: Tensor, schedule: Schedule
) -> Tensor:
    """The first of the draws (rounds + 1, B, C, H, W), and below each other one what it hides."""
    alpha, noisy = schedule.alphas[-1].to(draws), draws[0]
    for noise in draws[1:]:
        estimate = model.predict_noise(noisy, schedule.timesteps[-1], embeddings)
        noisy = noised(predicted_clean(noisy, estimate, alpha), noise, alpha)
    return noisy
