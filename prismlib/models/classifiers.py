"""Networks that judge radiographs: a timm network with named outputs."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from prismlib.cohorts.labels import ATTRIBUTES
from prismlib.errors import UsageError
from prismlib.models import weights
from prismlib.models.clip import resized
from prismlib.models.devices import best_device
from prismlib.models.loading import OnDisk, downloaded, failing_as
from prismlib.models.roles import ROLES, find_role

THRESHOLD = 0.5


class Network(OnDisk):
    """A grey-image network with named `outputs`, in evaluation mode.

    `size` is the side in pixels of the radiographs it looks at, `fold` into how many rows and
    columns of channels they are dealt (see `prepared`).
    """

    role = "judge"

    def __init__(
        self,
        model: Any,
        outputs: Sequence[str] = ATTRIBUTES,
        name: str = "",
        folder: Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model.eval()
        self.outputs = tuple(outputs)
        config = model.pretrained_cfg
        channels = int(config["input_size"][0])
        self.fold = math.isqrt(channels)
        self.size = int(config["input_size"][-1]) * self.fold
        self.mean, self.std = float(config["mean"][0]), float(config["std"][0])
        self.name = name
        self.folder = folder
        self.settings = dict(settings or {})
        if self.fold**2 != channels or len(self.outputs) != model.num_classes:
            raise UsageError(
                f"{name or 'a classifier'}: a network of {channels} input channels and "
                f"{model.num_classes} outputs; expected 1, 4 or 16 channels and one named output "
                f"each ({len(self.outputs)} are named)"
            )

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = weights.BUNDLED,
        device: str | torch.device | None = None,
        role: str | None = None,
    ) -> Self:
        """Load one of `prism-mini`'s (`role` says which), a timm folder, or one from the hub."""
        import timm

        from prismlib.models import alexnet  # noqa: F401  (makes it known to timm)

        role = role or cls.role
        if role not in (cls.role, *available_roles(name_or_path)):
            raise UsageError(
                f"{name_or_path} has no {find_role(role).folder}/; train it with `prism train "
                f"classifier --set role={role} --export {name_or_path}`"
            )
        folder = weights.locate(name_or_path, find_role(role).folder) or downloaded(
            str(name_or_path), "classifier", ["config.json", "model*.safetensors"]
        )
        if not (folder / "config.json").is_file():
            raise UsageError(f"{folder} has no config.json; expected a timm folder")
        with failing_as(f"{folder} cannot be loaded by timm"):
            model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True)
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        outputs = settings.get("label_names", ATTRIBUTES)
        return cls(model.to(best_device(device)), outputs, str(name_or_path), folder, settings)

    def save(self, folder: Path) -> None:
        """Write a timm folder: config.json and float16 weights, batch statistics in float32."""
        from timm.models import save_for_hf

        model = weights.halved(self.model)
        with weights.written_folder(folder) as temporary:
            named = {"label_names": list(self.outputs), **self.settings}
            save_for_hf(model, str(temporary), model_config=named, safe_serialization=True)

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.model.parameters()).device

    @torch.no_grad()
    def answers(self, images: Tensor, batch_size: int = 32) -> Tensor:
        """The raw outputs (B, k), on the CPU, of images (B, 1, H, W) in [0, 1]."""
        if len(images) == 0:
            return torch.empty(0, len(self.outputs))
        return torch.cat([self._answers(part).cpu() for part in images.split(batch_size)])

    def _answers(self, images: Tensor) -> Tensor:
        return self.model(self.seen(images)).float()

    def seen(self, images: Tensor) -> Tensor:
        """Images (B, 1, H, W) in [0, 1] as the network takes them: see `prepared`."""
        pixels = resized(images.to(self.device, torch.float32), self.size)
        return prepared(pixels, self.mean, self.std, self.fold)


def available_roles(name_or_path: str | Path) -> tuple[str, ...]:
    """The roles that a model has a network for; none for one that lies on the hub."""
    folder = weights.model_folder(name_or_path)
    return tuple(role.name for role in ROLES.values() if (folder / role.folder).is_dir())


def prepared(pixels: Tensor, mean: float, std: float, fold: int) -> Tensor:
    """Images (B, 1, s, s) in [0, 1] as a network takes them, (B, fold^2, s / fold, s / fold).

    Folding deals neighbouring pixels to channels: nothing is averaged away, thin wires stay.
    """
    return pixel_unshuffle((pixels - mean) / std, fold)


class Classifier(Network):
    """A network with a sigmoid head for each of its `attributes`."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """What its heads stand for, in their order."""
        return self.outputs

    def logits(self, images: Tensor, batch_size: int = 32) -> Tensor:
        """Logits (B, k), on the CPU, of images (B, 1, H, W) in [0, 1]; heads as `attributes`."""
        return self.answers(images, batch_size)

    def probabilities(self, images: Tensor, batch_size: int = 32) -> Tensor:
        """Probabilities (B, k) of images (B, 1, H, W) in [0, 1]; heads as `attributes`."""
        return self.logits(images, batch_size).sigmoid()

    def threshold(self, attribute: str) -> float:
        """The probability from which on it says yes: where its balanced accuracy was highest on
        subjects that were neither trained on nor reported, or 0.5 where nobody chose."""
        return float(self.settings.get("thresholds", {}).get(attribute, THRESHOLD))

    @property
    def boundaries(self) -> NDArray[np.float64]:
        """The logit of each head's threshold, (k,): where its decision changes."""
        levels = np.array([self.threshold(name) for name in self.attributes])
        return np.log(levels / (1 - levels))
