"""A trained image-text encoder with finer patches: where a training of another size may begin."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

PATCHES = "vision_model.embeddings.patch_embedding.weight"
POSITIONS = "vision_model.embeddings.position_embedding.weight"


def with_patches_of(model: Any, fresh: Any) -> Any:
    """The CLIP `fresh` with the weights of `model`, whose patches may be of another size.

    Filters of patches are resized so that they answer an even patch alike, positions along the
    grid (Beyer et al. 2023, arXiv 2212.08013, section 3.3, without its pseudo-inverse). All else is
    to be of one shape; torch says which is not.
    """
    weights, expected = dict(model.state_dict()), fresh.state_dict()
    weights[PATCHES] = _filters(weights[PATCHES], expected[PATCHES].shape[-1])
    weights[POSITIONS] = _positions(weights[POSITIONS], len(expected[POSITIONS]) - 1)
    fresh.load_state_dict(weights)
    return fresh


def _filters(filters: Tensor, size: int) -> Tensor:
    """Filters (D, 3, p, p) at (D, 3, size, size)."""
    before = filters.shape[-1]
    if size == before:
        return filters
    resized = interpolate(filters.float(), size=(size, size), mode="bicubic", antialias=True)
    resized *= (before / size) ** 2
    lost = filters.float().sum((2, 3), keepdim=True) - resized.sum((2, 3), keepdim=True)
    return resized + lost / size**2


def _positions(positions: Tensor, count: int) -> Tensor:
    """Positions (1 + g * g, D), the class's first, at (1 + count, D)."""
    if count == len(positions) - 1:
        return positions
    before, side = (round(n**0.5) for n in (len(positions) - 1, count))
    grid = positions[1:].float().T.unflatten(1, (before, before))[None]
    grid = interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)[0]
    return torch.cat([positions[:1].float(), grid.flatten(1).T])
