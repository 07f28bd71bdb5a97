"""CLIP: images and texts in one space, for S_CLIP (Equation 1)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from prismlib.models import weights
from prismlib.models.devices import best_device
from prismlib.models.loading import OnDisk, downloaded, failing_as
from prismlib.models.tokenizers import tokenize


class ImageTextEncoder(OnDisk):
    """A CLIP in evaluation mode; its embeddings are not normalised."""

    def __init__(self, model: Any, tokenizer: Any, processor: Any, name: str, folder: Path) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.size = int(model.config.vision_config.image_size)
        self.mean = float(sum(processor.image_mean) / len(processor.image_mean))
        self.std = float(sum(processor.image_std) / len(processor.image_std))
        self.name = name
        self.folder = folder

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = weights.BUNDLED,
        device: str | torch.device | None = None,
        part: str = "clip",
    ) -> "ImageTextEncoder":
        """Load `prism-mini`'s encoder, a transformers folder, or a CLIP from the hub.

        `part` `second_clip` is the encoder of disjoint subjects, which selected no edit.
        """
        from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

        folder = weights.locate(name_or_path, part) or downloaded(
            str(name_or_path), "CLIP", ["*.json", "*.txt", "model*.safetensors"]
        )
        with failing_as(f"{folder} cannot be loaded as a CLIP"):
            with weights.no_bars():
                model: Any = CLIPModel.from_pretrained(folder, dtype=torch.float32)
            tokenizer = CLIPTokenizer.from_pretrained(folder)
            processor = CLIPImageProcessor.from_pretrained(folder)
        return cls(model.to(best_device(device)), tokenizer, processor, str(name_or_path), folder)

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.model.parameters()).device

    @torch.no_grad()
    def embed_images(self, images: Tensor, batch_size: int = 32) -> Tensor:
        """Embeddings (B, D) of images (B, 1, H, W) in [0, 1]."""
        return torch.cat([self._embed_images(part) for part in images.split(batch_size)])

    def patch_features(self, images: Tensor) -> list[Tensor]:
        """What the image tower holds of each patch of images (B, 1, H, W) in [0, 1].

        Half way up and at the end, each (B, patches + 1, D), every vector of mean square 1;
        differentiable with respect to the images, unlike `embed_images`.
        """
        seen = self.model.vision_model(pixel_values=self._pixels(images), output_hidden_states=True)
        layers = seen.hidden_states
        held = (layers[len(layers) // 2], seen.last_hidden_state)
        return [values / values.square().mean(dim=-1, keepdim=True).sqrt() for values in held]

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (B, D) of texts; what goes past the tokenizer's limit is cut."""
        ids = torch.tensor(tokenize(self.tokenizer, texts), device=self.device)
        return _pooled(self.model.get_text_features(input_ids=ids))

    def _embed_images(self, images: Tensor) -> Tensor:
        return _pooled(self.model.get_image_features(pixel_values=self._pixels(images)))

    def _pixels(self, images: Tensor) -> Tensor:
        pixels = resized(images.to(self.device, torch.float32), self.size)
        return ((pixels - self.mean) / self.std).expand(-1, 3, -1, -1)


def resized(images: Tensor, size: int) -> Tensor:
    """Images (B, C, H, W) at (B, C, size, size), with the fine detail averaged, not aliased."""
    if images.shape[-2:] == (size, size):
        return images
    return interpolate(
        images, size=(size, size), mode="bicubic", antialias=True, align_corners=False
    ).clamp(0, 1)


def _pooled(features: Any) -> Tensor:
    """Projected features, which transformers gives bare or as the pooled output of a record."""
    return features if isinstance(features, Tensor) else features.pooler_output
