"""The sizes of prism-mini: a Stable Diffusion small enough to come with the code.

Widths were chosen on two CPU cores: cross-attention at 16x16 and coarser only, since at 32x32 it
triples the price of a step. How many numbers each part holds stands in `weights.yaml`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPConfig, CLIPModel

from prismlib.errors import UsageError
from prismlib.models.loading import failing_as
from prismlib.models.predictions import VELOCITY

Config = Mapping[str, Any]

MAX_TOKENS = 77

# 512x512 pixels become 32x32 latents of 16 channels: as many numbers as factor 8 with 4, at a
# quarter of a U-Net step's price. Each square of 16 pixels is dealt to 256 channels before the
# first convolution (`folding`), so that all of them run where pixels are few, and training can
# start from principal components (`linear_start`); 2.7 M numbers.
AUTOENCODER: Config = MappingProxyType(
    {
        "in_channels": 256,
        "out_channels": 256,
        "down_block_types": ("DownEncoderBlock2D",),
        "up_block_types": ("UpDecoderBlock2D",),
        "block_out_channels": (128,),
        "layers_per_block": 1,
        "latent_channels": 16,
        "norm_num_groups": 8,
        "sample_size": 32,
        "mid_block_add_attention": False,
        "scaling_factor": 1.0,  # measured after training
        "force_upcast": False,
    }
)

# diffusers reads `attention_head_dim` of this class as the number of heads; 7.3 M numbers.
UNET: Config = MappingProxyType(
    {
        "sample_size": 32,
        "down_block_types": (
            "DownBlock2D",
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "DownBlock2D",
        ),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (64, 96, 128, 128),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "norm_num_groups": 16,
    }
)

# 1.5 M numbers, of which 0.6 M are the text tower. In patches of 24 pixels of 384 a lone central
# line was seen in one radiograph of five; patches of 16 cost two and a half times as much. Two
# heads instead of four make half again as many images per second.
CLIP: Config = MappingProxyType(
    {
        "projection_dim": 128,
        "text_config": {
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": MAX_TOKENS,
        },
        "vision_config": {
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "hidden_act": "gelu",
            "image_size": 384,
            "patch_size": 16,
        },
    }
)

# Section 3.1's noise, in the form in which Stable Diffusion v1.5's scheduler is set, but for what
# the U-Net is asked for (`predictions`).
SCHEDULER: Config = MappingProxyType(
    {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": VELOCITY,
    }
)

VOCABULARY = 1200  # every word of a caption is one token; the longest caption has 50


def autoencoder(config: Config = AUTOENCODER) -> AutoencoderKL:
    """An untrained autoencoder."""
    return AutoencoderKL(**config)


def unet(
    latent_channels: int = 16, text_width: int = 128, config: Config = UNET
) -> UNet2DConditionModel:
    """An untrained U-Net for latents of so many channels and so many numbers a token."""
    channels = {"in_channels": latent_channels, "out_channels": latent_channels}
    return UNet2DConditionModel(**config, **channels, cross_attention_dim=text_width)


def clip(vocabulary: int, start: int, end: int, config: Config = CLIP) -> CLIPModel:
    """An untrained CLIP for a tokenizer with these ids of its first and last token."""
    tokens = {
        "vocab_size": vocabulary,
        "bos_token_id": start,
        "eos_token_id": end,
        "pad_token_id": end,
    }
    settings = {**config, "text_config": {**config["text_config"], **tokens}}
    return CLIPModel(CLIPConfig(**settings))


def scheduler(config: Config = SCHEDULER) -> Any:
    """The noise schedule of training, inversion and sampling."""
    return DDIMScheduler(**config)


def classifier(name: str, size: int, outputs: int, fold: int = 1, pretrained: bool = False) -> Any:
    """A timm network for grey radiographs of `size` pixels dealt to `fold` squared channels.

    Untrained, or with the ImageNet weights that timm (or torchvision, for AlexNet) fetches.
    """
    import timm

    from prismlib.models import alexnet

    ours = name == alexnet.prism_alexnet.__name__
    with failing_as(f"{name} cannot be made by timm", UsageError):
        model: Any = timm.create_model(
            name, pretrained=pretrained and not ours, in_chans=fold**2, num_classes=outputs
        )
        if pretrained and ours:
            alexnet.with_imagenet_convolutions(model)
    model.pretrained_cfg = {
        **model.pretrained_cfg,
        "input_size": (fold**2, size // fold, size // fold),
        "mean": (0.5,) * fold**2,
        "std": (0.25,) * fold**2,
        "crop_pct": 1.0,
        "tag": "",
        "license": "mit",
    }
    return model
