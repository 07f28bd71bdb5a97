"""The autoencoder: crops in, crops out, with thin wires kept."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from prismlib.errors import UsageError
from prismlib.models.clip import ImageTextEncoder
from prismlib.models.data import SIDE, TrainingImages, as_floats
from prismlib.models.epochs import shuffled
from prismlib.models.folding import factor_of, to_channels, to_images
from prismlib.models.linear_start import linear_start
from prismlib.models.training import Batch, Objective, Settings

PENALTIES = {"absolute": torch.abs, "squared": torch.square}
SAMPLED = 128  # training images, of 1024 patches each, that principal components come from


@dataclass(frozen=True)
class VaeSettings(Settings):
    """`crop` pixels a side; `edge_weight` is that of the gradients' error beside the pixels'.

    `error` is `absolute`, or `squared`: where a latent leaves open whether there is a faint line,
    the one draws what is likelier, most often nothing, the other the mean of what may be there.
    With a `feature_weight` above 0, by which it is multiplied, the mean squared difference of what
    the model's image-text encoder holds of each patch before and after counts too (a perceptual
    loss: Johnson et al. 2016, arXiv 1603.08155). That encoder reads whole pictures, so `crop` is
    then their side.
    `real` names a folder of ChestX-ray14 (`NihCohort`), from which a share `real_share` of the
    crops is then drawn. `linear` starts a network of one level, such as prism-mini's, from the
    principal components of `linear_start`. `decoder_only` leaves the encoder as that or as
    `--start` has it, so that its latents, and a U-Net trained on them, stay valid while pictures
    become sharper.
    """

    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    crop: int = 128
    edge_weight: float = 1.0
    kl_weight: float = 1e-6
    error: str = "absolute"
    feature_weight: float = 0.0
    real: str = ""
    real_share: float = 0.3
    linear: bool = True
    decoder_only: bool = False

    def __post_init__(self) -> None:
        if self.error not in PENALTIES:
            raise UsageError(f"error {self.error!r}; expected {' or '.join(PENALTIES)}")
        if self.feature_weight and self.crop != SIDE:
            raise UsageError(
                f"crop is {self.crop}; with feature_weight it is {SIDE}, a whole picture"
            )


class VaeObjective(Objective):
    """Mean error, absolute or squared, of pixels and of their Sobel gradients, with a little KL.

    A wire covers few pixels, so the pixels' error hardly notices when it is gone; its gradients
    do. The KL term (Rombach et al. 2022) keeps the latents' scale in bounds and no more. With
    `clip`, an image-text encoder that is not trained, its features' difference counts too.
    """

    def __init__(
        self,
        vae: Any,
        data: TrainingImages,
        settings: VaeSettings,
        real: TrainingImages | None = None,
        clip: ImageTextEncoder | None = None,
    ) -> None:
        super().__init__()
        self.vae, self.data, self.real, self.settings = vae, data, real, settings
        self.clip = clip
        if settings.decoder_only:
            vae.encoder.requires_grad_(False)
            vae.quant_conv.requires_grad_(False)
        self.factor = factor_of(vae)

    def draw(self, rng: np.random.Generator, position: int, size: int) -> Batch:
        """Crops (B, 1, c, c) in [0, 1] at random places, and the posterior's noise."""
        side = self.settings.crop
        rows = shuffled(len(self.data), self.settings.seed, position, size)
        corners = rng.integers(0, self.data.images.shape[1] - side + 1, (size, 2))
        sources = [self.data] * size
        if self.real is not None:
            chosen = rng.random(size) < self.settings.real_share
            sources = [self.real if real else self.data for real in chosen]
        crops = np.stack(
            [
                source.images[i % len(source), y : y + side, x : x + side]
                for source, i, (y, x) in zip(sources, rows, corners, strict=True)
            ]
        )
        channels, small = self.vae.config.latent_channels, side // self.factor
        noise = rng.standard_normal((size, channels, small, small), dtype=np.float32)
        return {"images": as_floats(crops), "noise": torch.from_numpy(noise)}

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        target = batch["images"]
        posterior = self.vae.encode(to_channels(target, self.vae)).latent_dist
        latents = posterior.mean + posterior.std * batch["noise"]
        made = to_images(self.vae.decode(latents).sample.float())
        error = 2 * (made - target)
        kl = posterior.kl().mean() / target[0].numel()
        settings = self.settings
        penalty = PENALTIES[settings.error]
        edges = penalty(sobel(error)).mean()
        loss = penalty(error).mean() + settings.edge_weight * edges + settings.kl_weight * kl
        if self.clip is not None:
            loss = loss + settings.feature_weight * feature_difference(self.clip, made, target)
        return loss


def feature_difference(clip: ImageTextEncoder, made: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of patch features of pictures (B, 1, H, W), summed over layers."""
    with torch.no_grad():
        wanted = clip.patch_features(target)
    pairs = zip(clip.patch_features(made.clamp(0, 1)), wanted, strict=True)
    return torch.stack([(found - known).square().mean() for found, known in pairs]).sum()


def begin(
    vae: Any, data: TrainingImages, settings: VaeSettings, real: TrainingImages | None = None
) -> None:
    """Start an autoencoder of random weights from principal components, if `linear` asks for it.

    They are those of some training images, of which, as of the crops, a share `real_share` is real.
    Raises UsageError where an encoder of random weights was to be kept.
    """
    if settings.linear:
        linear_start(vae, _patches(vae, data, settings, real))
    elif settings.decoder_only:
        raise UsageError("decoder_only goes with --start MODEL or linear=true: it keeps an encoder")


def _patches(
    vae: Any, data: TrainingImages, settings: VaeSettings, real: TrainingImages | None
) -> Tensor:
    """What `vae` reads at each place of some training images, (n, C) in [-1, 1]."""
    share = settings.real_share if real is not None else 0.0
    sources = [(data, round(SAMPLED * (1 - share)))]
    if real is not None:
        sources.append((real, SAMPLED - sources[0][1]))
    images = [as_floats(source.images[:number]) for source, number in sources]
    return to_channels(torch.cat(images), vae).movedim(1, -1).flatten(0, -2)


def sobel(images: Tensor) -> Tensor:
    """Gradients (B, 2, H, W) of images (B, 1, H, W), in units of intensity per pixel."""
    kernel = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    kernels = torch.stack([kernel, kernel.T]).unsqueeze(1)
    return conv2d(pad(images, (1, 1, 1, 1), mode="replicate"), kernels)


def settle_latents(vae: Any, images: Tensor, settings: VaeSettings) -> dict[str, float]:
    """What is measured of the latents' scale when training is done, nothing if they were kept.

    A linear start, which is for a network of one level, gave each channel a scale, which stays.
    """
    if settings.decoder_only:
        return {}
    if settings.linear and len(vae.config.block_out_channels) == 1:
        return scale_latents(vae, images)
    return standardize_latents(vae, images)


@torch.no_grad()
def standardize_latents(vae: Any, images: Tensor, batch_size: int = 8) -> dict[str, float]:
    """Give every latent channel mean 0 and deviation 1 without changing any reconstruction.

    The shift and scale go into the 1x1 convolutions on either side of the latents, so they stay a
    plain AutoencoderKL; `scaling_factor` (Rombach et al. 2022, appendix G) is set from what is
    then measured. `images` is (B, 1, H, W) in [0, 1].
    """
    mean, std = _latent_moments(vae, images, batch_size)
    channels = len(mean)
    vae.quant_conv.weight[:channels] /= std[:, None, None, None]
    vae.quant_conv.bias[:channels] = (vae.quant_conv.bias[:channels] - mean) / std
    vae.quant_conv.bias[channels:] -= 2 * std.log()
    weight = vae.post_quant_conv.weight
    vae.post_quant_conv.bias += (weight[:, :, 0, 0] * mean).sum(dim=1)
    weight *= std[None, :, None, None]
    return {"latent_std_before": float(std.square().mean().sqrt())} | scale_latents(vae, images)


@torch.no_grad()
def scale_latents(vae: Any, images: Tensor, batch_size: int = 8) -> dict[str, float]:
    """Set `scaling_factor`, by which latents get deviation 1 over all channels."""
    _, std = _latent_moments(vae, images, batch_size)
    factor = float(1 / std.square().mean().sqrt())
    vae.register_to_config(scaling_factor=round(factor, 5))
    return {"scaling_factor": factor}


def _latent_moments(vae: Any, images: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    device = next(vae.parameters()).device
    latents = [
        vae.encode(to_channels(part.to(device), vae)).latent_dist.mode()
        for part in images.split(batch_size)
    ]
    values = torch.cat(latents).transpose(0, 1).flatten(1)
    return values.mean(dim=1), values.std(dim=1).clamp_min(1e-6)


@torch.no_grad()
def reconstruction_psnr(vae: Any, images: Tensor, batch_size: int = 8) -> float:
    """Mean PSNR in dB of encoding and decoding images (B, 1, H, W) in [0, 1]."""
    device = next(vae.parameters()).device
    values = []
    for part in images.split(batch_size):
        latents = vae.encode(to_channels(part.to(device), vae)).latent_dist.mode()
        error = to_images(vae.decode(latents).sample).clamp(0, 1) - part.to(device)
        values.append(-10 * error.square().mean(dim=(1, 2, 3)).clamp_min(1e-12).log10())
    return float(torch.cat(values).mean())
