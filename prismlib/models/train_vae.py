"""The autoencoder: crops in, crops out, with thin wires kept."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from prismlib.errors import UsageError
from prismlib.models.clip import ImageTextEncoder
from prismlib.models.data import SIDE, TrainingImages, as_floats
from prismlib.models.epochs import shuffled
from prismlib.models.folding import factor_of, to_channels, to_images
from prismlib.models.linear_start import linear_start
from prismlib.models.places import CELLS, NO_LETTERS, Places
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
    become sharper. `keep_latents` is the weight of the latents' mean squared distance from those of
    the encoder that training starts with: it may learn to keep more, and a U-Net trained on those
    latents needs little further training. `device_weight` is how much more an error within 8 pixels
    of a device weighs, where the simulator knows of one: a faint drain covers a hundredth of few
    pictures. It is for a kind as common as kinds are on the average, and goes with the root of how
    much rarer one is. An uncertain line is drawn fainter than it is, which a squared error asks
    for; `contrast_weight` is the weight of `unrecovered_contrast`, which asks that each kind of
    device have, over a batch, the contrast it had. `lettered` is the share of crops that are laid
    over burned-in letters, where the simulator knows of any: few squares have such, and letters
    that are half lost look like devices.
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
    keep_latents: float = 0.0
    device_weight: float = 0.0
    contrast_weight: float = 0.0
    lettered: float = 0.0

    def __post_init__(self) -> None:
        if self.error not in PENALTIES:
            raise UsageError(f"error {self.error!r}; expected {' or '.join(PENALTIES)}")
        if self.feature_weight and self.crop != SIDE:
            raise UsageError(
                f"crop is {self.crop}; with feature_weight it is {SIDE}, a whole picture"
            )
        if self.decoder_only and self.keep_latents:
            raise UsageError(
                "keep_latents with decoder_only; expected one: without training no latent moves"
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
        places: Places | None = None,
        letters: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__()
        self.vae, self.data, self.real, self.settings = vae, data, real, settings
        self.clip, self.places, self.letters = clip, places, letters
        if places is not None:
            self.rarity = _rarity(data.table, places.names)
        if settings.decoder_only:
            vae.encoder.requires_grad_(False)
            vae.quant_conv.requires_grad_(False)
        self.first_encoder = _first_encoder(vae) if settings.keep_latents else None
        self.factor = factor_of(vae)

    def draw(self, rng: np.random.Generator, position: int, size: int) -> Batch:
        """Crops (B, 1, c, c) in [0, 1] at random places, their weights, the posterior's noise."""
        side = self.settings.crop
        rows = shuffled(len(self.data), self.settings.seed, position, size)
        corners = rng.integers(0, self.data.images.shape[1] - side + 1, (size, 2))
        if self.letters is not None:
            corners = self._over_letters(rng, self.letters[rows], corners)
        real = np.zeros(size, dtype=bool)
        others = self.data if self.real is None else self.real
        if self.real is not None:
            real = rng.random(size) < self.settings.real_share
        sources = [others if chosen else self.data for chosen in real]
        crops = np.stack(
            [
                source.images[i % len(source), y : y + side, x : x + side]
                for source, i, (y, x) in zip(sources, rows, corners, strict=True)
            ]
        )
        channels, small = self.vae.config.latent_channels, side // self.factor
        noise = rng.standard_normal((size, channels, small, small), dtype=np.float32)
        batch = {"images": as_floats(crops), "noise": torch.from_numpy(noise)}
        if self.places is not None:
            near = [self._near(self.places, *at) for at in zip(rows, *corners.T, strict=True)]
            known = torch.from_numpy(~real)[:, None, None, None]
            kinds = torch.stack(near) * known
            widest = kinds.amax(dim=1, keepdim=True)
            batch["weights"] = 1 + self.settings.device_weight * widest
            if self.settings.contrast_weight:
                batch["kinds"] = kinds
        return batch

    def _over_letters(
        self, rng: np.random.Generator, letters: NDArray[np.int64], corners: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Corners (B, 2) of crops, of which a share has some of the letters about its middle."""
        size, side = len(corners), self.settings.crop
        chosen = (rng.random(size) < self.settings.lettered) & (letters[:, 0, 0] != NO_LETTERS)
        first, last = letters[:, :, 0], letters[:, :, 1]
        middle = rng.integers(first, last + 1) + rng.integers(-side // 4, side // 4 + 1, (size, 2))
        over = np.clip(middle - side // 2, 0, SIDE - side)
        return np.where(chosen[:, None], over, corners)

    def _near(self, places: Places, row: int, top: int, left: int) -> Tensor:
        """How rare each of k devices is where it lies in a crop of a training image, (k, c, c)."""
        side, cell = self.settings.crop, SIDE // CELLS
        down, right = top // cell, left // cell
        number = (side + cell - 2) // cell + 1
        maps = places.of([row], CELLS)[:, :, down : down + number, right : right + number]
        (part,) = interpolate(maps * self.rarity[:, None, None], scale_factor=cell)
        top, left = top % cell, left % cell
        return part[:, top : top + side, left : left + side]

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        target = batch["images"]
        channels = to_channels(target, self.vae)
        posterior = self.vae.encode(channels).latent_dist
        latents = posterior.mean + posterior.std * batch["noise"]
        made = to_images(self.vae.decode(latents).sample.float())
        error, settings = 2 * (made - target), self.settings
        penalty, weights = PENALTIES[settings.error], batch.get("weights", 1.0)
        edges = (weights * penalty(sobel(error))).mean()
        loss = (weights * penalty(error)).mean() + settings.edge_weight * edges
        loss = loss + settings.kl_weight * posterior.kl().mean() / target[0].numel()
        if self.first_encoder is not None:
            with torch.no_grad():
                known, _ = self.first_encoder(channels).float().chunk(2, dim=1)
            moved = (posterior.mean.float() - known).square().mean()
            loss = loss + settings.keep_latents * moved
        if "kinds" in batch:
            lost = unrecovered_contrast(made, target, batch["kinds"])
            loss = loss + settings.contrast_weight * lost
        if self.clip is not None:
            loss = loss + settings.feature_weight * feature_difference(self.clip, made, target)
        return loss


def _rarity(table: pd.DataFrame, names: Sequence[str]) -> Tensor:
    """For each name, of a device or not, the root of how much rarer it is than devices are: (k)."""
    shares = table.filter(like="device:").mean()
    shares.index = shares.index.str.removeprefix("device:")
    roots = (shares.mean() / shares.where(shares > 0)) ** 0.5
    return torch.tensor(roots.reindex(names).fillna(0.0).to_numpy(np.float32))


def _first_encoder(vae: Any) -> torch.nn.Module:
    """Its encoder as training finds it, copied: channels (B, C, h, w) to moments (B, 2c, h, w)."""
    encoder = deepcopy(torch.nn.Sequential(vae.encoder, vae.quant_conv))
    return encoder.requires_grad_(False)


def feature_difference(clip: ImageTextEncoder, made: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of patch features of pictures (B, 1, H, W), summed over layers."""
    with torch.no_grad():
        wanted = clip.patch_features(target)
    pairs = zip(clip.patch_features(made.clamp(0, 1)), wanted, strict=True)
    return torch.stack([(found - known).square().mean() for found, known in pairs]).sum()


def unrecovered_contrast(made: Tensor, target: Tensor, kinds: Tensor) -> Tensor:
    """How far the contrast recovery of devices is from 1, squared, a mean over k kinds.

    Pictures are (B, 1, H, W); `kinds` (B, k, H, W) is how much a pixel counts, 0 where it is not
    near one of that kind. Recovery is the slope of `made` on `target`, over the batch, of what is
    from 2 to 26 pixels wide: of all that is in a crop, bones would settle it.
    """
    found, wanted = (_between(images).flatten(1) for images in (made, target))
    each = kinds[:, :, ::2, ::2].flatten(2)
    power = torch.einsum("bkp,bp->k", each, wanted.square())
    slopes = torch.einsum("bkp,bp->k", each, found * wanted) / power.clamp_min(1e-6)
    counts = each.amax(dim=(0, 2))
    return (counts * (slopes - 1).square()).sum() / len(counts)


def _between(images: Tensor) -> Tensor:
    """What of images (B, 1, H, W) is from 2 to 26 pixels wide, at every second pixel."""
    halved = avg_pool2d(images, 2)
    return halved - avg_pool2d(halved, 13, 1, 6, count_include_pad=False)


def begin(
    vae: Any, data: TrainingImages, settings: VaeSettings, real: TrainingImages | None = None
) -> None:
    """Start an autoencoder of random weights from principal components, if `linear` asks for it.

    They are those of some training images, of which, as of the crops, a share `real_share` is real.
    Raises UsageError where an encoder of random weights was to be kept.
    """
    if settings.linear:
        linear_start(vae, _patches(vae, data, settings, real))
    elif settings.decoder_only or settings.keep_latents:
        name = "decoder_only" if settings.decoder_only else "keep_latents"
        raise UsageError(f"{name} goes with --start MODEL or linear=true: it keeps an encoder")


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

    Kept are those of an encoder that was not trained, or was held near its first latents. A linear
    start, which is for a network of one level, gave each channel a scale, which stays.
    """
    if settings.decoder_only or settings.keep_latents:
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
