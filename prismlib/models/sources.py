"""Where the parts of a Stable Diffusion lie: one pipeline, or a U-Net beside a base model's parts.

Fine-tuning changes the U-Net alone, so fine-tuned weights come in more than one shape. What is
known of the authors': their `finetune_chexpert.py` leaves accelerate's checkpoints (a
`model.safetensors` with the U-Net's numbers and no configuration) and, at its end, a whole
pipeline; their own notebook and `generate_cf_images.py` load the former into the U-Net of Stable
Diffusion v1.5. Which of the two `amar-kr/PRISM` on the hub holds could not be looked up when this
was written, so both are understood, and a U-Net saved by diffusers as well.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prismlib.errors import UsageError
from prismlib.models import weights
from prismlib.models.loading import downloaded, failing_as

BASE = "stable-diffusion-v1-5/stable-diffusion-v1-5"
FROZEN = ("vae", "text_encoder", "tokenizer")
NAMES = ("model", "pytorch_model", "diffusion_pytorch_model")
UNET = "UNet2DConditionModel"


@dataclass(frozen=True)
class Source:
    """`folder` holds a pipeline's parts; `unet`, if any, is what stands in for its U-Net.

    `unet` is a folder that diffusers saved, or a file with the numbers of a U-Net shaped like the
    pipeline's own.
    """

    folder: Path
    unet: Path | None = None


def find_source(name_or_path: str | Path, base: str | Path | None = None) -> Source:
    """Where `prism-mini`, a folder or a repository of the hub has its parts.

    A folder with a U-Net and nothing else takes the rest from `base`, Stable Diffusion v1.5 if
    None. Raises UsageError for a name that is none of these.
    """
    folder = weights.locate(name_or_path, "pipeline") or _downloaded(str(name_or_path))
    if any((folder / part).is_dir() for part in FROZEN):
        return Source(folder)
    unet = _unet_alone(folder)
    return Source(folder) if unet is None else Source(find_source(base or BASE).folder, unet)


def load_unet(source: Source, dtype: Any) -> Any:
    """The U-Net of a source that has one of its own."""
    from diffusers import UNet2DConditionModel

    path = source.unet
    with failing_as(f"{path} cannot be loaded as a U-Net"):
        if path is not None and path.is_file():
            config = UNet2DConditionModel.load_config(source.folder / "unet")
            unet: Any = UNet2DConditionModel.from_config(config)
            unet.load_state_dict(_numbers(path))
            return unet.to(dtype)
        return UNet2DConditionModel.from_pretrained(
            path or source.folder / "unet", torch_dtype=dtype
        )


def widths(source: Source) -> tuple[int, int]:
    """How many channels a source's latents have, and how many numbers its text encoder a token."""
    keys = {"vae": "latent_channels", "text_encoder": "hidden_size"}
    latents, text = (_config(source.folder / part / "config.json")[keys[part]] for part in keys)
    return int(latents), int(text)


def _numbers(path: Path) -> dict[str, Any]:
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        numbers = load_file(path)
    else:
        numbers = torch.load(path, map_location="cpu", weights_only=True)
    return {name.removeprefix("module."): value for name, value in numbers.items()}


def _unet_alone(folder: Path) -> Path | None:
    """The folder or the file of a U-Net, below a folder that holds nothing else; None if there is
    none."""
    for place in (folder / "unet", folder):
        if _class_in(place / "config.json") == UNET:
            return place
    if (folder / "config.json").is_file():
        return None
    for suffix in (".safetensors", ".bin"):
        found = sorted(path for name in NAMES for path in folder.rglob(f"{name}{suffix}"))
        if len(found) > 1:
            raise UsageError(
                f"{folder} has {len(found)} files that may be its U-Net's weights, such as "
                f"{found[0].relative_to(folder)}; name the folder of one"
            )
        if found:
            return found[0]
    return None


def _class_in(config: Path) -> str | None:
    return _config(config).get("_class_name") if config.is_file() else None


def _config(path: Path) -> dict[str, Any]:
    with failing_as(f"{path} cannot be read"):
        return json.loads(path.read_text(encoding="utf-8"))


def _downloaded(name: str) -> Path:
    from diffusers import StableDiffusionPipeline
    from huggingface_hub.errors import EntryNotFoundError

    with failing_as(f"no model {name!r} here nor on the hub", UsageError):
        try:
            return Path(StableDiffusionPipeline.download(name, safety_checker=None))
        except EntryNotFoundError:  # it has no model_index.json, so it may be a U-Net alone
            files = [f"{part}.{kind}" for part in NAMES for kind in ("safetensors", "bin")]
            return downloaded(name, "model", ["config.json", "unet/*", *(f"*{f}" for f in files)])
