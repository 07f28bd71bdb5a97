"""Many counterfactuals in one run: in batches, shared between processes, stopped and resumed.

A request is done when its JSON stands, which is written last and whole. So a run that was killed
goes on where it was, with at most one batch in flight made again; what a request could not be done
for stands beside the others in `NAME.failed.json`, and all of these together in `failures.csv`.
"""

import csv
import fcntl
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prismlib import paths
from prismlib.commands import edit_engine, edit_results
from prismlib.commands.edit_engine import Engine, Job
from prismlib.commands.edit_requests import Request
from prismlib.commands.edit_results import Outputs, Result
from prismlib.errors import PrismError, UsageError
from prismlib.models.devices import release_memory

LOCK = ".prism-edit.lock"
FAILURES = "failures.csv"


@dataclass(frozen=True)
class Manner:
    """How a run goes: what it does with failures and with what stands already."""

    batch_size: int = 8
    keep_going: bool = False
    resume: bool = False
    truncate: bool = False
    rank: int = 0
    processes: int = 1


@dataclass
class Tally:
    """How many requests came out how, in this process."""

    done: int = 0
    stood: int = 0
    failed: int = 0


@contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Refuse a second run in the same folder; the lock dies with its holder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    with path.open("a") as handle:
        taken = UsageError(
            f"{folder}: another run is writing into it; wait for it, or choose another --out"
        )
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise taken from error
        except OSError as error:
            raise PrismError(
                f"{path}: cannot be locked ({error.strerror}); choose an --out on a disk that can"
            ) from error
        if not path.exists() or path.stat().st_ino != os.fstat(handle.fileno()).st_ino:
            raise taken  # the run before was just taking its lock away
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def check_table(table: str | None, folder: Path) -> None:
    """Refuse a table that stands where the failures of this run would be written."""
    if table is not None and Path(table).resolve() == (folder / FAILURES).resolve():
        raise UsageError(f"{table}: is --table and would be replaced; copy it to another name")


def clear(outputs: Sequence[Outputs]) -> None:
    """Remove what a killed run was writing and had not yet given its name."""
    names = {(file.stem, file.suffix) for files in outputs for file in files.files}
    for folder in {files.measures.parent for files in outputs}:
        for path in folder.glob(".*-????????.*"):
            found = re.fullmatch(r"\.(.*)-\w{8}", path.stem, re.DOTALL)
            if found and (found[1], path.suffix) in names:
                path.unlink(missing_ok=True)


def carry_out_all(
    requests: Sequence[Request],
    outputs: Sequence[Outputs],
    engine: Engine,
    provenance: dict[str, Any],
    manner: Manner,
) -> Tally:
    """Carry out this process' share of the requests, a line for each on the terminal.

    Requests of one recipe are edited together; at most a batch of each recipe is in memory.
    """
    return _Run(engine, provenance, manner).over(
        list(zip(requests, outputs, strict=True))[manner.rank :: manner.processes]
    )


def gather_failures(outputs: Sequence[Outputs], folder: Path) -> int:
    """Write `failures.csv` from what stands in the folder, or remove it; how many there are."""
    told = [
        json.loads(files.failure.read_text(encoding="utf-8"))
        for files in outputs
        if files.failure.is_file()
    ]
    if not told:
        (folder / FAILURES).unlink(missing_ok=True)
        return 0
    with (
        paths.written_whole(folder / FAILURES) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(told[0]))
        writer.writeheader()
        writer.writerows(told)
    return len(told)


@dataclass(frozen=True)
class _Ready:
    """A job with where its results go, and the name under which it is recognised."""

    job: Job
    files: Outputs
    key: str


class _Run:
    def __init__(self, engine: Engine, provenance: dict[str, Any], manner: Manner) -> None:
        self.engine, self.provenance, self.manner = engine, provenance, manner
        self.tally = Tally()
        self.told: set[str] = set()

    def over(self, share: Sequence[tuple[Request, Outputs]]) -> Tally:
        waiting: dict[str, list[_Ready]] = defaultdict(list)
        for request, files in share:
            ready = self._ready(request, files)
            if ready is None:
                continue
            batch = waiting[request.recipe]
            batch.append(ready)
            if len(batch) == self.manner.batch_size:
                self._together(waiting.pop(request.recipe))
        for batch in waiting.values():
            self._together(batch)
        return self.tally

    def _ready(self, request: Request, files: Outputs) -> _Ready | None:
        """The request if it is in order and still to be done."""
        try:
            if self.manner.keep_going:  # otherwise all have been checked before the first
                edit_engine.check_images([request])
            job = edit_engine.prepare(request, self.engine, self.manner.truncate)
            key = edit_results.request_key(job, self.provenance)
        except (UsageError, OSError) as error:
            self._failed(request, files, error)
            return None
        if self._stands(key, files):
            return None
        for note in job.notes:
            if note not in self.told:
                self.told.add(note)
                print(f"note: {note}", flush=True)
        return _Ready(job, files, key)

    def _stands(self, key: str, files: Outputs) -> bool:
        """Whether an earlier run wrote all files of this very request; UsageError if of another."""
        if not self.manner.resume or not all(file.is_file() for file in files.files):
            return False
        try:
            found = json.loads(files.measures.read_text(encoding="utf-8"))
        except ValueError:
            found = {}
        if found.get("request_sha256") != key:
            raise UsageError(
                f"{files.measures}: stands from another request or other settings; choose another "
                "--out, or --overwrite"
            )
        files.failure.unlink(missing_ok=True)
        self.tally.stood += 1
        return True

    def _together(self, batch: Sequence[_Ready]) -> None:
        """One pass over a batch; if it cannot be done as one, its requests one by one."""
        results, error = self._tried(batch)
        if error is not None and len(batch) > 1:
            for ready in batch:
                self._together([ready])
            return
        if error is not None:
            self._failed(batch[0].job.request, batch[0].files, error)
            return
        for ready, result in zip(batch, results, strict=True):
            provenance = {**self.provenance, "request_sha256": ready.key}
            try:
                edit_results.write(result, ready.files, provenance)
            except ValueError as refused:  # a full disk is a PrismError, and ends the run
                self._failed(ready.job.request, ready.files, refused)
                continue
            ready.files.failure.unlink(missing_ok=True)
            self.tally.done += 1
            print(edit_results.summary(result, ready.files), flush=True)

    def _tried(self, batch: Sequence[_Ready]) -> tuple[list[Result], Exception | None]:
        """The results of a pass, or why there are none; nothing of a failed pass is kept alive."""
        try:
            return edit_engine.carry_out([ready.job for ready in batch], self.engine), None
        except (PrismError, RuntimeError, OSError) as error:
            failure = error.with_traceback(None)
        release_memory()
        return [], failure

    def _failed(self, request: Request, files: Outputs, error: Exception) -> None:
        """Record why a request cannot be done, if the rest shall go on; else say it and stop."""
        if not self.manner.keep_going:
            raise error
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        told = {
            "image": str(request.image),
            "source": request.source,
            "target": request.target,
            "recipe": request.recipe,
            "reason": reason,
        }
        with paths.written_whole(files.failure) as temporary:
            temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        self.tally.failed += 1
        print(f"{request.image}: NOT DONE: {reason}", flush=True)
