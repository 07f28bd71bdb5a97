"""What a training says of itself: its clock, the rows of `training.csv`, lines or a bar."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from prismlib import paths

LOG = "training.csv"
LINE_SECONDS = 60.0  # between two lines where no terminal shows a bar

Row = dict[str, float]


class Clock:
    """Seconds of training over all sessions, and the share of this session's bound."""

    def __init__(self, before: float, bound: float | None) -> None:
        self.before, self.budget = before, None if bound is None else before + bound
        self.started = self.last_save = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training until now, earlier sessions included."""
        return self.before + time.monotonic() - self.started

    @property
    def share(self) -> float:
        """How much of the bound is used up; 0 without one."""
        return 0.0 if self.budget is None else self.seconds / max(self.budget, 1e-9)

    @property
    def since_save(self) -> float:
        """Seconds since the last checkpoint."""
        return time.monotonic() - self.last_save

    def saved(self) -> None:
        """A checkpoint was written."""
        self.last_save = time.monotonic()

    def left(self, by_steps: float) -> float:
        """Seconds that are left, given how long the steps that are left would take."""
        return by_steps if self.budget is None else min(by_steps, self.budget - self.seconds)


class Log:
    """Gathers the losses of steps into rows; keeps the file whole and the screen up to date.

    A row's `loss`, `learning_rate` and `samples_per_second` are of the steps since the row before;
    `validation` is NaN except where the model was validated. With `bar`, one line on the terminal
    follows every step; otherwise `report` gets a line a minute.
    """

    def __init__(
        self,
        steps: int,
        batch: int,
        folder: Path | None,
        report: Callable[[str], None],
        bar: bool,
    ) -> None:
        self.steps, self.batch, self.folder, self.report = steps, batch, folder, report
        self.rows: list[Row] = []
        self.losses: list[float] = []
        self.clock = Clock(0.0, None)
        self.since = self.rate = 0.0
        self.told = -math.inf
        self.bar = _bar() if bar else None

    def begin(self, rows: Sequence[Row], clock: Clock) -> None:
        """Go on after the rows of earlier sessions."""
        self.rows, self.clock, self.since = list(rows), clock, clock.seconds

    def add(self, step: int, loss: float, rate: float) -> None:
        """A step is done."""
        self.losses.append(loss)
        self.rate = rate
        if self.bar is not None:
            self.bar.n = min(1.0, max(step / self.steps, self.clock.share))
            self.bar.set_description_str(self._line(self._row(step)))

    @property
    def waited(self) -> float:
        """Seconds since the last row."""
        return self.clock.seconds - self.since

    def write(self, step: int, validation: float | None = None) -> None:
        """Make a row of the steps since the last one, put it on the disk, and tell of it."""
        row = self._row(step) | {"validation": math.nan if validation is None else validation}
        self.rows.append(row)
        if self.folder:
            with paths.written_whole(self.folder / LOG) as temporary:
                self.table().to_csv(temporary, index=False)
        if self.bar is None and (
            self.clock.seconds - self.told >= LINE_SECONDS or step >= self.steps
        ):
            self.report(self._line(row))
            self.told = self.clock.seconds
        self.losses, self.since = [], self.clock.seconds

    def end(self) -> None:
        """Leave the terminal's line."""
        if self.bar is not None:
            self.bar.close()

    def table(self) -> pd.DataFrame:
        """All rows, those of earlier sessions included."""
        return pd.DataFrame(self.rows)

    def _row(self, step: int) -> Row:
        seconds = max(self.waited, 1e-9)
        return {
            "step": step,
            "samples": step * self.batch,
            "seconds": round(self.clock.seconds, 1),
            "loss": float(np.mean(self.losses)),
            "learning_rate": self.rate,
            "samples_per_second": round(len(self.losses) * self.batch / seconds, 2),
        }

    def _line(self, row: Row) -> str:
        done, step = len(self.losses), int(row["step"])
        left = self.clock.left((self.steps - step) * self.waited / max(done, 1))
        validation = row.get("validation", math.nan)
        held_out = "" if math.isnan(validation) else f"  validation {validation:.4f}"
        return (
            f"step {step}  loss {row['loss']:.4f}{held_out}  rate {row['learning_rate']:.1e}  "
            f"{row['samples_per_second']:.1f} samples/s  {max(left, 0.0) / 60:.1f} min left"
        )


def _bar() -> "tqdm[Any]":
    """One line on the terminal: how much is done, then what the log's lines say."""
    layout = "{percentage:3.0f}%|{bar:20}| {desc}"
    return tqdm(total=1.0, bar_format=layout, mininterval=0.5, leave=False, file=sys.stderr)
