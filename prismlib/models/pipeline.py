"""One loaded Stable Diffusion, prism-mini or any 1.x: what editing needs of it."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prismlib import paths
from prismlib.errors import UsageError
from prismlib.models import grounding, weights
from prismlib.models.devices import best_device
from prismlib.models.folding import to_channels, to_images
from prismlib.models.loading import OnDisk, failing_as
from prismlib.models.predictions import noise_from
from prismlib.models.sources import find_source, load_unet
from prismlib.models.tokenizers import check_length, tokenize

COMPONENTS = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")


class LatentDiffusion(OnDisk):
    """Autoencoder, U-Net, text encoder, tokenizer and DDIM scheduler, in evaluation mode.

    And, if one lies beside the pipeline, the `grounding` that finds what a sentence speaks of.

    Nothing of it asks for gradients. Images are float (B, 1, H, W) in [0, 1]; latents are
    (B, C, H/f, W/f), already times the autoencoder's scaling factor, float32 whatever the networks
    compute in, so that paths of latents add up.
    """

    def __init__(
        self,
        components: dict[str, Any],
        name: str,
        folder: Path | None,
        unet_path: Path | None = None,
        replaced: bool = False,
        grounding: Any = None,
    ) -> None:
        self.vae = components["vae"].eval().requires_grad_(False)
        self.unet = components["unet"].eval().requires_grad_(False)
        self.text_encoder = components["text_encoder"].eval().requires_grad_(False)
        self.tokenizer = components["tokenizer"]
        self.scheduler = components["scheduler"]
        self.name = name
        self.folder = folder
        self.unet_path = unet_path
        self.replaced = replaced  # the U-Net is not the one that lies on disk
        self.grounding = grounding

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = weights.BUNDLED,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        unet: Any = None,
        base: str | Path | None = None,
    ) -> "LatentDiffusion":
        """Load `prism-mini`, a diffusers folder, or a Stable Diffusion 1.x from the hub.

        A fine-tuned U-Net alone, such as the authors' `amar-kr/PRISM` may be, takes its frozen
        parts from `base`, Stable Diffusion v1.5 if None (see `sources`). A `unet`, if given, is
        taken instead of the folder's, which then need not have one.

        Raises UsageError for a name that is none of these and for a U-Net that does not fit the
        text encoder or the autoencoder, PrismError for files that are missing, torn or altered.
        """
        source = find_source(name_or_path, base)
        given = unet is not None
        if unet is None and source.unet is not None:
            unet = load_unet(source, dtype)
        components = _components(source.folder, dtype, {} if unet is None else {"unet": unet})
        _check_fit(components, str(name_or_path))
        for part in ("vae", "unet", "text_encoder"):
            components[part].to(best_device(device))
        place = grounding.beside(source.folder)
        finder = None if place is None else grounding.load(place, dtype).to(best_device(device))
        return cls(components, str(name_or_path), source.folder, source.unet, given, finder)

    def with_unet(self, unet: Any) -> "LatentDiffusion":
        """The same frozen parts with another U-Net, which is put into evaluation mode."""
        parts = {name: getattr(self, name) for name in COMPONENTS}
        parts["unet"] = unet.to(self.device)
        where = self.folder, self.unet_path
        return LatentDiffusion(parts, self.name, *where, replaced=True, grounding=self.grounding)

    @cached_property
    def weights_sha256(self) -> str:
        """One SHA-256 over all files of the loaded folder, with those of a U-Net from elsewhere
        and of the grounding; empty if a part of it never was on disk."""
        if self.replaced or not self.folder:
            return ""
        found = [weights.fingerprint(self.folder)]
        if self.unet_path is not None:
            alone = paths.sha256 if self.unet_path.is_file() else weights.fingerprint
            found.append(alone(self.unet_path))
        place = grounding.beside(self.folder)
        return "-".join(found if place is None else [*found, weights.fingerprint(place)])

    @property
    def device(self) -> torch.device:
        """Where the U-Net lies."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the U-Net computes in."""
        return next(self.unet.parameters()).dtype

    def part_sha256(self, *parts: str) -> str:
        """One SHA-256 over the files of some parts, such as `vae`; empty if not on disk."""
        folder = self.folder
        return "-".join(weights.fingerprint(folder / part) for part in parts) if folder else ""

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Latents (B, C, H/f, W/f) of images (B, 1, H, W): the posterior's mean, scaled."""
        seen = to_channels(images.to(self.device, self.dtype), self.vae)
        return self.vae.encode(seen).latent_dist.mode().float() * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 1, H, W) in [0, 1] of latents."""
        latents = latents.to(self.device, self.dtype) / self.vae.config.scaling_factor
        return to_images(self.vae.decode(latents).sample).clamp(0, 1)

    @torch.no_grad()
    def embed(
        self, prompts: Sequence[str], truncate: bool = False, batch_size: int = 256
    ) -> Tensor:
        """Text embeddings (B, 77, D) of prompts.

        Raises UsageError naming the words past the tokenizer's limit, unless `truncate`.
        """
        if not truncate:
            check_length(self.tokenizer, prompts)
        ids = torch.tensor(tokenize(self.tokenizer, prompts), device=self.device)
        return torch.cat([self.text_encoder(part)[0] for part in ids.split(batch_size)])

    @torch.no_grad()
    def ground(self, latents: Tensor, names: Sequence[str]) -> Tensor:
        """The chance that some of what each name means lies in a cell, (B, 1, h, w).

        Of clean latents (B, C, h, w), under the name's sentence. Raises UsageError for a model
        that has no grounding.
        """
        if self.grounding is None:
            raise UsageError(f"{self.name} has no {grounding.PART}; train one (prism train)")
        text = self.embed([grounding.sentence(name) for name in names]).to(self.dtype)
        seen = latents.to(self.dtype)
        answer = self.grounding(seen, grounding.TIMESTEP, encoder_hidden_states=text).sample
        return answer.float().sigmoid()

    @torch.no_grad()
    def predict_noise(self, latents: Tensor, timestep: Tensor | int, embeddings: Tensor) -> Tensor:
        """The U-Net's estimate of the noise in `latents` at a timestep, shaped like them."""
        return self.noise_of(latents, timestep, embeddings)

    def noise_of(self, latents: Tensor, timestep: Tensor | int, embeddings: Tensor) -> Tensor:
        """The same where gradients are wanted, of the latents or of the embeddings."""
        text = embeddings.to(self.dtype)
        answer = self.unet(latents.to(self.dtype), timestep, encoder_hidden_states=text).sample
        return noise_from(self.scheduler, answer.to(latents.dtype), latents, timestep)


def _check_fit(components: dict[str, Any], name: str) -> None:
    """UsageError unless the U-Net reads what the text encoder and the autoencoder give."""
    unet, vae = components["unet"].config, components["vae"].config
    reads = {"numbers a token": unet.cross_attention_dim, "latent channels": unet.in_channels}
    given = (components["text_encoder"].config.hidden_size, vae.latent_channels)
    for (what, asked), got in zip(reads.items(), given, strict=True):
        if asked != got:
            raise UsageError(
                f"{name}: the U-Net reads {asked} {what}, the frozen parts give {got}; take both "
                "from one model (prism train: --start and --model)"
            )


def _components(folder: Path, dtype: torch.dtype, given: dict[str, Any]) -> dict[str, Any]:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    loaders = dict(
        zip(
            COMPONENTS,
            (AutoencoderKL, UNet2DConditionModel, CLIPTextModel, CLIPTokenizer, DDIMScheduler),
            strict=True,
        )
    )
    missing = [p for p in COMPONENTS if p not in given and not (folder / p).is_dir()]
    if missing:
        raise UsageError(
            f"{folder} has no {', '.join(missing)}; expected a diffusers folder with "
            f"{', '.join(COMPONENTS)}"
        )
    components: dict[str, Any] = dict(given)
    for part, loader in loaders.items():
        if part in given:
            continue
        with failing_as(f"{folder / part} cannot be loaded"):
            components[part] = _load(loader, folder / part, dtype)
    return components


def _load(loader: Any, folder: Path, dtype: torch.dtype) -> Any:
    if loader.__name__ in ("CLIPTokenizer", "DDIMScheduler"):
        return loader.from_pretrained(folder)
    if loader.__name__ == "CLIPTextModel":
        with weights.no_bars():
            return loader.from_pretrained(folder, dtype=dtype)
    return loader.from_pretrained(folder, torch_dtype=dtype)
