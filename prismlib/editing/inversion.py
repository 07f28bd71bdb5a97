"""Inversions: paths of latents from a radiograph to noise, from which it can be edited.

- *DDIM* (Song et al. 2020, arXiv 2010.02502) follows the network's noise estimate upwards. What it
  misses on the way back, *direct inversion* (Ju et al. 2023, arXiv 2310.01506) stores and adds.
- *Null-text inversion* (Mokady et al. 2022, arXiv 2211.09794) instead optimises, at each level, the
  embedding that guidance leads away from, until guided sampling follows that path.
- *Edit-friendly DDPM* (Huberman-Spiegelglas et al. 2023, arXiv 2304.06140), *virtual inversion*
  (Xu et al. 2023, arXiv 2312.04965) and SDEdit (Meng et al. 2021, arXiv 2108.01073) ask the network
  nothing on the way up: since the clean latents are known, they add noise. The first two draw anew
  at every level, SDEdit draws once.

What is done with a path on the way down stands in `editing.branches`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prismlib.editing.recipe import Recipe
from prismlib.editing.schedule import Schedule, ddim_step, guided, noised, seeded_noise

if TYPE_CHECKING:
    from prismlib.models.pipeline import LatentDiffusion

Noise = Callable[[Tensor, int], Tensor]
"""Estimates the noise in latents (B, C, H, W) at a timestep."""

INNER_RATE = 1e-2  # null-text's learning rate at the noisiest level; it falls to half of it
SATISFIED = 1e-5, 2e-5  # null-text stops below this mean squared error, and that more per step


@dataclass(frozen=True)
class Inversion:
    """The path of latents from clean to noisy: `trajectory` (levels + 1, B, C, H, W).

    `negatives` (levels, B, tokens, D), if any, are what guidance leads away from at each level;
    `evaluations` (B,) counts how often the U-Net was asked for each image.
    """

    trajectory: Tensor
    schedule: Schedule
    evaluations: tuple[int, ...]
    negatives: Tensor | None = None

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The network's timesteps, ascending, one for each of `trajectory[1:]`."""
        return self.schedule.timesteps

    @property
    def clean(self) -> Tensor:
        """The latents that were inverted, (B, C, H, W)."""
        return self.trajectory[0]

    def row(self, index: int) -> "Inversion":
        """That of one image alone."""
        part = slice(index, index + 1)
        negatives = None if self.negatives is None else self.negatives[:, part]
        return Inversion(self.trajectory[:, part], self.schedule, self.evaluations[part], negatives)

    def to(self, device: torch.device) -> "Inversion":
        """The same on another device."""
        negatives = None if self.negatives is None else self.negatives.to(device)
        return Inversion(self.trajectory.to(device), self.schedule, self.evaluations, negatives)

    @staticmethod
    def joined(rows: "Sequence[Inversion]") -> "Inversion":
        """Those of several images along one schedule, as one batch."""
        found = [row.negatives for row in rows if row.negatives is not None]
        return Inversion(
            torch.cat([row.trajectory for row in rows], dim=1),
            rows[0].schedule,
            tuple(asked for row in rows for asked in row.evaluations),
            torch.cat(found, dim=1) if found else None,
        )

    @property
    def noisy(self) -> Tensor:
        """The end of the path, from which sampling starts, (B, C, H, W)."""
        return self.trajectory[-1]


def content_seed(image: NDArray[np.float32], seed: int = 0) -> int:
    """A seed for an image's noise, of its content and `seed`, whatever stands beside it."""
    content = np.ascontiguousarray(image, dtype=np.float32).tobytes()
    digest = hashlib.sha256(seed.to_bytes(8, "little", signed=True) + content).digest()
    return int.from_bytes(digest[:7], "little")


def invert(
    model: "LatentDiffusion",
    latents: Tensor,
    embeddings: Tensor,
    recipe: Recipe,
    seeds: Sequence[int],
) -> Inversion:
    """The path that a recipe asks for, of latents (B, C, H, W) under embeddings (B, tokens, D).

    `seeds`, one an image, are those of the noise, where any is drawn.
    """
    schedule = Schedule.of(model.scheduler, recipe.steps, recipe.strength)
    if recipe.inversion in ("edit-friendly", "virtual", "delta"):
        return noise_path(latents, schedule, seeds, fresh=True)
    if recipe.inversion == "noise":
        return noise_path(latents, schedule, seeds, fresh=False)
    path = ddim_invert(model, latents, embeddings, schedule)
    if recipe.inversion == "null-text":
        return null_text(model, path, embeddings, recipe.guidance_scale, recipe.inner_steps)
    return path


def ddim_invert(
    model: "LatentDiffusion",
    latents: Tensor,
    embeddings: Tensor,
    schedule: Schedule,
    guidance_scale: float = 1.0,
) -> Inversion:
    """Lead latents (B, C, H, W) up to noise under a prompt's embeddings (B, tokens, D).

    The noise at each level is estimated from the latents one level below it, which is what makes
    plain DDIM inversion approximate.
    """
    estimate = noise_estimate(model, embeddings, guidance_scale)
    alphas = schedule.alphas.to(latents)
    trajectory = [latents]
    for level, timestep in enumerate(schedule.timesteps, start=1):
        noise = estimate(trajectory[-1], timestep)
        trajectory.append(ddim_step(trajectory[-1], noise, alphas[level - 1], alphas[level]))
    asked = schedule.steps * (1 if guidance_scale == 1.0 else 2)
    return Inversion(torch.stack(trajectory), schedule, (asked,) * len(latents))


def ddim_sample(
    model: "LatentDiffusion",
    inversion: Inversion,
    embeddings: Tensor,
    guidance_scale: float = 1.0,
) -> Tensor:
    """Lead the noisy end of an inversion down again, to clean latents (B, C, H, W)."""
    schedule = inversion.schedule
    estimate = noise_estimate(model, embeddings, guidance_scale)
    latents = inversion.noisy
    alphas = schedule.alphas.to(latents)
    for level in range(schedule.steps, 0, -1):
        noise = estimate(latents, schedule.timesteps[level - 1])
        latents = ddim_step(latents, noise, alphas[level], alphas[level - 1])
    return latents


def noise_path(latents: Tensor, schedule: Schedule, seeds: Sequence[int], fresh: bool) -> Inversion:
    """Latents (B, C, H, W) with noise added at every level, drawn anew at each if `fresh`."""
    alphas = schedule.alphas.to(latents)
    shape = (schedule.steps if fresh else 1, *latents.shape[1:])
    draws = torch.stack([seeded_noise(shape, seed) for seed in seeds], dim=1).to(latents)
    trajectory = [latents]
    for level in range(1, schedule.steps + 1):
        trajectory.append(noised(latents, draws[level - 1 if fresh else 0], alphas[level]))
    return Inversion(torch.stack(trajectory), schedule, (0,) * len(latents))


def null_text(
    model: "LatentDiffusion",
    path: Inversion,
    embeddings: Tensor,
    guidance_scale: float,
    inner_steps: int,
) -> Inversion:
    """Optimise the empty prompt's embedding so that guided sampling follows `path`.

    Mokady et al. 2022, Algorithm 1: at each level, from the noisiest on, `inner_steps` of Adam on
    || ddim_step(z_t, eps(z_t, neg, cond)) - z*_{t-1} ||^2 / n, from the embedding of the level
    before; an image that is near enough stops. Only the embedding has a gradient. Gives the path
    that guided sampling takes with the embeddings found. Every image is on its own, whatever the
    batch. An inner step is one evaluation here, though its way back costs about two more.
    """
    schedule, latents = path.schedule, path.noisy
    alphas = schedule.alphas.to(latents)
    negative = model.embed([""]).expand_as(embeddings).float().clone()
    trajectory, negatives = [latents], []
    asked = torch.tensor(path.evaluations)
    for step, level in enumerate(range(schedule.steps, 0, -1)):
        timestep, ends = schedule.timesteps[level - 1], (alphas[level], alphas[level - 1])
        conditional = model.predict_noise(latents, timestep, embeddings)

        def moved(
            candidate: Tensor,
            latents: Tensor = latents,
            timestep: int = timestep,
            conditional: Tensor = conditional,
            ends: tuple[Tensor, Tensor] = ends,
        ) -> Tensor:
            unconditional = model.noise_of(latents, timestep, candidate)
            noise = guided(unconditional, conditional, guidance_scale)
            return ddim_step(latents, noise, *ends)

        rate = INNER_RATE * (1 - step / (2 * schedule.steps))
        enough = SATISFIED[0] + SATISFIED[1] * step
        wanted = path.trajectory[level - 1]
        negative, spent = _optimised(moved, wanted, negative, inner_steps, rate, enough)
        with torch.no_grad():
            latents = moved(negative)
        trajectory.append(latents)
        negatives.append(negative.to(embeddings))
        asked = asked + spent + 2
    return Inversion(
        torch.stack(trajectory[::-1]),
        schedule,
        tuple(asked.tolist()),
        torch.stack(negatives[::-1]),
    )


def _optimised(
    moved: Callable[[Tensor], Tensor],
    wanted: Tensor,
    start: Tensor,
    steps: int,
    rate: float,
    enough: float,
) -> tuple[Tensor, Tensor]:
    """The embedding (B, tokens, D) after Adam, and how many steps each image took (B,)."""
    embedding = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([embedding], lr=rate)
    active = torch.ones(len(start), dtype=torch.bool, device=start.device)
    spent = torch.zeros(len(start), dtype=torch.long)
    for _ in range(steps):
        with torch.enable_grad():
            errors = (moved(embedding) - wanted).square().mean(dim=(1, 2, 3))
            optimizer.zero_grad()
            errors.sum().backward()
        before = embedding.detach().clone()
        optimizer.step()
        with torch.no_grad():
            embedding.copy_(torch.where(active[:, None, None], embedding, before))
        spent += active.cpu()
        active = active & (errors.detach() >= enough)
        if not active.any():
            break
    return embedding.detach(), spent


def noise_estimate(model: "LatentDiffusion", embeddings: Tensor, guidance_scale: float) -> Noise:
    """The model's noise estimate under a prompt, guided away from the empty prompt.

    A scale of 1 is no guidance, and costs one evaluation of the U-Net instead of two.
    """
    if guidance_scale == 1.0:
        return lambda latents, timestep: model.predict_noise(latents, timestep, embeddings)
    both = torch.cat([model.embed([""]).expand_as(embeddings), embeddings])

    def estimate(latents: Tensor, timestep: int) -> Tensor:
        noise = model.predict_noise(torch.cat([latents, latents]), timestep, both)
        unconditional, conditional = noise.chunk(2)
        return guided(unconditional, conditional, guidance_scale)

    return estimate
