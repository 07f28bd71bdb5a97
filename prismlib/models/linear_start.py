"""An autoencoder that starts as the best linear one: principal components of square patches.

A convolutional autoencoder with random weights needs hours on a processor before it draws what
principal components (Eckart and Young 1936) give in seconds. So the weights are set to compute just
those, and training goes on from there.

Three layers stand in the way of a linear map, and each is led round. A group normalisation divides
by what it finds: two constant channels in each group, large and opposite, fix what it finds, and
its scale undoes the division. SiLU bends: silu(v) - silu(-v) = v, so each number is carried twice,
once with either sign. A residual block adds something: the last of its convolutions is zero.
"""

from typing import Any

import torch
from torch import Tensor

from prismlib.errors import UsageError

ANCHOR = 128.0  # the constant; large beside components of deviation 1
ANCHORS = 2  # channels of a group that hold it
CERTAIN = -12.0  # the logarithm of the posterior's variance


@torch.no_grad()
def linear_start(vae: Any, patches: Tensor) -> None:
    """Set an AutoencoderKL of one level to the principal components of patches (n, C) in [-1, 1].

    Latents are the first components, each divided by the root of its deviation, and all by one
    number, so that together they have deviation 1: white latents would drown a square's mean, which
    says most, in the noise of diffusion, and plain components all but the mean. The encoder's other
    channels hold the components that follow, so that training can use them.

    Raises UsageError for an autoencoder of several levels or too narrow to carry its latents.
    """
    if len(vae.config.block_out_channels) != 1:
        levels = len(vae.config.block_out_channels)
        raise UsageError(f"got an autoencoder of {levels} levels; a linear start needs one of one")
    mean, spread, basis = _components(patches)
    root = spread.sqrt()
    layout = _Layout(vae)
    kept = vae.config.latent_channels
    if kept > len(layout.plus):
        room = len(layout.plus)
        raise UsageError(f"got {kept} latent channels; an autoencoder so narrow carries {room}")
    encoder, decoder = vae.encoder, vae.decoder
    for block in _resnets(vae):
        layout.without_division(block.norm1)
        torch.nn.init.zeros_(block.conv2.weight)
        torch.nn.init.zeros_(block.conv2.bias)
    size = root[:kept].square().mean().sqrt()
    scale = torch.cat([root[:kept] * size, spread[kept:]])  # of those kept, then of the others
    scaled = basis / scale
    some = scaled[:, : len(layout.plus)]
    layout.carry(encoder.conv_in, some.T, -(mean @ some))
    layout.without_division(encoder.conv_norm_out)
    reading = torch.zeros(2 * kept, len(layout.plus))
    reading[range(kept), range(kept)] = 1.0
    layout.read(encoder.conv_out, reading)
    encoder.conv_out.bias[kept:] = CERTAIN
    _identity(vae.quant_conv)
    _identity(vae.post_quant_conv)
    latents = torch.randn(len(layout.plus), kept) / kept**0.5  # what is left mixes the latents
    latents[:kept] = torch.eye(kept)
    layout.carry(decoder.conv_in, latents, torch.zeros(len(latents)))
    layout.without_division(decoder.conv_norm_out)
    drawing = torch.zeros(patches.shape[1], len(layout.plus))
    drawing[:, :kept] = basis[:, :kept] * scale[:kept]
    layout.read(decoder.conv_out, drawing)
    decoder.conv_out.bias.copy_(mean)


def _components(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C), deviations and directions (C, C) of the principal components, largest first."""
    values = patches.double()
    mean = values.mean(dim=0)
    variance, basis = torch.linalg.eigh(torch.cov((values - mean).T))
    spread = variance.flip(0).clamp_min(1e-8).sqrt()
    return mean.float(), spread.float(), basis.flip(1).float()


class _Layout:
    """Which channels between two layers are constants, and which carry a number by either sign."""

    def __init__(self, vae: Any) -> None:
        (width,) = vae.config.block_out_channels
        groups = vae.config.norm_num_groups
        places = torch.arange(width).view(groups, -1)
        self.up, self.down = places[:, 0], places[:, 1]
        pairs = places[:, ANCHORS:].reshape(groups, -1, 2).transpose(0, 1).reshape(-1, 2)
        self.plus, self.minus = pairs[:, 0], pairs[:, 1]  # one pair of each group, then the next
        self.division = (ANCHORS * ANCHOR**2 / places.shape[1]) ** 0.5

    def carry(self, conv: Any, weight: Tensor, bias: Tensor) -> None:
        """Let a 3x3 convolution write weight (pairs, C) times its middle pixel, by either sign."""
        conv.weight.zero_()
        conv.bias.zero_()
        for places, sign in ((self.plus, 1.0), (self.minus, -1.0)):
            conv.weight[places, :, 1, 1] = sign * weight
            conv.bias[places] = sign * bias
        conv.bias[self.up], conv.bias[self.down] = ANCHOR, -ANCHOR

    def read(self, conv: Any, weight: Tensor) -> None:
        """Let a 3x3 convolution give weight (outputs, pairs) times what the pairs carry."""
        conv.weight.zero_()
        conv.bias.zero_()
        conv.weight[:, self.plus, 1, 1] = weight
        conv.weight[:, self.minus, 1, 1] = -weight

    def without_division(self, norm: Any) -> None:
        """Let a group normalisation give back what it gets, and 0 for the constants."""
        norm.weight.fill_(self.division)
        norm.bias.zero_()
        norm.weight[torch.cat([self.up, self.down])] = 0.0


def _resnets(vae: Any) -> list[Any]:
    blocks = [*vae.encoder.down_blocks, *vae.decoder.up_blocks]
    middles = vae.encoder.mid_block, vae.decoder.mid_block
    return [resnet for block in (*blocks, *middles) for resnet in block.resnets]


def _identity(conv: Any) -> None:
    conv.weight.copy_(torch.eye(len(conv.weight))[:, :, None, None])
    conv.bias.zero_()
