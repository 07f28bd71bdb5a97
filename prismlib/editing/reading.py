"""What the image-text encoder reads in edits, and of several the least that will do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from prismlib.editing.composition import composed, floors
from prismlib.editing.recipe import Recipe

if TYPE_CHECKING:
    from prismlib.models.clip import ImageTextEncoder


@dataclass(frozen=True)
class Reading:
    """How near images lie to the texts of their source and target prompts, embeddings (B, D)."""

    encoder: "ImageTextEncoder"
    source: Tensor
    target: Tensor

    def margins(self, images: Tensor) -> Tensor:
        """By how much the target text is nearer to images (B, 1, H, W) than the source, (B,)."""
        seen = normalize(self.encoder.embed_images(images), dim=-1)
        return (seen * (normalize(self.target, dim=-1) - normalize(self.source, dim=-1))).sum(-1)


def finished(
    factual: Tensor, edited: Tensor, reconstruction: Tensor, recipe: Recipe, reading: Reading
) -> Tensor:
    """Edits (B, 1, H, W) composed as the recipe says, each with the floor that serves it."""
    ends = factual, edited, reconstruction
    if recipe.enough is None:
        return composed(*ends, recipe.residual_floor)
    return least(reading, recipe.enough, [composed(*ends, floor) for floor in floors(recipe)])


def least(reading: Reading, enough: float, candidates: Sequence[Tensor]) -> Tensor:
    """For each image the first of its candidates (B, 1, H, W), least edited first, that will do.

    One will do if the target text lies nearer to it than the source text by `enough`, a difference
    of cosines: a counterfactual should be minimal (Wachter et al. 2017, arXiv 1711.00399). Where
    none will, the first: what does not bring about what was asked is not worth more change.
    """
    will_do = torch.stack([reading.margins(images) >= enough for images in candidates])
    chosen = will_do.int().argmax(dim=0)  # (candidates, B): the first of the largest, 0 if none
    return torch.stack([candidates[place][row] for row, place in enumerate(chosen.tolist())])
