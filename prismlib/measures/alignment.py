"""Whether image and words agree: Equation 1, its filter, and what a joint space says besides."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity

from prismlib.editing.alignment import s_clip

__all__ = ["caption_gain", "caption_similarity", "passes", "s_clip"]

THRESHOLD = 0.1
"""Section 2.3: edits with S_CLIP below this are filtered out."""


def caption_similarity(images: Tensor, texts: Tensor) -> Tensor:
    """The cosine (B,) between each image's embedding and its own caption's, both (B, D)."""
    return cosine_similarity(images.double(), texts.double(), dim=-1)


def caption_gain(image_before: Tensor, image_after: Tensor, text_after: Tensor) -> Tensor:
    """How much nearer the target caption an edit has come, (B,); positive where it is nearer.

    Unlike S_CLIP it depends on how far the image moved: an edit that does next to nothing can
    point in the right direction, and then scores high in Equation 1 and near 0 here.
    """
    return caption_similarity(image_after, text_after) - caption_similarity(
        image_before, text_after
    )


def passes(scores: Tensor | Iterable[float], threshold: float = THRESHOLD) -> NDArray[np.bool_]:
    """Which edits the filter lets through: S_CLIP at `threshold` or above; NaN never passes."""
    values = scores if isinstance(scores, Tensor) else torch.tensor(list(scores))
    return (values >= threshold).numpy()
