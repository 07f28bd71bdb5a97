"""Equation 1: does the image change in the direction in which the text changes?"""

import torch
from torch import Tensor

UNCHANGED = 1e-6
"""Below this share of the embedding's own length a difference is rounding, not a direction."""


def s_clip(
    image_before: Tensor, image_after: Tensor, text_before: Tensor, text_after: Tensor
) -> Tensor:
    """S_CLIP, the cosine between the image's and the text's displacement (Equation 1).

    All four are embeddings (B, D) of one joint image-text space, as the encoder gives them, not
    normalised. Returns (B,) in [-1, 1]; 0 where the image or the text did not move, since then
    there is no direction to agree with.
    """
    delta_x, x_moved = _displacement(image_before, image_after)
    delta_t, t_moved = _displacement(text_before, text_after)
    cosine = (delta_x * delta_t).sum(-1)
    return torch.where(x_moved & t_moved, cosine, torch.zeros_like(cosine)).clamp(-1.0, 1.0)


def _displacement(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """The unit vector from `before` to `after`, and whether they differ at all."""
    before, after = before.double(), after.double()
    delta = after - before
    length = delta.norm(dim=-1)
    moved = length > UNCHANGED * before.norm(dim=-1)
    return delta / length.where(moved, torch.ones_like(length))[..., None], moved
