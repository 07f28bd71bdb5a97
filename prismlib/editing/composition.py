"""Residual composition: an edit on the radiograph itself, without what the autoencoder lost."""

from collections.abc import Sequence

import torch
from torch import Tensor

from prismlib.editing.masks import not_faint, without_faint
from prismlib.editing.recipe import Recipe

SHARES = (1.0, 0.75, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)  # of a recipe's floor, that may take its place


def composed(
    factual: Tensor,
    edited: Tensor,
    reconstruction: Tensor,
    floor: float,
    limit: float | None = None,
) -> Tensor:
    """factual + edited - reconstruction, in [0, 1], without what is fainter than `floor`.

    Images (B, 1, H, W); see `masks.without_faint`. What the autoencoder lost of the factual image,
    factual - reconstruction, has the edges of what the edit takes away, and leaves a ghost of it.
    With a `limit` no more of it than that, up or down, stays where the edit changes more than that:
    about the grain, but no edges.
    """
    difference = without_faint(edited - reconstruction, floor)
    if limit is None:
        return (factual + difference).clamp(0.0, 1.0)
    lost = factual - reconstruction
    ghost = lost - lost.clamp(-limit, limit)
    return (factual + difference - not_faint(difference, limit) * ghost).clamp(0.0, 1.0)


def each_composed(
    factual: Tensor,
    edited: Tensor,
    reconstruction: Tensor,
    floors: Sequence[float],
    limit: float | None = None,
) -> Tensor:
    """The same with a floor of its own for each image."""
    rows = zip(factual.split(1), edited.split(1), reconstruction.split(1), floors, strict=True)
    return torch.cat([composed(*row, limit) for row in rows])


def floors(recipe: Recipe) -> list[float]:
    """The floors that a recipe with `target_margin` chooses from, the highest first."""
    return [share * recipe.residual_floor for share in SHARES]
