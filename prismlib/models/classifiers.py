"""Classifiers that judge: a timm network with one logit for each attribute."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prismlib.cohorts.labels import ATTRIBUTES
from prismlib.errors import UsageError
from prismlib.models import weights
from prismlib.models.clip import resized
from prismlib.models.devices import best_device
from prismlib.models.loading import OnDisk, downloaded, failing_as


class Classifier(OnDisk):
    """A grey-image network with a sigmoid head for each of `attributes`, in evaluation mode."""

    def __init__(
        self,
        model: Any,
        attributes: Sequence[str] = ATTRIBUTES,
        name: str = "",
        folder: Path | None = None,
    ) -> None:
        self.model = model.eval()
        self.attributes = tuple(attributes)
        config = model.pretrained_cfg
        self.size = int(config["input_size"][-1])
        self.mean, self.std = float(config["mean"][0]), float(config["std"][0])
        self.name = name
        self.folder = folder

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = weights.BUNDLED,
        device: str | torch.device | None = None,
    ) -> "Classifier":
        """Load `prism-mini`'s classifier, a timm folder, or one from the hub."""
        import timm

        folder = weights.locate(name_or_path, "classifier") or downloaded(
            str(name_or_path), "classifier", ["config.json", "model*.safetensors"]
        )
        if not (folder / "config.json").is_file():
            raise UsageError(f"{folder} has no config.json; expected a timm folder")
        with failing_as(f"{folder} cannot be loaded by timm"):
            model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True)
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        attributes = settings.get("label_names", ATTRIBUTES)
        channels, outputs = model.pretrained_cfg["input_size"][0], model.num_classes
        if channels != 1 or len(attributes) != outputs:
            raise UsageError(
                f"{folder}: a network of {channels} input channels and {outputs} outputs; expected "
                "1 channel and one named output each"
            )
        return cls(model.to(best_device(device)), attributes, str(name_or_path), folder)

    def save(self, folder: Path) -> None:
        """Write a timm folder: config.json and float16 weights, batch statistics in float32."""
        from timm.models import save_for_hf

        model = weights.halved(self.model)
        with weights.written_folder(folder) as temporary:
            labels = {"label_names": list(self.attributes)}
            save_for_hf(model, str(temporary), model_config=labels, safe_serialization=True)

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.model.parameters()).device

    @torch.no_grad()
    def logits(self, images: Tensor, batch_size: int = 32) -> Tensor:
        """Logits (B, 4), on the CPU, of images (B, 1, H, W) in [0, 1]; heads as `attributes`."""
        if len(images) == 0:
            return torch.empty(0, len(self.attributes))
        return torch.cat([self._logits(part).cpu() for part in images.split(batch_size)])

    def probabilities(self, images: Tensor, batch_size: int = 32) -> Tensor:
        """Probabilities (B, 4) of images (B, 1, H, W) in [0, 1]; heads as `attributes`."""
        return self.logits(images, batch_size).sigmoid()

    def _logits(self, images: Tensor) -> Tensor:
        pixels = resized(images.to(self.device, torch.float32), self.size)
        return self.model((pixels - self.mean) / self.std)
