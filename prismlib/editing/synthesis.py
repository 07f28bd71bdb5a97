"""Images from noise alone: what the poster's row "+ SD samples" is made of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from prismlib.editing.inversion import Inversion, ddim_sample
from prismlib.editing.schedule import Schedule, seeded_noise
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
    guidance_scale: float = 3.0,
    size: int = 512,
    batch_size: int = 8,
) -> list[Image]:
    """Sample one image (size, size) in [0, 1] for each prompt by DDIM from noise of its own seed.

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
        draws = [seeded_noise(shape, int(seed)) for seed in seeds[part]]
        noise = torch.stack(draws).to(model.device)
        path = Inversion(noise[None], schedule, (0,) * len(noise))
        latents = ddim_sample(model, path, model.embed(prompts[part]), guidance_scale)
        images += list(model.decode(latents)[:, 0].float().cpu().numpy())
    return images
