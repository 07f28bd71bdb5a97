"""Residual composition: an edit on the radiograph itself, without what the autoencoder lost."""

from collections.abc import Sequence

import torch
from torch import Tensor

from prismlib.captions.claims import takes_density
from prismlib.editing.masks import not_faint, without_faint
from prismlib.editing.recipe import Recipe

SHARES = (1.0, 0.75, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)  # of a recipe's floor, that may take its place


def composed(
    factual: Tensor,
    edited: Tensor,
    reconstruction: Tensor,
    floor: float,
    limit: float | None = None,
    darker: bool = False,
) -> Tensor:
    """factual + edited - reconstruction, in [0, 1], without what is fainter than `floor`.

    Images (B, 1, H, W); see `masks.without_faint`. What the autoencoder lost of the factual image,
    factual - reconstruction, has the edges of what the edit takes away, and leaves a ghost of it.
    With a `limit` no more of it than that, up or down, stays where the edit changes more than that:
    about the grain, but no edges. With `darker` nothing becomes brighter than it was: where what
    absorbs the beam is taken away, more of the beam arrives (Beer and Lambert's law).
    """
    difference = without_faint(edited - reconstruction, floor)
    change = difference
    if limit is not None:
        lost = factual - reconstruction
        ghost = lost - lost.clamp(-limit, limit)
        change = difference - not_faint(difference, limit) * ghost
    return (factual + (change.clamp(max=0.0) if darker else change)).clamp(0.0, 1.0)


def each_composed(
    factual: Tensor,
    edited: Tensor,
    reconstruction: Tensor,
    floors: Sequence[float],
    limit: float | None = None,
    darker: Sequence[bool] | None = None,
) -> Tensor:
    """The same with a floor of its own for each image, and whether it may only become darker."""
    ends = zip(factual.split(1), edited.split(1), reconstruction.split(1), strict=True)
    ways = zip(floors, darker or [False] * len(floors), strict=True)
    return torch.cat(
        [composed(*row, floor, limit, dark) for row, (floor, dark) in zip(ends, ways, strict=True)]
    )


def only_darker(recipe: Recipe, sources: Sequence[str], targets: Sequence[str]) -> list[bool]:
    """Of each prompt pair, whether the recipe lets its image become darker alone."""
    pairs = zip(sources, targets, strict=True)
    return [recipe.only_darker and takes_density(*pair) for pair in pairs]


def floors(recipe: Recipe) -> list[float]:
    """The floors that a recipe with `target_margin` chooses from, the highest first."""
    return [share * recipe.residual_floor for share in SHARES]
