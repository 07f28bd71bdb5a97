"""The training loop, one for every part of prism-mini and for anything larger.

A step depends on the settings, the step's number and the weights alone: every random choice is
drawn from a generator seeded by (seed, step). So a run that was killed and resumed computes what
an uninterrupted one does, to the bit, and N processes (`accelerate launch`) compute what one does
with the same global batch, to rounding; what is normalised over a batch, or contrasted within it,
is then taken over each process's share.
"""

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
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
from prismlib.models import ranks
from prismlib.models.devices import autocast
from prismlib.models.interruption import Interruption
from prismlib.models.training_log import LOG as LOG
from prismlib.models.training_log import Clock, Log

Batch = dict[str, Tensor]
S = TypeVar("S", bound="Settings")
CHECKPOINT = "checkpoint.pt"
PRECISIONS, SCHEDULES = ("bf16", "fp32"), ("cosine", "constant")


@dataclass(frozen=True)
class Settings:
    """What every part's training is told; parts add their own fields.

    `batch_size` counts samples over all processes; `accumulation` such batches make a step.
    `schedule` is `cosine` (to zero at the end) or `constant`, both after the warm-up. `beta1` is
    the decay of Adam's first moment. With `ema_decay` 0 the last weights are kept, not their
    average. `precision` is `bf16` (autocast, where that is quicker) or `fp32`. Where a
    part can be validated, it is every `validation_steps` steps; 0 is never.
    """

    steps: int = 20_000
    batch_size: int = 16
    accumulation: int = 1
    learning_rate: float = 1e-3
    beta1: float = 0.9
    schedule: str = "cosine"
    warmup_steps: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    precision: str = "bf16"
    seed: int = 0
    checkpoint_seconds: float = 120.0
    log_seconds: float = 10.0
    validation_steps: int = 0


class Objective(nn.Module):
    """What is minimised. Holds the trained network and what the frozen parts gave, cached."""

    def draw(self, rng: np.random.Generator, position: int, size: int) -> Batch:
        """A batch of `size`, every tensor with the sample as its first axis.

        `position` is how many samples came before, so that epochs can be walked in order.
        """
        raise NotImplementedError

    def share(self, batch: Batch, mine: slice) -> Batch:
        """One process's samples of a batch."""
        return {key: value[mine] for key, value in batch.items()}

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
    for key, allowed in (("precision", PRECISIONS), ("schedule", SCHEDULES)):
        if (value := getattr(settings, key)) not in allowed:
            raise UsageError(f"{where}: {key} is {value!r}; expected {' or '.join(allowed)}")
    if min(settings.steps, settings.batch_size, settings.accumulation) < 1:
        raise UsageError(f"{where}: steps, batch_size and accumulation must be at least 1")
    return settings


def rate_at(settings: Settings, step: int, progress: float) -> float:
    """The learning rate: linear warm-up over steps, then half a cosine to zero over `progress`.

    `progress` in [0, 1] is the larger of the shares of steps and of time that are used up, so
    that a run bounded in time anneals too. A `constant` schedule stays where warm-up has led.
    """
    warm = settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))
    if settings.schedule == "constant":
        return warm
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def fit(
    objective: Objective,
    settings: Settings,
    *,
    folder: Path | None = None,
    resume: bool = False,
    max_seconds: float | None = None,
    validate: Callable[[], float] | None = None,
    bar: bool = False,
    report: Callable[[str], None] = print,
) -> Run:
    """Train the objective's parameters in place; they end as their moving average.

    With a `folder`, a checkpoint is kept there, written whole every `checkpoint_seconds` and at
    the end, and `training.csv`; `resume` goes on from it. `max_seconds` bounds this call: the
    loop stops cleanly and a cosine learning rate reaches zero at that time. Ctrl-C and SIGTERM
    stop it after the step, saved. `validate` measures the averaged weights, see `Settings`. Under
    `accelerate launch` every process calls this alike, and the first alone writes and reports.
    """
    with Interruption() as interruption:
        loop = _Loop(objective, settings, folder, report if ranks.leads() else ranks.silent, bar)
        return loop.run(resume, max_seconds, validate, interruption)


class _Loop:
    """The state of one call of `fit`."""

    def __init__(
        self,
        objective: Objective,
        settings: Settings,
        folder: Path | None,
        report: Callable[[str], None],
        bar: bool,
    ) -> None:
        self.settings, self.folder, self.report = settings, folder, report
        ranks.device()  # joins the other processes, before the first large tensor is freed
        self.accelerator = Accelerator(mixed_precision="no")  # autocast is ours, see `_loss`
        _check_share(settings, self.accelerator.num_processes)
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            self.parameters,
            lr=settings.learning_rate,
            betas=(settings.beta1, 0.999),
            weight_decay=settings.weight_decay,
            fused=True,  # one pass over the weights: a third of the time, on a CPU too
        )
        self.objective = objective
        self.model, self.optimizer = self.accelerator.prepare(objective, optimizer)
        self.ema = EMAModel(self.parameters, decay=settings.ema_decay, foreach=True)
        self.step, self.seconds = 0, 0.0
        leads = ranks.leads()
        batch = settings.batch_size * settings.accumulation
        self.log = Log(settings.steps, batch, folder if leads else None, report, bar and leads)

    def run(
        self,
        resume: bool,
        max_seconds: float | None,
        validate: Callable[[], float] | None,
        interruption: Interruption,
    ) -> Run:
        if resume:
            self._restore()
        clock = Clock(self.seconds, max_seconds)
        self.log.begin(self.log.rows, clock)
        self.objective.train()
        try:
            interrupted = self._steps(clock, validate, interruption)
        finally:
            self.log.end()
        self._save(clock)
        if interrupted:
            self.report(f"interrupted at step {self.step}; saved, go on with --resume")
            raise KeyboardInterrupt
        self.ema.copy_to(self.parameters)
        self.objective.eval()
        finished = self.step >= self.settings.steps
        return Run(self.step, clock.seconds, finished, self.log.table())

    def _steps(
        self, clock: Clock, validate: Callable[[], float] | None, interruption: Interruption
    ) -> bool:
        """Step until all is done or time is up; whether somebody asked to stop before that."""
        settings, asked = self.settings, 0.0
        while self.step < settings.steps:
            share = clock.share if ranks.leads() else 0.0
            share, asked = ranks.agreed(share, interruption.asked)
            if share >= 1 or asked:
                break
            rate = rate_at(settings, self.step, max(self.step / settings.steps, share))
            loss = self._one_step(rate)
            self.step += 1
            self.log.add(self.step, loss, rate)
            validation = self._validated(validate)
            if validation is not None or self.log.waited >= settings.log_seconds:
                self.log.write(self.step, validation)
            if self.folder and clock.since_save >= settings.checkpoint_seconds:
                self._save(clock)
        if self.log.losses:
            self.log.write(self.step)
        return bool(asked)

    def _validated(self, validate: Callable[[], float] | None) -> float | None:
        """The leader's measure of the averaged weights, at the steps that are asked for."""
        every, step = self.settings.validation_steps, self.step
        due = every and (step % every == 0 or step == self.settings.steps)
        if validate is None or not due or not ranks.leads():
            return None
        self.ema.store(self.parameters)
        self.ema.copy_to(self.parameters)
        self.objective.eval()
        try:
            return validate()
        finally:
            self.objective.train()
            self.ema.restore(self.parameters)

    def _one_step(self, rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total, parts = torch.zeros((), device=self.accelerator.device), self.settings.accumulation
        for part in range(parts):
            last = part == parts - 1
            synced = contextlib.nullcontext() if last else self.accelerator.no_sync(self.model)
            with synced:
                loss = self._loss(part) / parts
                self.accelerator.backward(loss)
            total += loss.detach()
        mean = float(self.accelerator.reduce(total, "mean"))
        if not math.isfinite(mean):
            raise PrismError(
                f"the loss is {mean} at step {self.step}; lower learning_rate, or set precision "
                "to fp32, and go on with --resume"
            )
        self.accelerator.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.parameters)
        return mean

    def _loss(self, part: int) -> Tensor:
        settings, accelerator = self.settings, self.accelerator
        rng = np.random.default_rng([settings.seed, self.step, part])
        position = (self.step * settings.accumulation + part) * settings.batch_size
        batch = self.objective.draw(rng, position, settings.batch_size)
        mine = slice(accelerator.process_index, None, accelerator.num_processes)
        share = self.objective.share(batch, mine)
        batch = {key: value.to(accelerator.device) for key, value in share.items()}
        with autocast(settings.precision, accelerator.device):
            return self.model(batch)

    def _save(self, clock: Clock) -> None:
        clock.saved()
        if not self.folder or not ranks.leads():
            return
        state = {
            "settings": asdict(self.settings),
            "step": self.step,
            "seconds": clock.seconds,
            "history": self.log.rows,
            "model": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
        }
        with paths.written_whole(self.folder / CHECKPOINT) as temporary:
            torch.save(state, temporary)

    def _restore(self) -> None:
        path = self.folder / CHECKPOINT if self.folder else None
        found = path is not None and path.is_file()
        (somewhere,) = ranks.agreed(float(found))
        if somewhere and not found:
            raise PrismError(f"{path} is not seen by every process; put --out on a shared disk")
        if path is None or not found:
            self.report("nothing to resume yet; starting at step 0")
            return
        device = self.accelerator.device
        place = device if device.type == "cuda" else device.type  # no "cpu:0", as processes have it
        state = torch.load(path, map_location=place, weights_only=True)
        self._check(state["settings"], path)
        self.objective.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.log.rows = state["history"]
        self.report(f"going on at step {self.step}, after {self.seconds / 60:.1f} min")

    def _check(self, saved: Mapping[str, Any], path: Path) -> None:
        default = asdict(type(self.settings)())  # what a setting was before there was one
        free = ("steps", "checkpoint_seconds", "log_seconds", "validation_steps")
        for key, value in asdict(self.settings).items():
            before = saved.get(key, default[key])
            if key not in free and before != value:
                raise UsageError(
                    f"{path} was trained with {key}={before!r}, this run asks for {value!r}; use "
                    "the same settings, or another --out"
                )


def _check_share(settings: Settings, processes: int) -> None:
    if settings.batch_size % processes:
        got = f"batch_size is {settings.batch_size}, shared by {processes} processes"
        raise UsageError(f"{got}; expected a multiple of {processes}")
