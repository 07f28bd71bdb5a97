"""From notebooks to a report: what `prism reproduce` does."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from prismlib import paths
from prismlib.config import load_profile
from prismlib.errors import PrismError
from prismlib.report.artefacts import read_artefacts
from prismlib.report.claims import write_claims
from prismlib.report.site import write_site
from prismlib.runner import kernel, record
from prismlib.runner.pace import Pace
from prismlib.runner.plan import Step, plan


@dataclass(frozen=True)
class Request:
    """What is to be reproduced: which profile, which notebooks (none: all), which parameters.

    With `fresh` nothing that an earlier run finished is kept.
    """

    profile: str = "quick"
    only: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False


def reproduce(
    request: Request, notebooks: Path | None = None, screen: TextIO | None = None
) -> Path:
    """Run what is asked for and not yet finished, then write claims and page; give the page.

    Wrong requests raise `UsageError` before anything is written. If a notebook fails, the ones
    before it are kept, and the same request goes on with the one that failed.
    """
    profile = load_profile(request.profile)
    steps = plan(profile, notebooks or paths.notebooks(), request.only, request.settings)
    try:
        with record.alone(profile.name):
            before = {} if request.fresh else record.load_finished(profile.name)
            run = replace(record.begin(profile), notebooks=before)
            known = {stem: finished.seconds for stem, finished in before.items()}
            pace = Pace([step.stem for step in steps], known, screen or sys.stderr)
            _run_all(run, steps, pace)
            write_claims(profile.name)
            return write_site(profile.name, profile.description)
    except OSError as error:
        raise PrismError(
            f"{error.strerror or error} ({error.filename or 'no file named'}); make room or "
            "mend it, then run the same command: finished notebooks are kept"
        ) from error


def _run_all(run: record.Run, steps: list[Step], pace: Pace) -> None:
    began = time.monotonic()
    record.save(run)
    try:
        with kernel.own_interpreter():
            for step in steps:
                if record.is_done(run, step):
                    pace.skip(step.stem)
                else:
                    run = _run_one(run, step, pace)
    except BaseException as problem:
        status = "failed" if isinstance(problem, Exception) else "interrupted"
        record.save(_ended(_kept(run), status, began))
        raise
    record.save(_ended(run, "finished", began))


def _run_one(run: record.Run, step: Step, pace: Pace) -> record.Run:
    made_before = _sidecar_times(run.profile)
    output = record.executed(run.profile, step.stem)
    pace.start(step.stem, kernel.count_code_cells(step.path))
    try:
        kernel.execute(step, output, pace.at)
    except BaseException:
        pace.end(problem=True)
        raise
    seconds = pace.end()
    _remove_stale(run.profile, step.stem, made_before)
    run = record.finish(run, step, seconds)
    record.save(run)
    return run


def _kept(run: record.Run) -> record.Run:
    """The record as it was last saved: what finished before something went wrong."""
    return replace(run, notebooks=record.load_finished(run.profile))


def _ended(run: record.Run, status: str, began: float) -> record.Run:
    devices = {made.device for made in read_artefacts(paths.figures(run.profile))}
    return replace(
        run,
        status=status,
        ended=record.now(),
        seconds=round(time.monotonic() - began, 1),
        device="; ".join(sorted(devices)) or run.device,
    )


def _sidecar_times(profile: str) -> dict[str, int]:
    folder = paths.figures(profile)
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("*.json")}


def _remove_stale(profile: str, stem: str, before: Mapping[str, int]) -> None:
    """Remove what this notebook made in an earlier version and no longer makes."""
    folder = paths.figures(profile)
    for made in read_artefacts(folder):
        sidecar = folder / f"{made.name}.json"
        untouched = before.get(sidecar.name) == sidecar.stat().st_mtime_ns
        if made.notebook == stem and untouched:
            for name in (*made.files, sidecar.name):
                (folder / name).unlink(missing_ok=True)
