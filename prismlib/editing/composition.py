"""Residual composition: an edit on the radiograph itself, without what the autoencoder lost."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prismlib.captions.claims import takes_density, takes_device
from prismlib.editing.contours import rounded
from prismlib.editing.masks import not_faint, without_faint
from prismlib.editing.recipe import Recipe


@dataclass(frozen=True)
class Manner:
    """How one edit is composed, beside its floor: a recipe's settings, as far as they apply to it.

    `cells`, bool (1, 1, h, w), may change, None for all; without them there is no `contour`.
    """

    limit: float | None = None
    darker: bool = False
    contour: float = 0.0
    cells: Tensor | None = None


PLAINLY = Manner()

SHARES = (1.0, 0.75, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)  # of a recipe's floor, that may take its place


def composed(
    factual: Tensor,
    edited: Tensor,
    reconstruction: Tensor,
    floor: float,
    manner: Manner = PLAINLY,
) -> Tensor:
    """factual + edited - reconstruction, in [0, 1], without what is fainter than `floor`.

    Images (B, 1, H, W); see `masks.without_faint`. What the autoencoder lost of the factual image,
    factual - reconstruction, has the edges of what the edit takes away, and leaves a ghost of it.
    With a `limit` no more of it than that, up or down, stays where the edit changes more than that:
    about the grain, but no edges. With `darker` nothing becomes brighter than it was: where what
    absorbs the beam is taken away, more of the beam arrives (Beer and Lambert's law). With a
    `contour` the border of what changed has no steps (`contours.rounded`).
    """
    difference = without_faint(edited - reconstruction, floor)
    change = difference
    if manner.limit is not None:
        lost = factual - reconstruction
        ghost = lost - lost.clamp(-manner.limit, manner.limit)
        change = difference - not_faint(difference, manner.limit) * ghost
    image = (factual + (change.clamp(max=0.0) if manner.darker else change)).clamp(0.0, 1.0)
    if manner.cells is None or not manner.contour or bool(manner.cells.all()):
        return image
    return rounded(factual, image, manner.cells, manner.contour)


def each_composed(
    factual: Tensor,
    edited: Tensor,
    reconstruction: Tensor,
    floors: Sequence[float],
    manners: Sequence[Manner] | None = None,
) -> Tensor:
    """The same with a floor and a manner of its own for each image."""
    ends = zip(factual.split(1), edited.split(1), reconstruction.split(1), strict=True)
    ways = zip(floors, manners or [PLAINLY] * len(floors), strict=True)
    return torch.cat([composed(*row, *way) for row, way in zip(ends, ways, strict=True)])


def manners(
    recipe: Recipe, sources: Sequence[str], targets: Sequence[str], cells: Tensor | None
) -> list[Manner]:
    """Of each prompt pair, how the recipe composes its edit in `cells`, bool (B, 1, h, w).

    A device has no contour: it is about as thin as the mask's cells, and would lose its ends.
    """
    found = []
    for row, pair in enumerate(zip(sources, targets, strict=True)):
        darker = recipe.only_darker and takes_density(*pair)
        contour = 0.0 if takes_device(*pair) else recipe.contour
        own = None if cells is None else cells[row : row + 1]
        found.append(Manner(recipe.residual_limit, darker, contour, own))
    return found


def floors(recipe: Recipe) -> list[float]:
    """The floors that a recipe with `target_margin` chooses from, the highest first."""
    return [share * recipe.residual_floor for share in SHARES]
