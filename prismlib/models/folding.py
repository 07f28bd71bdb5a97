"""How grey radiographs get into an autoencoder's channels, and out of them again."""

from math import isqrt
from typing import Any

from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


def fold_of(channels: int) -> int:
    """The side of the squares of pixels that are dealt to so many channels; 1 for grey or RGB."""
    side = isqrt(channels)
    return side if side * side == channels else 1


def factor_of(vae: Any) -> int:
    """How many pixels wide one latent is."""
    levels = len(vae.config.block_out_channels)
    return int(fold_of(vae.config.in_channels) * 2 ** (levels - 1))


def to_channels(images: Tensor, vae: Any) -> Tensor:
    """What `vae` reads of images (B, 1, H, W) in [0, 1]: (B, C, H/k, W/k) in [-1, 1].

    An autoencoder of three channels, as Stable Diffusion's, sees grey as RGB. One of k x k channels
    gets each square of k pixels as one pixel's channels.
    """
    signed, channels = images * 2 - 1, int(vae.config.in_channels)
    fold = fold_of(channels)
    return pixel_unshuffle(signed, fold) if fold > 1 else signed.expand(-1, channels, -1, -1)


def to_images(channels: Tensor) -> Tensor:
    """Images (B, 1, H, W), unclipped, of what an autoencoder draws; RGB becomes its mean."""
    fold = fold_of(channels.shape[1])
    grey = pixel_shuffle(channels, fold) if fold > 1 else channels.mean(dim=1, keepdim=True)
    return grey / 2 + 0.5
