"""The two branches of an edit, sampled side by side from the same noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from prismlib.editing.attention import PromptToPrompt, align_prompts
from prismlib.editing.inversion import Inversion, ddim_step, guided
from prismlib.editing.recipe import Recipe

if TYPE_CHECKING:
    from prismlib.models.pipeline import LatentDiffusion


@dataclass(frozen=True)
class Prompts:
    """Embeddings (B, tokens, D) of the source, the target and the prompt to steer away from."""

    source: Tensor
    target: Tensor
    negative: Tensor


@dataclass(frozen=True)
class Branches:
    """Where the two branches ended, (B, C, H, W), and the U-Net evaluations per image."""

    source: Tensor
    target: Tensor
    evaluations: int


def embed_prompts(
    model: "LatentDiffusion",
    sources: Sequence[str],
    targets: Sequence[str],
    recipe: Recipe,
    truncate: bool = False,
) -> Prompts:
    """Embed the prompts of a batch; the negative one is empty or the source, as the recipe says."""
    source = model.embed(sources, truncate=truncate)
    target = model.embed(targets, truncate=truncate)
    negative = source if recipe.negative == "source" else model.embed([""]).expand_as(source)
    return Prompts(source, target, negative)


def prompt_to_prompt(
    tokenizer: Any, sources: Sequence[str], targets: Sequence[str], recipe: Recipe, length: int
) -> PromptToPrompt:
    """The attention control that a recipe asks for, in a context of `length` tokens."""
    alignment = align_prompts(tokenizer, sources, targets, length)
    if recipe.attention == "none":
        return PromptToPrompt(alignment, 0.0, 0.0)
    return PromptToPrompt(alignment, recipe.cross_replace, recipe.self_replace)


def sample_branches(
    model: "LatentDiffusion",
    inversion: Inversion,
    prompts: Prompts,
    control: PromptToPrompt,
    recipe: Recipe,
) -> Branches:
    """Sample source and target from the noisy end of an inversion.

    Under direct inversion the source branch, with its offset added, stands on the inverted path
    at every step, so it is taken from there.
    """
    schedule = inversion.schedule
    source = target = inversion.noisy
    alphas = schedule.alphas.to(source)
    evaluations = 0
    for step, level in enumerate(range(schedule.steps, 0, -1)):
        attended = any(control.replaces(step, schedule.steps))
        rows = _rows(source, target, prompts, recipe, attended)
        with control.attached(model.unet, step, schedule.steps):
            noise = _evaluate(model, rows, schedule.timesteps[level - 1])
        evaluations += len(rows)
        target = _step(target, noise, "target", recipe, alphas[level - 1 : level + 1])
        if recipe.inversion != "direct":
            source = _step(source, noise, "source", recipe, alphas[level - 1 : level + 1])
        if recipe.inversion == "direct-shared":
            target = target + (inversion.trajectory[level - 1] - source)
        if recipe.inversion != "ddim":
            source = inversion.trajectory[level - 1]
    return Branches(source, target, evaluations)


def _rows(
    source: Tensor, target: Tensor, prompts: Prompts, recipe: Recipe, attended: bool
) -> dict[str, tuple[Tensor, Tensor]]:
    """The latents and embeddings to evaluate in one step, by name, only those that are needed.

    The source's noise is needed unless its path is known (direct inversion), its row also where
    the target takes over its attention. The conditional rows stand last, source before target, as
    `PromptToPrompt` expects.
    """
    rows = {}
    wanted = recipe.inversion != "direct"
    if recipe.guidance_scale != 1.0:
        if wanted and recipe.negative != "source":
            rows["source negative"] = (source, prompts.negative)
        rows["target negative"] = (target, prompts.negative)
    if wanted or attended:
        rows["source"] = (source, prompts.source)
    rows["target"] = (target, prompts.target)
    return rows


def _evaluate(
    model: "LatentDiffusion", rows: dict[str, tuple[Tensor, Tensor]], timestep: int
) -> dict[str, Tensor]:
    latents, embeddings = (torch.cat(parts) for parts in zip(*rows.values(), strict=True))
    noise = model.predict_noise(latents, timestep, embeddings)
    return dict(zip(rows, noise.chunk(len(rows)), strict=True))


def _step(
    latents: Tensor, noise: dict[str, Tensor], branch: str, recipe: Recipe, alphas: Tensor
) -> Tensor:
    """One DDIM step down, from `alphas[1]` to `alphas[0]`.

    A branch without a negative row is not guided: its prompt is the negative one, or the scale 1.
    """
    estimate = noise[branch]
    if f"{branch} negative" in noise:
        estimate = guided(noise[f"{branch} negative"], estimate, recipe.guidance_scale)
    return ddim_step(latents, estimate, alphas[1], alphas[0])
