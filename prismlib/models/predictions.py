"""What a U-Net is asked for, noise or velocity, and the noise that follows from either.

Stable Diffusion 1.x estimates the noise. Prism-mini estimates the velocity (Salimans and Ho 2022,
arXiv 2202.00512; Stable Diffusion 2.x), v = sqrt(a) noise - sqrt(1 - a) latents at a level a of
`alphas_cumprod`. Both say the same of the clean latents, but where nearly all is noise an error of
the noise is multiplied in them, by 4 at timestep 750, and one of the velocity is not: the large
forms of a chest, which are settled there, are learnt from fewer images. Everything that edits goes
on in terms of noise.
"""

from typing import Any

from torch import Tensor

from prismlib.errors import UsageError

NOISE, VELOCITY = "epsilon", "v_prediction"


def estimates(scheduler: Any) -> str:
    """Whether networks with this diffusers scheduler estimate `NOISE` or `VELOCITY`.

    Raises UsageError for another `prediction_type`.
    """
    kind = str(scheduler.config.prediction_type)
    if kind not in (NOISE, VELOCITY):
        raise UsageError(
            f"the scheduler's prediction_type is {kind!r}; expected {NOISE} or {VELOCITY}"
        )
    return kind


def target_of(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the U-Net should answer where latents (B, C, h, w) got this noise at timesteps (B,)."""
    if estimates(scheduler) == NOISE:
        return noise
    return scheduler.get_velocity(latents, noise, timesteps)


def noise_from(scheduler: Any, answer: Tensor, noisy: Tensor, timestep: Tensor | int) -> Tensor:
    """The noise in `noisy` (B, C, h, w) by the U-Net's answer; `timestep` is one, or one each."""
    if estimates(scheduler) == NOISE:
        return answer
    level = scheduler.alphas_cumprod.to(noisy)[timestep]
    level = level.reshape(-1, *[1] * (noisy.ndim - 1))
    return level.sqrt() * answer + (1 - level).sqrt() * noisy
