"""What the image-text encoder reads in edits, and how little change will do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from prismlib.editing.composition import Manner, each_composed, floors
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
        return self.margins_of(self.encoder.embed_images(images))

    def margins_of(self, embeddings: Tensor) -> Tensor:
        """The same of the encoder's embeddings (B, D) of images."""
        seen = normalize(embeddings, dim=-1)
        return (seen * (normalize(self.target, dim=-1) - normalize(self.source, dim=-1))).sum(-1)


def chosen_floors(
    factual: Tensor,
    edited: Tensor,
    reconstruction: Tensor,
    recipe: Recipe,
    reading: Reading,
    manners: Sequence[Manner] | None = None,
) -> list[float]:
    """For each of edits (B, 1, H, W) the floor of its composition: the recipe's, or what will do.

    With `target_margin` it is the highest of `composition.floors` at which the target text lies
    nearer than the source text by so much, a difference of cosines: a counterfactual should be
    minimal (Wachter et al. 2017, arXiv 1711.00399). Where none will do it is the highest of all:
    what does not bring about what was asked is not worth more change. `manners` are those of
    `composition.each_composed`.
    """
    if recipe.target_margin is None:
        return [recipe.residual_floor] * len(factual)
    ends, n, tried = (factual, edited, reconstruction), len(factual), floors(recipe)
    made = (each_composed(*ends, [floor] * n, manners) for floor in tried)
    margins = torch.stack([reading.margins(images) for images in made])
    first = (margins >= recipe.target_margin).int().argmax(dim=0)  # 0 where there is none
    return [tried[place] for place in first.tolist()]
