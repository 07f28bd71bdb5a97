"""What the frozen parts cost beside the U-Net at the size of Stable Diffusion v1.5.

    python benchmarks/frozen_parts.py [--size stable-diffusion] [--batch-size 1] [--repeats 3]

Seconds a sample of the autoencoder's encoding and of the text encoder, in float32 as the authors'
`finetune_chexpert.py` leaves them, and of the U-Net's forward and backward pass, autocast to bf16
where that is quicker. A loop that runs all three in every step takes so many times as long as one
that keeps what the frozen parts gave; the optimizer, which both need once in 32 samples (the
authors' batch and accumulation), is left out: its state and the average of 860 million weights are
another 10 GB. Weights are random: time does not depend on them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from prismlib.models.devices import best_device, computes_bf16
from prismlib.models.folding import to_channels
from prismlib.models.pipeline import LatentDiffusion
from prismlib.models.train_unet import trainable

TOKENS = 77
Parts = tuple[Any, Any, Any]  # autoencoder, text encoder, U-Net


def stable_diffusion() -> Parts:
    """Networks shaped like those of Stable Diffusion v1.5 (its published configurations)."""
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    autoencoder = AutoencoderKL(
        down_block_types=down,
        up_block_types=up,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )
    unet = UNet2DConditionModel(
        sample_size=64, cross_attention_dim=768, attention_head_dim=8, in_channels=4, out_channels=4
    )
    return autoencoder, CLIPTextModel(text), unet


def bundled() -> Parts:
    """The networks of prism-mini, to compare with."""
    model = LatentDiffusion.load("prism-mini")
    return model.vae, model.text_encoder, model.unet


SIZES: dict[str, Callable[[], Parts]] = {
    "stable-diffusion": stable_diffusion,
    "prism-mini": bundled,
}


def seconds(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """The median time of some calls, after one to warm up."""
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def measure(parts: Parts, batch_size: int, repeats: int) -> pd.DataFrame:
    """A row for each part: parameters in millions and seconds a sample."""
    device = best_device()
    autoencoder, text, unet = (part.to(device).requires_grad_(False) for part in parts)
    unet = trainable(unet)
    bf16 = computes_bf16(device)
    images = torch.rand(batch_size, 1, 512, 512, device=device)
    ids = torch.randint(0, text.config.vocab_size, (batch_size, TOKENS), device=device)
    side, channels = unet.config.sample_size, unet.config.in_channels
    latents = torch.randn(batch_size, channels, side, side, device=device)
    timesteps = torch.randint(0, 1000, (batch_size,), device=device)
    words = torch.randn(batch_size, TOKENS, unet.config.cross_attention_dim, device=device)

    @torch.no_grad()
    def encode() -> Tensor:
        return autoencoder.encode(to_channels(images, autoencoder)).latent_dist.mode()

    @torch.no_grad()
    def embed() -> Tensor:
        return text(ids)[0]

    def learn() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            estimate = unet(latents, timesteps, encoder_hidden_states=words).sample
        (estimate.float() - latents).square().mean().backward()
        unet.zero_grad(set_to_none=True)

    rows = [
        ("autoencoder, encoding", autoencoder, encode),
        ("text encoder", text, embed),
        (f"U-Net, both ways, {'bf16' if bf16 else 'fp32'}", unet, learn),
    ]
    return pd.DataFrame(
        [
            {
                "part": name,
                "million": sum(p.numel() for p in network.parameters()) / 1e6,
                "seconds_per_sample": seconds(work, device, repeats) / batch_size,
            }
            for name, network, work in rows
        ]
    )


def main() -> None:
    """Print the table and how many times as long all three take as the U-Net alone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="stable-diffusion")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    table = measure(SIZES[args.size](), args.batch_size, args.repeats)
    print(table.round(3).to_string(index=False))
    spent = table["seconds_per_sample"]
    print(f"all in every step: {spent.sum() / spent.iloc[-1]:.2f} times the U-Net alone")


if __name__ == "__main__":
    main()
