"""The training loop, one for every part of prism-mini and for anything larger.

A step depends on the settings, the step's number and the weights alone: every random choice is
drawn from a generator seeded by (seed, step). So a run that was killed and resumed computes what
an uninterrupted one does, and N processes compute what one does with the same global batch.
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from prismlib import config, paths
from prismlib.errors import PrismError, UsageError
from prismlib.models.devices import best_device

Batch = dict[str, Tensor]
S = TypeVar("S", bound="Settings")
CHECKPOINT, LOG = "checkpoint.pt", "training.csv"


@dataclass(frozen=True)
class Settings:
    """What every part's training is told; parts add their own fields.

    `batch_size` counts samples over all processes. `precision` is `bf16` (autocast) or `fp32`.
    """

    steps: int = 20_000
    batch_size: int = 16
    accumulation: int = 1
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    precision: str = "bf16"
    seed: int = 0
    checkpoint_seconds: float = 120.0
    log_seconds: float = 10.0


class Objective(nn.Module):
    """What is minimised. Holds the trained network and what the frozen parts gave, cached."""

    def draw(self, rng: np.random.Generator, position: int, size: int) -> Batch:
        """A batch of `size`, every tensor with the sample as its first axis.

        `position` is how many samples came before, so that epochs can be walked in order.
        """
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar."""
        raise NotImplementedError


@dataclass(frozen=True)
class Run:
    """What a call of `fit` did: total steps and seconds, and whether all steps are done."""

    step: int
    seconds: float
    finished: bool
    history: pd.DataFrame


def settings_from(kind: type[S], values: Mapping[str, Any], where: str = "config") -> S:
    """Settings with some values replaced; UsageError for an unknown key or a wrong type."""
    default = kind()
    known = {field.name for field in fields(kind)}
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}: {config.nearest(str(key), known)}")
        config.check_type(value, getattr(default, key), f"{where}: {key}")
    settings = kind(**{**asdict(default), **values})
    if settings.precision not in ("bf16", "fp32"):
        raise UsageError(f"{where}: precision is {settings.precision!r}; expected bf16 or fp32")
    if min(settings.steps, settings.batch_size, settings.accumulation) < 1:
        raise UsageError(f"{where}: steps, batch_size and accumulation must be at least 1")
    return settings


def shuffled(n: int, seed: int, position: int, size: int) -> np.ndarray:
    """Indices (size,) of samples position, position+1, ...: epoch after epoch, each reshuffled."""
    positions = np.arange(position, position + size)
    return np.array([_permutation(n, seed, int(p) // n)[int(p) % n] for p in positions])


@lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n)


def rate_at(settings: Settings, step: int, progress: float) -> float:
    """The learning rate: linear warm-up over steps, then half a cosine to zero over `progress`.

    `progress` in [0, 1] is the larger of the shares of steps and of time that are used up, so
    that a run bounded in time anneals too.
    """
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def fit(
    objective: Objective,
    settings: Settings,
    *,
    folder: Path | None = None,
    resume: bool = False,
    max_seconds: float | None = None,
    report: Callable[[str], None] = print,
) -> Run:
    """Train the objective's parameters in place; they end as their moving average.

    With a `folder`, a checkpoint is kept there, written whole every `checkpoint_seconds` and at
    the end, and `training.csv`; `resume` goes on from it. `max_seconds` bounds this call: the
    loop stops cleanly and the learning rate reaches zero at that time. Ctrl-C saves and stops.
    """
    return _Loop(objective, settings, folder, report).run(resume, max_seconds)


class _Loop:
    """The state of one call of `fit`."""

    def __init__(
        self,
        objective: Objective,
        settings: Settings,
        folder: Path | None,
        report: Callable[[str], None],
    ) -> None:
        self.settings, self.folder, self.report = settings, folder, report
        self.accelerator = Accelerator()
        best_device(self.accelerator.device)  # before the first large tensor is freed
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.objective = objective
        self.model, self.optimizer = self.accelerator.prepare(objective, optimizer)
        self.ema = EMAModel(self.parameters, decay=settings.ema_decay, foreach=True)
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []

    def run(self, resume: bool, max_seconds: float | None) -> Run:
        if resume:
            self._restore()
        clock = _Clock(self.seconds, max_seconds)
        self.objective.train()
        try:
            self._steps(clock)
        except KeyboardInterrupt:
            self.report(f"interrupted at step {self.step}; saved, go on with --resume")
            self._save(clock)
            raise
        self._save(clock)
        self.ema.copy_to(self.parameters)
        self.objective.eval()
        finished = self.step >= self.settings.steps
        return Run(self.step, clock.seconds, finished, pd.DataFrame(self.history))

    def _steps(self, clock: "_Clock") -> None:
        window = _Window(self.step, clock.seconds)
        while self.step < self.settings.steps and not self._out_of_time(clock):
            progress = max(self.step / self.settings.steps, clock.share)
            rate = rate_at(self.settings, self.step, progress)
            window.losses.append(self._one_step(rate))
            self.step += 1
            if clock.seconds - window.seconds >= self.settings.log_seconds:
                window = self._log(window, clock, rate)
            if self.folder and clock.since_save >= self.settings.checkpoint_seconds:
                self._save(clock)
        if window.losses:
            self._log(window, clock, rate)

    def _out_of_time(self, clock: "_Clock") -> bool:
        """Whether time is up, decided by the first process for all."""
        if self.accelerator.num_processes == 1:
            return clock.share >= 1
        up = torch.tensor([float(clock.share >= 1)], device=self.accelerator.device)
        torch.distributed.broadcast(up, src=0)
        return bool(up.item())

    def _one_step(self, rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total, parts = 0.0, self.settings.accumulation
        for part in range(parts):
            last = part == parts - 1
            synced = contextlib.nullcontext() if last else self.accelerator.no_sync(self.model)
            with synced:
                loss = self._loss(part)
                self.accelerator.backward(loss / parts)
            total += loss.detach().item() / parts
        if not math.isfinite(total):
            raise PrismError(
                f"the loss is {total} at step {self.step}; lower learning_rate, or set precision "
                "to fp32, and go on with --resume"
            )
        self.accelerator.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.parameters)
        return total

    def _loss(self, part: int) -> Tensor:
        settings, accelerator = self.settings, self.accelerator
        rng = np.random.default_rng([settings.seed, self.step, part])
        position = (self.step * settings.accumulation + part) * settings.batch_size
        batch = self.objective.draw(rng, position, settings.batch_size)
        mine = slice(accelerator.process_index, None, accelerator.num_processes)
        batch = {key: value[mine].to(accelerator.device) for key, value in batch.items()}
        bf16 = settings.precision == "bf16"
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=bf16):
            return self.model(batch)

    def _log(self, window: "_Window", clock: "_Clock", rate: float) -> "_Window":
        steps, seconds = len(window.losses), max(clock.seconds - window.seconds, 1e-9)
        batch = self.settings.batch_size * self.settings.accumulation
        row = {
            "step": self.step,
            "samples": self.step * batch,
            "seconds": round(clock.seconds, 1),
            "loss": float(np.mean(window.losses)),
            "learning_rate": rate,
            "samples_per_second": round(steps * batch / seconds, 2),
        }
        self.history.append(row)
        if self.accelerator.is_main_process:
            left = clock.left((self.settings.steps - self.step) * seconds / steps)
            self.report(
                f"step {self.step}  loss {row['loss']:.4f}  rate {rate:.1e}  "
                f"{row['samples_per_second']:.1f} samples/s  {left / 60:.1f} min left"
            )
            if self.folder:
                with paths.written_whole(self.folder / LOG) as temporary:
                    pd.DataFrame(self.history).to_csv(temporary, index=False)
        return _Window(self.step, clock.seconds)

    def _save(self, clock: "_Clock") -> None:
        clock.saved()
        if not self.folder or not self.accelerator.is_main_process:
            return
        state = {
            "settings": asdict(self.settings),
            "step": self.step,
            "seconds": clock.seconds,
            "history": self.history,
            "model": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
        }
        with paths.written_whole(self.folder / CHECKPOINT) as temporary:
            torch.save(state, temporary)

    def _restore(self) -> None:
        path = self.folder / CHECKPOINT if self.folder else None
        if path is None or not path.is_file():
            self.report("nothing to resume yet; starting at step 0")
            return
        state = torch.load(path, map_location=self.accelerator.device, weights_only=True)
        self._check(state["settings"], path)
        self.objective.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.history = state["history"]
        self.report(f"going on at step {self.step}, after {self.seconds / 60:.1f} min")

    def _check(self, saved: Mapping[str, Any], path: Path) -> None:
        free = ("steps", "checkpoint_seconds", "log_seconds")
        for key, value in asdict(self.settings).items():
            if key not in free and saved.get(key) != value:
                raise UsageError(
                    f"{path} was trained with {key}={saved.get(key)!r}, this run asks for "
                    f"{value!r}; use the same settings, or another --out"
                )


@dataclass
class _Window:
    """Losses since the last line of the log."""

    step: int
    seconds: float

    def __post_init__(self) -> None:
        self.losses: list[float] = []


class _Clock:
    """Seconds of training over all sessions, and the share of this session's bound."""

    def __init__(self, before: float, bound: float | None) -> None:
        self.before, self.budget = before, None if bound is None else before + bound
        self.started = self.last_save = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    @property
    def share(self) -> float:
        return 0.0 if self.budget is None else self.seconds / max(self.budget, 1e-9)

    @property
    def since_save(self) -> float:
        return time.monotonic() - self.last_save

    def saved(self) -> None:
        self.last_save = time.monotonic()

    def left(self, by_steps: float) -> float:
        return by_steps if self.budget is None else min(by_steps, self.budget - self.seconds)
