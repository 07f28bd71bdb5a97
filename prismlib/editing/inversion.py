"""DDIM and its inversion: the deterministic path between an image's latents and noise.

DDIM (Song et al. 2020, arXiv 2010.02502, Equation 12 with sigma = 0) moves latents from one noise
level to another along the model's noise estimate. Upwards it inverts, downwards it samples; the
two would cancel exactly if the estimate were the same at both ends of a step. *Direct inversion*
(Ju et al. 2023, arXiv 2310.01506) makes up the rest: it stores by how much each sampling step
misses the inverted path, and adds that offset back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from prismlib.errors import UsageError

if TYPE_CHECKING:
    from prismlib.models.pipeline import LatentDiffusion

Noise = Callable[[Tensor, int], Tensor]
"""Estimates the noise in latents (B, C, H, W) at a timestep."""


@dataclass(frozen=True)
class Schedule:
    """The noise levels that a run of `steps` visits, from clean to noisy.

    `timesteps` (steps,) are the network's, ascending; `alphas` (steps + 1,) are the cumulative
    products: `alphas[0]` belongs to the clean latents, `alphas[k]` to `timesteps[k - 1]`.
    """

    timesteps: tuple[int, ...]
    alphas: Tensor

    @classmethod
    def of(cls, scheduler: DDIMScheduler, steps: int) -> "Schedule":
        """The levels that diffusers' DDIM scheduler visits; the scheduler itself stays untouched.

        Raises UsageError where the training schedule has no room for that many steps.
        """
        trained = scheduler.config["num_train_timesteps"]
        offset = scheduler.config["steps_offset"]
        if not 1 <= steps <= trained - offset:
            raise UsageError(f"got {steps} steps; expected 1 to {trained - offset}")
        scheduler = DDIMScheduler.from_config(scheduler.config)
        scheduler.set_timesteps(steps)
        timesteps = tuple(reversed(scheduler.timesteps.tolist()))
        alphas = scheduler.alphas_cumprod[list(timesteps)]
        return cls(timesteps, torch.cat([scheduler.final_alpha_cumprod[None], alphas]))

    @property
    def steps(self) -> int:
        """How many steps lie between the clean latents and the noisiest."""
        return len(self.timesteps)


@dataclass(frozen=True)
class Inversion:
    """The path of latents from clean to noisy: `trajectory` (steps + 1, B, C, H, W)."""

    trajectory: Tensor
    schedule: Schedule

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The network's timesteps, ascending, one for each of `trajectory[1:]`."""
        return self.schedule.timesteps

    @property
    def clean(self) -> Tensor:
        """The latents that were inverted, (B, C, H, W)."""
        return self.trajectory[0]

    @property
    def noisy(self) -> Tensor:
        """The end of the path, from which sampling starts, (B, C, H, W)."""
        return self.trajectory[-1]


def ddim_step(latents: Tensor, noise: Tensor, alpha: Tensor, alpha_to: Tensor) -> Tensor:
    """Move latents from the noise level `alpha` to `alpha_to`, in either direction.

        x0 = (x - sqrt(1 - alpha) eps) / sqrt(alpha)
        x' = sqrt(alpha') x0 + sqrt(1 - alpha') eps

    `latents` and `noise` (B, C, H, W); the alphas are cumulative products in (0, 1], scalars.
    """
    clean = (latents - (1 - alpha).sqrt() * noise) / alpha.sqrt()
    return alpha_to.sqrt() * clean + (1 - alpha_to).sqrt() * noise


def guided(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598)."""
    return unconditional + scale * (conditional - unconditional)


def ddim_invert(
    model: "LatentDiffusion",
    latents: Tensor,
    embeddings: Tensor,
    steps: int,
    guidance_scale: float = 1.0,
) -> Inversion:
    """Lead latents (B, C, H, W) up to noise under a prompt's embeddings (B, tokens, D).

    The noise at each level is estimated from the latents one level below it, which is what makes
    plain DDIM inversion approximate.
    """
    schedule = Schedule.of(model.scheduler, steps)
    estimate = noise_estimate(model, embeddings, guidance_scale)
    alphas = schedule.alphas.to(latents)
    trajectory = [latents]
    for level, timestep in enumerate(schedule.timesteps, start=1):
        noise = estimate(trajectory[-1], timestep)
        trajectory.append(ddim_step(trajectory[-1], noise, alphas[level - 1], alphas[level]))
    return Inversion(torch.stack(trajectory), schedule)


def ddim_sample(
    model: "LatentDiffusion",
    inversion: Inversion,
    embeddings: Tensor,
    guidance_scale: float = 1.0,
    offsets: Tensor | None = None,
) -> Tensor:
    """Lead the noisy end of an inversion down again, to clean latents (B, C, H, W).

    `offsets` (steps, B, C, H, W), as `direct_offsets` gives them, are added after each step; with
    them and the same embeddings the result is `inversion.clean`, whatever the model.
    """
    schedule = inversion.schedule
    estimate = noise_estimate(model, embeddings, guidance_scale)
    latents = inversion.noisy
    alphas = schedule.alphas.to(latents)
    for level in range(schedule.steps, 0, -1):
        noise = estimate(latents, schedule.timesteps[level - 1])
        latents = ddim_step(latents, noise, alphas[level], alphas[level - 1])
        if offsets is not None:
            latents = latents + offsets[level - 1]
    return latents


def direct_offsets(
    model: "LatentDiffusion",
    inversion: Inversion,
    embeddings: Tensor,
    guidance_scale: float = 1.0,
) -> Tensor:
    """By how much each sampling step misses the inverted path (Ju et al. 2023, Algorithm 1).

    Returns (steps, B, C, H, W); entry k belongs to the step that ends in `trajectory[k]`.
    """
    schedule = inversion.schedule
    estimate = noise_estimate(model, embeddings, guidance_scale)
    alphas = schedule.alphas.to(inversion.clean)
    offsets = []
    for level, timestep in enumerate(schedule.timesteps, start=1):
        noisy, wanted = inversion.trajectory[level], inversion.trajectory[level - 1]
        noise = estimate(noisy, timestep)
        offsets.append(wanted - ddim_step(noisy, noise, alphas[level], alphas[level - 1]))
    return torch.stack(offsets)


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
