"""Noise levels, and the moves between two of them that samplers and inversions are made of."""

from dataclasses import dataclass

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from prismlib.errors import UsageError


@dataclass(frozen=True)
class Schedule:
    """The noise levels that a run visits, from clean to noisy.

    `timesteps` (levels,) are the network's, ascending; `alphas` (levels + 1,) are the cumulative
    products: `alphas[0]` belongs to the clean latents, `alphas[k]` to `timesteps[k - 1]`.
    """

    timesteps: tuple[int, ...]
    alphas: Tensor

    @classmethod
    def of(cls, scheduler: DDIMScheduler, steps: int, strength: float = 1.0) -> "Schedule":
        """The levels that diffusers' DDIM scheduler visits; the scheduler itself stays untouched.

        `strength` in (0, 1] is the share of the levels that are kept, from the clean end on, as
        in SDEdit (Meng et al. 2021, arXiv 2108.01073). Raises UsageError where the training
        schedule has no room for that many steps.
        """
        trained = scheduler.config["num_train_timesteps"]
        offset = scheduler.config["steps_offset"]
        if not 1 <= steps <= trained - offset:
            raise UsageError(f"got {steps} steps; expected 1 to {trained - offset}")
        if not 0 < strength <= 1:
            raise UsageError(f"got a strength of {strength}; expected more than 0 and at most 1")
        scheduler = DDIMScheduler.from_config(scheduler.config)
        scheduler.set_timesteps(steps)
        kept = max(1, round(strength * steps))
        timesteps = tuple(reversed(scheduler.timesteps.tolist()))[:kept]
        alphas = scheduler.alphas_cumprod[list(timesteps)]
        return cls(timesteps, torch.cat([scheduler.final_alpha_cumprod[None], alphas]))

    @property
    def steps(self) -> int:
        """How many steps lie between the clean latents and the noisiest."""
        return len(self.timesteps)


def guided(unconditional: Tensor, conditional: Tensor, scale: float | Tensor) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598), one `scale` or several."""
    return unconditional + scale * (conditional - unconditional)


def noised(clean: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """z = sqrt(alpha) x0 + sqrt(1 - alpha) eps (Ho et al. 2020, arXiv 2006.11239, Equation 4)."""
    return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise


def seeded_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal noise (*shape,) on the CPU, the same on every machine."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def predicted_clean(latents: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """The clean latents that an estimate of the noise implies: (x - sqrt(1 - a) eps) / sqrt(a)."""
    return (latents - (1 - alpha).sqrt() * noise) / alpha.sqrt()


def ddim_step(latents: Tensor, noise: Tensor, alpha: Tensor, alpha_to: Tensor) -> Tensor:
    """Move latents from the noise level `alpha` to `alpha_to`, in either direction.

        x0 = (x - sqrt(1 - alpha) eps) / sqrt(alpha)
        x' = sqrt(alpha') x0 + sqrt(1 - alpha') eps

    `latents` and `noise` (B, C, H, W); the alphas are cumulative products in (0, 1], scalars
    (Song et al. 2020, arXiv 2010.02502, Equation 12 with sigma = 0).
    """
    return noised(predicted_clean(latents, noise, alpha), noise, alpha_to)


def ddpm_mean(latents: Tensor, noise: Tensor, alpha: Tensor, alpha_to: Tensor) -> Tensor:
    """The mean of the DDPM posterior one level below, before its noise is added.

        sigma^2 = (1 - alpha') / (1 - alpha) (1 - alpha / alpha')
        mu = sqrt(alpha') x0 + sqrt(1 - alpha' - sigma^2) eps

    Song et al. 2020, Equations 12 and 16 with eta = 1, which is Ho et al.'s sampler.
    """
    variance = (1 - alpha_to) / (1 - alpha) * (1 - alpha / alpha_to)
    clean = predicted_clean(latents, noise, alpha)
    return alpha_to.sqrt() * clean + (1 - alpha_to - variance).clamp_min(0).sqrt() * noise


def clean_part(latents: Tensor, noise: Tensor, alpha: Tensor, alpha_to: Tensor) -> Tensor:
    """sqrt(alpha') x0: what the next level keeps of the estimated clean latents."""
    return alpha_to.sqrt() * predicted_clean(latents, noise, alpha)
