"""Residual composition: an edit on the radiograph itself, without what the autoencoder lost."""

from collections.abc import Sequence

import torch
from torch import Tensor

from prismlib.editing.masks import without_faint
from prismlib.editing.recipe import Recipe

SHARES = (1.0, 0.75, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)  # of a recipe's floor, that may take its place


def composed(factual: Tensor, edited: Tensor, reconstruction: Tensor, floor: float) -> Tensor:
    """factual + edited - reconstruction, in [0, 1], without what is fainter than `floor`.

    Images (B, 1, H, W); see `masks.without_faint`.
    """
    return (factual + without_faint(edited - reconstruction, floor)).clamp(0.0, 1.0)


def each_composed(
    factual: Tensor, edited: Tensor, reconstruction: Tensor, floors: Sequence[float]
) -> Tensor:
    """The same with a floor of its own for each image."""
    rows = zip(factual.split(1), edited.split(1), reconstruction.split(1), floors, strict=True)
    return torch.cat([composed(*row) for row in rows])


def floors(recipe: Recipe) -> list[float]:
    """The floors that a recipe with `target_margin` chooses from, the highest first."""
    return [share * recipe.residual_floor for share in SHARES]
