"""Where a recipe lets an image change: the mask it asks for, whoever finds it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from prismlib.editing.branches import Prompts, prompt_to_prompt
from prismlib.editing.inversion import Inversion
from prismlib.editing.masks import Masks, Region, find_masks, from_regions, grounded_masks
from prismlib.editing.recipe import Recipe

if TYPE_CHECKING:
    from prismlib.models.pipeline import LatentDiffusion


def bounds(
    model: "LatentDiffusion",
    inversion: Inversion,
    prompts: Prompts,
    texts: tuple[Sequence[str], Sequence[str]],
    regions: Sequence[Region] | None,
    recipe: Recipe,
    seeds: Sequence[int],
) -> tuple[Masks | None, Sequence[int]]:
    """The masks of a batch, None for none, and how many evaluations finding them cost each image.

    `texts` are the source and the target prompts, `regions` what goes with a mask that is given.
    """
    sources, targets = texts
    free = [0] * len(sources)
    if recipe.mask == "none":
        return None, free
    if regions is not None:
        return from_regions(regions, inversion.clean), free
    if recipe.mask == "grounded":
        return grounded_masks(model, inversion.clean, sources, targets)
    looking = replace(recipe, attention="none", blend=float(recipe.mask == "attention"))
    control = prompt_to_prompt(model, sources, targets, looking, prompts.source.shape[1])
    found = prompts.source, prompts.target
    clean, schedule = inversion.clean, inversion.schedule
    masks, cost = find_masks(model, recipe.mask, clean, found, control, schedule, seeds)
    return masks, [cost] * len(sources)
