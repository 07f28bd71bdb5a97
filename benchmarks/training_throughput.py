"""Samples a second of the training loop, beside a loop that runs the frozen parts in every step.

    python benchmarks/training_throughput.py [--seconds 20] [--batch-size 8] [--model prism-mini]
                                             [--autoencoder convolutional]

Both train the same U-Net on the same images, captions, batch size and precision. The second loop is
Algorithm 1 as the authors wrote it: the autoencoder and the text encoder run for every batch, the
optimizer is AdamW and nothing else is done. It is given its images as arrays and its captions as
text, so that reading files does not count against it. The frozen parts' one pass over the data,
which our loop needs first, is timed and printed too: it is worth so many epochs of theirs. On a
machine that is shared, processor time (the second number) is the steadier one.

What keeping the frozen parts' results is worth depends on what they cost. prism-mini's autoencoder
sees squares of 16 pixels as channels and is cheap. `--autoencoder convolutional` puts one in its
place as small latent diffusion models usually have, five levels of convolutions that start at full
resolution, with as many latents; its weights are random, on which time does not depend.

The last line estimates how far tuning our loop could go: the ratio if a step of the U-Net,
forwards and backwards, ran as fast as this machine multiplies two large matrices of the same
precision, and cost nothing else. It counts convolutions as they are defined; an algorithm that
multiplies less often (Winograd's) could pass it. Only a machine with nothing else to do tells it.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn.functional import mse_loss
from torch.utils.flop_counter import FlopCounterMode

from prismlib.cohorts.cohort import open_cohort
from prismlib.config import load_profile
from prismlib.models import train_unet
from prismlib.models.data import TrainingImages, as_floats, prepare_images
from prismlib.models.devices import autocast
from prismlib.models.pipeline import COMPONENTS, LatentDiffusion
from prismlib.models.training import fit, settings_from

CONVOLUTIONS = (16, 32, 64, 128, 128)  # channels of the five levels: 16 pixels become a latent


def with_convolutions(model: LatentDiffusion) -> LatentDiffusion:
    """The same model with a random autoencoder of five convolutional levels, as many latents."""
    levels = len(CONVOLUTIONS)
    autoencoder = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=CONVOLUTIONS,
        latent_channels=model.vae.config.latent_channels,
        norm_num_groups=16,
    )
    parts = {name: getattr(model, name) for name in COMPONENTS}
    parts["vae"] = autoencoder.to(model.device)
    return LatentDiffusion(parts, model.name, folder=None)


def steps_of_the_authors(
    model: LatentDiffusion, data: TrainingImages, plan: train_unet.UnetSettings
) -> Iterator[None]:
    """Algorithm 1, one step at a time, with the frozen parts in it."""
    unet = train_unet.starting_unet(model, "model")
    optimizer = torch.optim.AdamW(unet.parameters(), lr=plan.learning_rate)
    texts, captions = train_unet.caption_pool(data, plan)
    rng, device = np.random.default_rng(0), model.device
    while True:
        rows = rng.integers(0, len(data), plan.batch_size)
        latents = model.encode(as_floats(data.images[rows]))
        embeddings = model.embed([texts[captions[row, 0]] for row in rows], truncate=True)
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, 1000, (len(rows),), device=device)
        noisy = model.scheduler.add_noise(latents, noise, timesteps)
        with autocast(plan.precision, device):  # as ours does
            predicted = unet(noisy, timesteps, encoder_hidden_states=embeddings).sample
        mse_loss(predicted.float(), noise).backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), plan.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        yield


@dataclass(frozen=True)
class Rate:
    """Samples a second by the clock, and a second of processor time."""

    clock: float
    processor: float

    @classmethod
    def since(cls, clock: float, processor: float, samples: int) -> "Rate":
        """The rate at which `samples` were seen since these readings."""
        spent = time.perf_counter() - clock, time.process_time() - processor
        return cls(samples / spent[0], samples / spent[1])


def rate_of_theirs(
    model: LatentDiffusion, data: TrainingImages, plan: train_unet.UnetSettings, seconds: float
) -> Rate:
    """The authors' loop, after one step to warm up."""
    steps = steps_of_the_authors(model, data, plan)
    next(steps)
    started, done = (time.perf_counter(), time.process_time()), 0
    while time.perf_counter() - started[0] < seconds:
        next(steps)
        done += plan.batch_size
    return Rate.since(*started, done)


def rate_of_ours(
    model: LatentDiffusion, data: TrainingImages, plan: train_unet.UnetSettings, seconds: float
) -> tuple[Rate, float]:
    """Our loop, one step to warm up included, and the seconds of the frozen parts' one pass."""
    started = time.perf_counter()
    inputs = train_unet.cache_inputs(model, data, plan, report=quiet)
    once = time.perf_counter() - started
    unet = train_unet.starting_unet(model, "model")
    objective = train_unet.UnetObjective(unet, model.scheduler, inputs, plan)
    readings = time.perf_counter(), time.process_time()
    run = fit(objective, plan, max_seconds=seconds, report=quiet)
    return Rate.since(*readings, run.step * plan.batch_size), once


def rate_at_matmul_speed(model: LatentDiffusion, plan: train_unet.UnetSettings) -> Rate:
    """Samples a second of a U-Net step that runs at the speed of a large matrix multiplication."""
    unet, device = train_unet.starting_unet(model, "model"), model.device
    embeddings = model.embed([""] * plan.batch_size)
    config = unet.config
    shape = plan.batch_size, config.in_channels, config.sample_size, config.sample_size
    timesteps = torch.zeros(plan.batch_size, dtype=torch.long, device=device)
    with FlopCounterMode(display=False) as step:
        noise = torch.randn(shape, device=device)
        unet(noise, timesteps, encoder_hidden_states=embeddings).sample.sum().backward()
    multiplied = _multiplication_rate(device, plan.precision)
    per_sample = step.get_total_flops() / plan.batch_size
    return Rate(multiplied.clock / per_sample, multiplied.processor / per_sample)


def _multiplication_rate(
    device: torch.device, precision: str, size: int = 3072, times: int = 8
) -> Rate:
    """Floating-point operations a second of multiplying two square matrices of `size`."""
    left, right = (torch.randn(size, size, device=device) for _ in range(2))
    with autocast(precision, device):
        (left @ right).sum().item()
        readings = time.perf_counter(), time.process_time()
        for _ in range(times):
            product = left @ right
        product.sum().item()  # waits for an accelerator
    return Rate.since(*readings, times * 2 * size**3)


def quiet(_line: str) -> None:
    """Say nothing."""


def main() -> None:
    """Time both and print a line each, then their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="for each loop")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--precision", default="bf16", help="of the U-Net: bf16 or fp32")
    parser.add_argument("--model", default="prism-mini")
    parser.add_argument("--autoencoder", choices=("model", "convolutional"), default="model")
    parser.add_argument("--profile", default="full", help="whose images")
    args = parser.parse_args()
    model = LatentDiffusion.load(args.model)
    if args.autoencoder == "convolutional":
        model = with_convolutions(model)
    cohort = open_cohort(load_profile(args.profile), "train", args.images)
    plan = settings_from(
        train_unet.UnetSettings,
        {"batch_size": args.batch_size, "precision": args.precision, "learning_rate": 1e-5},
    )
    with TemporaryDirectory() as folder:
        data = prepare_images(cohort, Path(folder), report=quiet)
        theirs = rate_of_theirs(model, data, plan, args.seconds)
        ours, once = rate_of_ours(model, data, plan, args.seconds)
    most = rate_at_matmul_speed(model, plan)
    for name, rate in {"frozen parts in every step": theirs, "frozen parts once": ours}.items():
        print(f"{name:<27}{rate.clock:8.2f} samples/s {rate.processor:8.2f} a processor's second")
    ratio = ours.clock / theirs.clock, ours.processor / theirs.processor
    print(f"{'ratio':<27}{ratio[0]:8.2f} {ratio[1]:18.2f}")
    print(f"the one pass over {len(data)} images took {once:.1f} s")
    ratio = most.clock / theirs.clock, most.processor / theirs.processor
    print(f"{'ratio at matmul speed':<27}{ratio[0]:8.2f} {ratio[1]:18.2f}")


if __name__ == "__main__":
    main()
