"""What stands for the networks of `prism edit` in tests of all that is around them."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from tiny_stable_diffusion import tiny_tokenizer

from prismlib.cohorts.labels import ATTRIBUTES
from prismlib.commands.edit_engine import Engine
from prismlib.editing.recipe import Recipe


@dataclass(frozen=True)
class FakeEdit:
    factual: np.ndarray
    image: np.ndarray
    reconstruction: np.ndarray
    recipe: Recipe
    s_clip: float
    passed: bool
    nfe: int = 3
    seconds: float = 0.5
    self_replace: float = 0.0
    context: str = ""
    floor: float = 0.0
    mask_share: float = 0.25
    margin: float = 0.3
    insisted: bool = False

    @property
    def difference(self) -> np.ndarray:
        return self.image - self.factual


class FakePart:
    name = "fake"
    weights_sha256 = "0" * 64
    device = "cpu"
    attributes = ATTRIBUTES

    def __init__(self) -> None:
        self.tokenizer = tiny_tokenizer()

    def embed(self, prompts: list[str]) -> None:
        from prismlib.models.tokenizers import check_length

        check_length(self.tokenizer, prompts)

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(1, 2, 3))[:, None].expand(-1, 4)


class FakeEngine:
    """Darkens the lower half by a tenth and keeps what it was asked."""

    def __init__(self, s_clip: float = 0.3) -> None:
        self.s_clip = s_clip
        self.mask_share = 0.25
        self.asked: list[tuple[str, str, str]] = []
        self.sizes: list[int] = []
        self.breaks = False
        part = FakePart()
        self.engine = Engine(part, part, part, self.edit)  # type: ignore[arg-type]

    def edit(  # type: ignore[no-untyped-def]
        self, model, encoder, images, sources, targets, recipe, batch_size, regions, kept
    ):
        self.sizes.append(batch_size)
        if self.breaks and len(images) > 1:
            raise RuntimeError("out of memory")
        return [self._one(*each, recipe) for each in zip(images, sources, targets, strict=True)]

    def _one(self, image, source, target, recipe):  # type: ignore[no-untyped-def]
        self.asked.append((source, target, recipe.name))
        edited = image.copy()
        edited[256:] *= 0.9
        passed = self.s_clip >= recipe.s_clip_threshold
        edit = FakeEdit(image, edited, image, recipe, self.s_clip, passed)
        return replace(edit, mask_share=self.mask_share)
