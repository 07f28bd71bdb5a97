"""The two branches of an edit, sampled side by side along an inversion's path."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prismlib.captions.claims import takes_device
from prismlib.editing.attention import PromptToPrompt
from prismlib.editing.inversion import Inversion
from prismlib.editing.masks import Masks
from prismlib.editing.prompts import align_prompts
from prismlib.editing.recipe import Recipe
from prismlib.editing.schedule import clean_part, ddim_step, ddpm_mean, guided

if TYPE_CHECKING:
    from prismlib.models.pipeline import LatentDiffusion

Move = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Latents, their noise, the level's alpha and the next one's: what stands at the next level."""


@dataclass(frozen=True)
class Method:
    """How a branch goes one level down.

    `known`: the source branch is the inverted path itself, so it needs no estimate of its own.
    `shared`: the target is given what the path has beyond the source's own move,
    z' = move(z) + (path' - move(path)), so that it ends where the path began if nothing differs.
    `carried`: what the target has beyond the path stays, and what its own estimates under both
    prompts differ by is added to it; the source prompt is the one to steer away from.
    """

    move: Move
    known: bool = True
    shared: bool = False
    carried: bool = False


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "ddim": Method(ddim_step, known=False),
        "negative-prompt": Method(ddim_step, known=False),
        "null-text": Method(ddim_step),
        "direct": Method(ddim_step),
        "direct-shared": Method(ddim_step, shared=True),
        "edit-friendly": Method(ddpm_mean, shared=True),
        "virtual": Method(clean_part, shared=True),
        "delta": Method(clean_part, carried=True),
        "noise": Method(ddim_step),
    }
)
"""By inversion. `negative-prompt` (Miyake et al. 2023, arXiv 2305.16807) is DDIM that is guided
away from the source prompt. `direct` gives the offset to the source alone, as published (Ju et al.
2023, Algorithm 1), `direct-shared` to both. In `edit-friendly` the difference is the noise that
lands on the path (Huberman-Spiegelglas et al. 2023, section 3.2), solved on the way. In `virtual`
the target's clean latents are the known ones plus the difference of both estimates (Xu et al. 2023,
section 3), and the path's noise is added to them. `delta` adds up such differences, from the
noisiest level on, each of two estimates at the latents that those before led to: steps of delta
denoising (Hertz et al. 2023, arXiv 2304.07090, section 3) with both prompts at the edited latents,
so that each goes where the model's implicit classifier points (Ho and Salimans 2022, section 3).
`noise` is SDEdit, and with a mask inpainting."""


@dataclass(frozen=True)
class Prompts:
    """Embeddings (B, tokens, D) of the source, the target and the prompt to steer away from.

    `objects`, bool (B, 1, 1, 1), says of each image whether its target takes a device away.
    """

    source: Tensor
    target: Tensor
    negative: Tensor
    objects: Tensor


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
    pairs = zip(sources, targets, strict=True)
    objects = torch.tensor([takes_device(*pair) for pair in pairs], device=source.device)
    return Prompts(source, target, negative, objects[:, None, None, None])


def prompt_to_prompt(
    model: "LatentDiffusion",
    sources: Sequence[str],
    targets: Sequence[str],
    recipe: Recipe,
    length: int,
) -> PromptToPrompt:
    """The attention control that a recipe asks for, in a context of `length` tokens."""
    alignment = align_prompts(model.tokenizer, sources, targets, length).to(model.device)
    if recipe.attention == "none":
        return PromptToPrompt(alignment, 0.0, 0.0, blend=recipe.blend)
    return PromptToPrompt(
        alignment,
        recipe.cross_replace,
        recipe.self_replace,
        self_replace_from=recipe.self_replace_from,
        word_weight=recipe.word_weight,
        blend=recipe.blend,
    )


def sample_branches(
    model: "LatentDiffusion",
    inversion: Inversion,
    prompts: Prompts,
    control: PromptToPrompt,
    recipe: Recipe,
    masks: Masks | None = None,
) -> Branches:
    """Sample source and target from the noisy end of an inversion."""
    schedule, method = inversion.schedule, METHODS[recipe.inversion]
    source = target = inversion.noisy
    alphas = schedule.alphas.to(source)
    evaluations = 0
    withheld = _withheld(recipe, prompts, masks)
    scale = torch.where(prompts.objects, recipe.scale_for_objects, recipe.guidance_scale)
    for step, level in enumerate(range(schedule.steps, 0, -1)):
        asked = _Asked.of(prompts, inversion, recipe, level, control.watches(step, schedule.steps))
        with control.attached(model.unet, step, schedule.steps):
            noise = asked.evaluate(model, source, target, schedule.timesteps[level - 1])
        evaluations += len(asked.rows)
        ends = alphas[level], alphas[level - 1]
        noise = asked.guided(noise, scale)
        below = inversion.trajectory[level - 1]
        here, free = inversion.trajectory[level], asked.free(noise, "target")
        moved = method.move(target, _masked(noise["target"], free, masks), *ends)
        if method.shared:
            theirs = _masked(noise["source"], asked.free(noise, "source"), masks)
            known = method.move(source, theirs, *ends)
            moved = moved + (below - known)
            if withheld is not None:
                moved = moved - withheld * (ends[1].sqrt() * inversion.clean - known)
        if method.carried:
            added = moved - method.move(target, free, *ends)
            moved = below + (ends[1] / ends[0]).sqrt() * (target - here) + added
        source = below if method.known else method.move(source, noise["source"], *ends)
        target = control.blended(source, moved, step, schedule.steps)
        if masks is not None:
            target = torch.where(masks.keep, source, target)
    return Branches(source, target, evaluations)


def _withheld(recipe: Recipe, prompts: Prompts, masks: Masks | None) -> Tensor | None:
    """The share of what the source's estimate misses that each image's target goes without.

    (B, 1, 1, 1); None where all of it is given. An image that may change anywhere is given all.
    """
    if masks is None or recipe.detail == recipe.detail_for_objects == 1:
        return None
    share = torch.where(prompts.objects, 1 - recipe.detail_for_objects, 1 - recipe.detail)
    return share * masks.keep.flatten(1).any(1)[:, None, None, None]


def _masked(edited: Tensor, free: Tensor, masks: Masks | None) -> Tensor:
    """The edited estimate inside the mask, one that was asked for nothing outside (RadEdit)."""
    return edited if masks is None else torch.where(masks.edit, edited, free)


@dataclass(frozen=True)
class _Asked:
    """What the U-Net is asked in one step: for each row its branch and embeddings, by name.

    The source's noise is needed unless its path is known, or the target is given what the path has
    beyond it; its row also where its attention is. The conditional rows stand last, source before
    target, as `PromptToPrompt` expects. A branch without a negative row is not guided: its prompt
    is the negative one, or its scale 1.
    """

    rows: Mapping[str, Tensor]
    source_scale: float

    @classmethod
    def of(
        cls, prompts: Prompts, inversion: Inversion, recipe: Recipe, level: int, watched: bool
    ) -> "_Asked":
        method, rows = METHODS[recipe.inversion], {}
        negative = prompts.negative
        if inversion.negatives is not None:
            negative = inversion.negatives[level - 1]
        wanted = method.shared or not method.known
        if wanted and recipe.negative != "source" and recipe.source_scale != 1.0:
            rows["source negative"] = negative
        if recipe.guidance_scale != 1.0 or recipe.scale_for_objects != 1.0:
            rows["target negative"] = negative
        if wanted or watched:
            rows["source"] = prompts.source
        rows["target"] = prompts.target
        return cls(rows, recipe.source_scale)

    def evaluate(
        self, model: "LatentDiffusion", source: Tensor, target: Tensor, timestep: int
    ) -> dict[str, Tensor]:
        """The estimates by row, none of them guided."""
        latents = torch.cat([source if "source" in name else target for name in self.rows])
        noise = model.predict_noise(latents, timestep, torch.cat(list(self.rows.values())))
        return dict(zip(self.rows, noise.chunk(len(self.rows)), strict=True))

    def guided(self, noise: Mapping[str, Tensor], scale: Tensor) -> dict[str, Tensor]:
        """The same with the estimates of `source` and `target` guided, by `scale` the latter."""
        found = dict(noise)
        for branch, by in (("source", self.source_scale), ("target", scale)):
            if f"{branch} negative" in found:
                found[branch] = guided(found[f"{branch} negative"], found[branch], by)
        return found

    def free(self, noise: Mapping[str, Tensor], branch: str) -> Tensor:
        """A branch's estimate under the prompt to steer away from, if it was asked for."""
        return noise.get(f"{branch} negative", noise[branch])
