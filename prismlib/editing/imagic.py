"""Imagic: fit the target prompt's embedding to an image, then the network to both, and go on.

Kawar et al. 2022 (arXiv 2210.09276). In three steps, for each image by itself: the embedding of the
target prompt is optimised until it explains the image (section 3.1); the U-Net is fine-tuned around
that embedding (3.2); the image is sampled from an embedding between the optimised one and the
target (3.3). At the optimised end it should be the image itself, which is what is called its
reconstruction here.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prismlib.editing.inversion import Inversion, ddim_sample
from prismlib.editing.recipe import Recipe
from prismlib.editing.schedule import Schedule

if TYPE_CHECKING:
    from prismlib.models.pipeline import LatentDiffusion

EMBEDDING_RATE = 1e-3
TUNING_RATE = 1e-5
DRAWS = 4  # noises and timesteps in a step of either fit


@dataclass(frozen=True)
class Imagined:
    """Latents (B, C, H, W) of the edited images and their reconstructions; evaluations (B,)."""

    edited: Tensor
    reconstruction: Tensor
    evaluations: tuple[int, ...]


def imagine(
    model: "LatentDiffusion",
    latents: Tensor,
    target: Tensor,
    recipe: Recipe,
    seeds: Sequence[int],
) -> Imagined:
    """Edit latents (B, C, H, W) towards target embeddings (B, tokens, D).

    `inner_steps` fit the embedding, `tuning_steps` the network, of which each image has its own;
    `interpolation` is how far from the optimised embedding to the target one goes. The model is
    left as it was. A step of a fit counts as many evaluations as it draws noises, and its way
    back none.
    """
    rows = [
        _one(model, latents[[row]], target[[row]], recipe, seed) for row, seed in enumerate(seeds)
    ]
    fits = DRAWS * (recipe.inner_steps + recipe.tuning_steps)
    asked = fits + 2 * recipe.steps * (1 if recipe.guidance_scale == 1.0 else 2)
    edited, reconstructed = (torch.cat(parts) for parts in zip(*rows, strict=True))
    return Imagined(edited, reconstructed, (asked,) * len(rows))


def _one(
    model: "LatentDiffusion", latents: Tensor, target: Tensor, recipe: Recipe, seed: int
) -> tuple[Tensor, Tensor]:
    """The edited latents and the reconstruction of one image."""
    generator = torch.Generator().manual_seed(seed)
    target = target.float()  # in half precision Adam's steps divide by zero
    fitted = target.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([fitted], lr=EMBEDDING_RATE)
    _fit(model, latents, fitted, optimizer, recipe.inner_steps, generator)
    fitted = fitted.detach()
    own = model.with_unet(copy.deepcopy(model.unet).float())
    own.unet.requires_grad_(True)
    optimizer = torch.optim.Adam(own.unet.parameters(), lr=TUNING_RATE)
    _fit(own, latents, fitted, optimizer, recipe.tuning_steps, generator)
    own.unet.requires_grad_(False)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    start = Inversion(noise[None], Schedule.of(model.scheduler, recipe.steps), (0,))
    between = torch.lerp(fitted, target, recipe.interpolation)
    edited, reconstructed = (
        ddim_sample(own, start, embedding, recipe.guidance_scale) for embedding in (between, fitted)
    )
    return edited, reconstructed


def _fit(
    model: "LatentDiffusion",
    latents: Tensor,
    embedding: Tensor,
    optimizer: torch.optim.Optimizer,
    steps: int,
    generator: torch.Generator,
) -> None:
    """Steps on || eps - eps_theta(z_t, t, e) ||^2 of whatever the optimizer holds (Equation 2)."""
    last = model.scheduler.config.num_train_timesteps
    for _ in range(steps):
        noise = torch.randn((DRAWS, *latents.shape[1:]), generator=generator).to(latents)
        timesteps = torch.randint(0, last, (DRAWS,), generator=generator).to(latents.device)
        noisy = model.scheduler.add_noise(latents.expand_as(noise), noise, timesteps)
        with torch.enable_grad():
            guess = model.noise_of(noisy, timesteps, embedding.expand(DRAWS, -1, -1))
            loss = (guess - noise).square().mean()
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
