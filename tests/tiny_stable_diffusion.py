"""A Stable Diffusion of a few thousand random weights, built on the spot for tests.

It has every part and file of the real one (plain `StableDiffusionPipeline.from_pretrained` loads
its folder), knows nothing, and is fast. Its weights depend on the seed alone.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from prismlib.models.classifiers import Classifier
from prismlib.models.train_classifier import ClassifierSettings, untrained

SENTENCE = (
    "a an the of with without no and in to on normal chest x ray xray radiograph patient showing "
    "severe lots finding findings pleural effusion devices device medical support significant"
)
"""Words with merges of their own: most become one token, some a few; others are their letters."""


def tiny_tokenizer() -> CLIPTokenizer:
    """A byte-level CLIP tokenizer: all bytes, the merges of `SENTENCE`, two special tokens."""
    letters = _byte_letters()
    vocabulary = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in SENTENCE.split():
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces[:2] = ["".join(pieces[:2])]
            vocabulary.append(pieces[0])
    vocabulary = [*dict.fromkeys(vocabulary), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(vocabulary)},
        merges=list(dict.fromkeys(merges)),
        model_max_length=77,
    )


def save_tiny_stable_diffusion(
    folder: Path, *, seed: int = 0, factor: int = 8, latent_channels: int = 4
) -> Path:
    """Write a diffusers folder whose images are `factor` times as wide as its latents.

    The U-Net attends at half and at quarter of the latents' resolution; images may have any
    size that `4 * factor` divides.
    """
    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = StableDiffusionPipeline(
            vae=_autoencoder(factor, latent_channels),
            text_encoder=CLIPTextModel(_text_config(tokenizer)),
            tokenizer=tokenizer,
            unet=_unet(latent_channels),
            scheduler=DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


def save_tiny_clip(folder: Path, *, seed: int = 0) -> Path:
    """Write a transformers folder: a random `CLIPModel`, its tokenizer and image processor."""
    tokenizer = tiny_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=16,
    )
    text = _text_config(tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIPModel(
            CLIPConfig(
                text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder


def save_tiny_judge(folder: Path, *, size: int = 64) -> Path:
    """Write a timm folder: an untrained classifier of the four attributes, `size` pixels wide."""
    settings = ClassifierSettings(image_size=size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Classifier(untrained(settings)).save(folder)
    return folder


def save_tiny_prism(folder: Path) -> Path:
    """Write a folder as prism-mini's: diffusers' parts, a CLIP and a classifier, for 512 pixels."""
    save_tiny_stable_diffusion(folder / "pipeline", factor=16)
    save_tiny_clip(folder / "clip")
    save_tiny_judge(folder / "classifier")
    return folder


def _byte_letters() -> list[str]:
    """The 256 printable letters that stand for the bytes in byte-level BPE, in byte order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


def _text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_factor=20.0,
    )


def _autoencoder(factor: int, latent_channels: int) -> AutoencoderKL:
    blocks = factor.bit_length()
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=(8,) * blocks,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=latent_channels,
        sample_size=512,
        mid_block_add_attention=False,
        scaling_factor=3.6,
    )


def _unet(latent_channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=64,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=32,
        attention_head_dim=2,
    )
