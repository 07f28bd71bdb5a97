"""The U-Net: Algorithm 1, with the frozen parts run once."""

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from prismlib import paths
from prismlib.captions import DENIED, PARAPHRASES, TEMPLATES, Row, caption, paraphrase, say_one
from prismlib.cohorts.pools import NORMAL
from prismlib.errors import UsageError
from prismlib.models.data import TrainingImages, alone_in, as_floats
from prismlib.models.epochs import shuffled
from prismlib.models.pipeline import LatentDiffusion
from prismlib.models.predictions import NOISE, estimates, noise_from, target_of
from prismlib.models.tokenizers import overlong
from prismlib.models.training import Batch, Objective, Settings
from prismlib.models.whole_prompt import with_whole_prompt

BASE_UNET = "base_unet"  # what a U-Net of normal subjects alone is called
SUBJECTS = ("all", NORMAL)


@dataclass(frozen=True)
class UnetSettings(Settings):
    """`captions` is `paraphrases` or one of the paper's templates; `pool` captions per image.

    `subjects` is `all`, or `normal`: those without any finding or device, who make the base U-Net
    that fine-tuning starts from.
    `min_snr_gamma` 0 is the paper's plain loss. Timesteps are drawn evenly, or with a
    `timestep_centre` above 0, a share of all levels, around it: the logistic function of a normal
    draw (Esser et al. 2024, arXiv 2403.03206, Equation 19), since nothing is left to decide where
    there is hardly any noise, and nothing can be where there is little else. `drop_caption` is the
    share of empty prompts that classifier-free guidance (Ho and Salimans 2022) needs. `denied` is
    the chance that a paraphrase denies an attribute that is absent, `single` the chance that a
    caption speaks of one attribute alone, as a prompt does (`say_one`). `whole_prompt` gives a
    U-Net with cross-attention alone the prompt in every block (see `whole_prompt.py`).
    `gradient_checkpointing` computes activations twice instead of keeping them, for a GPU with too
    little memory.
    """

    batch_size: int = 16
    learning_rate: float = 1e-3
    captions: str = PARAPHRASES
    subjects: str = "all"
    pool: int = 4
    drop_caption: float = 0.1
    min_snr_gamma: float = 5.0
    timestep_centre: float = 0.0
    denied: float = DENIED
    single: float = 0.0
    whole_prompt: bool = False
    gradient_checkpointing: bool = False
    validation_steps: int = 500

    def __post_init__(self) -> None:
        if self.captions not in (PARAPHRASES, *TEMPLATES):
            raise UsageError(
                f"captions {self.captions!r}; expected {PARAPHRASES} or one of "
                f"{', '.join(TEMPLATES)}"
            )
        if self.subjects not in SUBJECTS:
            raise UsageError(f"subjects {self.subjects!r}; expected one of {', '.join(SUBJECTS)}")
        if not 0 <= self.timestep_centre < 1:
            raise UsageError(f"timestep_centre {self.timestep_centre}; expected 0 to less than 1")
        for name, chance in (("denied", self.denied), ("single", self.single)):
            if not 0 <= chance <= 1:
                raise UsageError(f"{name} {chance}; expected a chance, 0 to 1")


CENTRE_SPREAD = 0.8  # of the normal draws behind timesteps around a centre

# Up to this latent side a CPU trains a quarter faster with plain attention, whose table of weights
# is small there, than with the fused one, whose backward pass is slow.
PLAIN_ATTENTION = 32


@dataclass(frozen=True)
class CachedInputs:
    """What the frozen autoencoder and text encoder gave.

    `latents` (n, C, h, w), scaled; `embeddings` (texts, 77, D), the empty prompt's first;
    `captions` (n, pool) says which embeddings belong to an image.
    """

    latents: np.ndarray
    embeddings: np.ndarray
    captions: np.ndarray


class UnetObjective(Objective):
    """Algorithm 1's loss: the mean squared error of the noise that the U-Net predicts.

    Of the velocity, where the scheduler says that this is what it predicts (`predictions`). With
    `min_snr_gamma` g, the loss at a timestep is weighted by min(SNR, g) / SNR (Hang et al. 2023,
    arXiv 2303.09556), of the velocity by min(SNR, g) / (SNR + 1), so that nearly clean latents do
    not decide everything.
    """

    def __init__(
        self, unet: Any, scheduler: Any, inputs: CachedInputs, settings: UnetSettings
    ) -> None:
        super().__init__()
        self.unet, self.scheduler, self.inputs, self.settings = unet, scheduler, inputs, settings
        if settings.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        alphas = scheduler.alphas_cumprod
        self.snr = alphas / (1 - alphas)

    def draw(self, rng: np.random.Generator, position: int, size: int) -> Batch:
        """Latents, noise, timesteps, and embeddings of one caption each, some of them empty."""
        inputs, settings = self.inputs, self.settings
        rows = shuffled(len(inputs.latents), settings.seed, position, size)
        texts = inputs.captions[rows, rng.integers(0, inputs.captions.shape[1], size)]
        texts = np.where(rng.random(size) < settings.drop_caption, 0, texts)
        latents = np.asarray(inputs.latents[rows], dtype=np.float32)
        timesteps = self._timesteps(rng, size)
        return {
            "latents": torch.from_numpy(latents),
            "noise": torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)),
            "timesteps": torch.from_numpy(timesteps),
            "embeddings": torch.from_numpy(inputs.embeddings[texts].astype(np.float32)),
        }

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch; the lines follow Algorithm 1."""
        timesteps = batch["timesteps"]
        noisy = self.scheduler.add_noise(batch["latents"], batch["noise"], timesteps)
        target = target_of(self.scheduler, batch["latents"], batch["noise"], timesteps)
        predicted = self.unet(noisy, timesteps, encoder_hidden_states=batch["embeddings"]).sample
        error = (predicted.float() - target).square().mean(dim=(1, 2, 3))
        return (self._weights(timesteps) * error).mean()

    def _timesteps(self, rng: np.random.Generator, size: int) -> np.ndarray:
        levels = int(self.scheduler.config.num_train_timesteps)
        centre = self.settings.timestep_centre
        if not centre:
            return rng.integers(0, levels, size)
        around = np.log(centre / (1 - centre)) + CENTRE_SPREAD * rng.standard_normal(size)
        return (levels / (1 + np.exp(-around))).astype(np.int64)

    def _weights(self, timesteps: Tensor) -> Tensor:
        gamma = self.settings.min_snr_gamma
        if not gamma:
            return torch.ones(len(timesteps), device=timesteps.device)
        snr = self.snr.to(timesteps.device)[timesteps]
        plain = snr if estimates(self.scheduler) == NOISE else snr + 1
        return snr.clamp(max=gamma) / plain


def starting_unet(model: Any, start: str, seed: int = 0) -> Any:
    """A trainable U-Net beside a LatentDiffusion's frozen parts.

    `start` is `model` (a copy of its own U-Net), `nothing` (one of its shape with weights drawn
    from `seed`), or what `LatentDiffusion.load` takes, such as `prism-mini/base_unet`.
    """
    if start == "model":
        unet = copy.deepcopy(model.unet)
    elif start != "nothing":
        unet = LatentDiffusion.load(start, model.device, base=model.name).unet
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            unet = type(model.unet).from_config(model.unet.config).to(model.device)
    return trainable(unet)


def trainable(unet: Any, whole_prompt: bool = False) -> Any:
    """The same U-Net with gradients, in training mode, its attention computed the quicker way.

    With `whole_prompt`, one that every block tells what the prompt says (`with_whole_prompt`).
    """
    unet = with_whole_prompt(unet) if whole_prompt else unet
    if unet.device.type == "cpu" and unet.config.sample_size <= PLAIN_ATTENTION:
        unet.set_attn_processor(AttnProcessor())
    return unet.requires_grad_(True).train()


def cache_inputs(
    model: Any,
    data: TrainingImages,
    settings: UnetSettings,
    report: Callable[[str], None] = print,
) -> CachedInputs:
    """Run the frozen parts of `model`, a LatentDiffusion, once over the data.

    The results lie beside the images, named by the weights and captions that they come from. A
    latent is its posterior's mean; the authors draw a new sample of the posterior in every step.
    """
    texts, captions = caption_pool(data, settings)
    words = "\n".join([model.part_sha256("text_encoder", "tokenizer"), *texts])
    name = hashlib.sha256(words.encode()).hexdigest()[:12]
    cut = overlong(model.tokenizer, texts)
    if cut:
        report(f"{cut} of {len(texts)} captions are longer than the text encoder reads and are cut")
    embeddings = _cached(
        data.folder / f"embeddings-{name}.npy",
        texts,
        lambda part: model.embed(part, truncate=True),
        256,
        "captions",
        report,
    )
    return CachedInputs(cached_latents(model, data, report), embeddings, captions)


def cached_latents(
    model: Any, data: TrainingImages, report: Callable[[str], None] = print
) -> np.ndarray:
    """The images' latents (n, C, h, w), scaled, encoded once and kept beside them in float16."""
    return _cached(
        data.folder / f"latents-{model.part_sha256('vae')[:12]}.npy",
        data.images,
        lambda part: model.encode(as_floats(part)),
        8,
        "images",
        report,
    )


def caption_pool(data: TrainingImages, settings: UnetSettings) -> tuple[list[str], np.ndarray]:
    """The distinct texts, the empty prompt first, and for each image which are its (n, pool)."""
    rows = data.table.to_dict("records")
    rng = np.random.default_rng([settings.seed, 1])
    if settings.captions == PARAPHRASES:
        pools = [[_said(row, rng, settings) for _ in range(settings.pool)] for row in rows]
    else:
        pools = [[caption(row, settings.captions)] for row in rows]
    index = {"": 0}
    numbers = [[index.setdefault(text, len(index)) for text in pool] for pool in pools]
    return list(index), np.array(numbers)


def _said(row: Row, rng: np.random.Generator, settings: UnetSettings) -> str:
    if settings.single and rng.random() < settings.single:
        return say_one(row, rng)
    return paraphrase(row, rng, settings.denied)


@torch.no_grad()
def _cached(
    path: Path,
    items: Sequence[Any] | np.ndarray,
    compute: Callable[[Any], Tensor],
    size: int,
    what: str,
    report: Callable[[str], None],
) -> np.ndarray:
    """`compute` over all items in float16, from the file at `path` if that is there already."""
    with alone_in(path.parent):
        if not path.is_file():
            report(f"encoding {len(items)} {what} once")
            with paths.written_whole(path) as temporary:
                _fill(temporary, items, compute, size)
    return np.load(path, mmap_mode="r")


def _fill(
    path: Path,
    items: Sequence[Any] | np.ndarray,
    compute: Callable[[Any], Tensor],
    size: int,
) -> None:
    result: np.memmap | None = None
    for start in range(0, len(items), size):
        part = compute(items[start : start + size]).cpu().half().numpy()
        if result is None:
            shape = (len(items), *part.shape[1:])
            result = np.lib.format.open_memmap(path, "w+", np.float16, shape)
        result[start : start + size] = part
    if result is not None:
        result.flush()


@torch.no_grad()
def validation_loss(objective: UnetObjective, samples: int = 256, seed: int = 1234) -> float:
    """The plain noise error at fixed noise and timesteps, comparable between runs.

    The same `samples` draws of subjects, captions, noise and timesteps whenever it is called.
    """
    rng, errors = np.random.default_rng(seed), []
    device = next(objective.unet.parameters()).device
    for position in range(0, samples, 32):
        batch = {
            key: value.to(device)
            for key, value in objective.draw(rng, position, min(32, samples - position)).items()
        }
        timesteps, text = batch["timesteps"], batch["embeddings"]
        noisy = objective.scheduler.add_noise(batch["latents"], batch["noise"], timesteps)
        answer = objective.unet(noisy, timesteps, encoder_hidden_states=text).sample
        predicted = noise_from(objective.scheduler, answer, noisy, timesteps)
        errors.append((predicted - batch["noise"]).square().mean(dim=(1, 2, 3)))
    return float(torch.cat(errors).mean())


@torch.no_grad()
def prompt_margin(
    model: Any,
    latents: Tensor,
    prompts: tuple[str, str],
    timesteps: Sequence[int] = (200, 400, 600, 800),
    seed: int = 0,
) -> np.ndarray:
    """By how much the first prompt explains each image better than the second, (n,).

    The squared error of the predicted noise under the second prompt minus that under the first,
    at the same noise, over `timesteps` (a diffusion classifier: Li et al. 2023, arXiv 2303.16203).
    Above zero where the model finds that the first prompt fits.
    """
    embeddings = model.embed(prompts)
    generator = torch.Generator().manual_seed(seed)
    margins = []
    for timestep in timesteps:
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        noisy = model.scheduler.add_noise(latents, noise, torch.tensor([timestep] * len(latents)))
        errors = [
            (model.predict_noise(noisy, timestep, text.expand(len(latents), -1, -1)) - noise)
            .square()
            .mean(dim=(1, 2, 3))
            for text in embeddings
        ]
        margins.append(errors[1] - errors[0])
    return torch.stack(margins).mean(dim=0).cpu().numpy()
