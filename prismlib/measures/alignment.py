"""Whether image and words agree: Equation 1, its filter, and what a joint space says besides.

Section 2.3 calls Equation 1 the editing score, describes this in words as the similarity between
the generated image and the intended text, and then names "the editing score and directional
similarity (Gal et al., 2022)" as two. They are three quantities here: `s_clip` is Equation 1 as
printed, and the one that filters; `directional_similarity` is that of Gal et al., which differs
from it in that embeddings have unit length; `editing_score` is what the words say.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from prismlib.editing.alignment import s_clip

__all__ = [
    "caption_gain",
    "caption_similarity",
    "directional_similarity",
    "editing_score",
    "passes",
    "s_clip",
]

THRESHOLD = 0.1
"""Section 2.3: edits with S_CLIP below this are filtered out."""


def caption_similarity(images: Tensor, texts: Tensor) -> Tensor:
    """The cosine (B,) between each image's embedding and its own caption's, both (B, D)."""
    return cosine_similarity(images.double(), texts.double(), dim=-1)


def editing_score(image_after: Tensor, text_after: Tensor) -> Tensor:
    """How well the edited image agrees with the edited text, (B,) in [-1, 1].

    The cosine between E_I(X') and E_T(T'), both (B, D), as section 2.3 describes it in words. It
    does not ask what the image was before: one that fitted the text beforehand scores unedited.
    """
    return caption_similarity(image_after, text_after)


def directional_similarity(
    image_before: Tensor, image_after: Tensor, text_before: Tensor, text_after: Tensor
) -> Tensor:
    """Equation 1 between embeddings (B, D) scaled to unit length first, (B,) in [-1, 1].

    Gal et al. (2022) introduced the cosine of the two displacements and scale what CLIP gives
    before they subtract; Equation 1 is printed without. The two are equal where an edit does not
    change the lengths, and differ by what the lengths add to a displacement. 0 where nothing moved.
    """
    given = (image_before, image_after, text_before, text_after)
    return s_clip(*(normalize(embedding.double(), dim=-1) for embedding in given))


def caption_gain(image_before: Tensor, image_after: Tensor, text_after: Tensor) -> Tensor:
    """How much nearer the target caption an edit has come, (B,); positive where it is nearer.

    Unlike S_CLIP it depends on how far the image moved: an edit that does next to nothing can
    point in the right direction, and then scores high in Equation 1 and near 0 here.
    """
    return editing_score(image_after, text_after) - caption_similarity(image_before, text_after)


def passes(scores: Tensor | Iterable[float], threshold: float = THRESHOLD) -> NDArray[np.bool_]:
    """Which edits the filter lets through: S_CLIP at `threshold` or above; NaN never passes."""
    values = scores if isinstance(scores, Tensor) else torch.tensor(list(scores))
    return (values >= threshold).numpy()
