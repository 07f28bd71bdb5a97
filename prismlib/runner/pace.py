"""Tells a person how far a run is: which notebook, which cell, how long, what is left."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

REFRESH = 1.0  # seconds between two looks at a terminal's line
HEARTBEAT = 60.0  # seconds after which a log hears that a long cell still runs
SPACING = 5.0  # seconds at least between two lines of one notebook in a log


class Pace:
    """Follows one run. On a terminal one line is kept up to date, elsewhere lines are added.

    `before` maps a notebook to the seconds that it took in an earlier run, where one is known.
    """

    def __init__(
        self,
        stems: Sequence[str],
        before: Mapping[str, float],
        screen: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stems = list(stems)
        self.expected = dict(before)
        self.screen = screen
        self.clock = clock
        self.terminal = screen.isatty()
        self.began = clock()
        self.current = -1
        self.notebook_began = self.began
        self.cell = 0
        self.cells = 0
        self.told = float("-inf")
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self, stem: str, cells: int) -> None:
        """A notebook with `cells` code cells begins."""
        self.current = self.stems.index(stem)
        self.notebook_began, self.cell, self.cells = self.clock(), 0, cells
        self._tell(self.line())
        self._stop.clear()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def at(self, cell: int) -> None:
        """Code cell number `cell` (from 1) begins."""
        self.cell = cell
        if self.terminal or self.clock() - self.told >= SPACING:
            self._tell(self.line())

    def end(self, problem: bool = False) -> float:
        """The notebook ended; give its seconds, and remember them for what is left."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
        seconds = self.clock() - self.notebook_began
        self.expected[self.stems[self.current]] = seconds
        how = "stopped after" if problem else "done in"
        self.say(f"{self._place()}  {how} {span(seconds)}")
        return seconds

    def skip(self, stem: str) -> None:
        """A notebook is left out because it is finished."""
        self.current = self.stems.index(stem)
        self.say(f"{self._place()}  finished before, kept")

    def say(self, text: str) -> None:
        """Write a line that stays."""
        with self._lock:
            self.screen.write(f"\r\033[K{text}\n" if self.terminal else f"{text}\n")
            self.screen.flush()

    def line(self) -> str:
        """The state in one line."""
        left = self.left()
        rest = "time left not known yet" if left is None else f"about {span(left)} left"
        elapsed = span(self.clock() - self.began)
        return f"{self._place()}  cell {self.cell} of {self.cells}  {elapsed}, {rest}"

    def left(self) -> float | None:
        """Seconds that are probably left; None while nothing is known to tell them from.

        A notebook takes what it took before; one never run, the mean of those that were.
        The running one is held to its cells where it takes longer than expected.
        """
        spent = self.clock() - self.notebook_began
        mean = sum(self.expected.values()) / len(self.expected) if self.expected else None
        expected = self.expected.get(self.stems[self.current], mean)
        done = max(self.cell - 1, 0)
        if expected is not None and spent <= expected:
            here = expected - spent
        elif done > 0:
            here = spent * (self.cells - done) / done
        else:
            return None
        typical = spent + here if mean is None else mean
        later = self.stems[self.current + 1 :]
        return here + sum(self.expected.get(stem, typical) for stem in later)

    def _place(self) -> str:
        return f"[{self.current + 1}/{len(self.stems)}] {self.stems[self.current]}"

    def _tell(self, text: str) -> None:
        self.told = self.clock()
        if not self.terminal:
            self.say(text)
            return
        with self._lock:
            self.screen.write(f"\r\033[K{text}")
            self.screen.flush()

    def _watch(self) -> None:
        while not self._stop.wait(REFRESH):
            if self.terminal or self.clock() - self.told >= HEARTBEAT:
                self._tell(self.line())


def span(seconds: float) -> str:
    """A length of time in the two largest units that it has: `43 s`, `6 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
