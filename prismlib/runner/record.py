"""What a run leaves for the next one and for readers: `runs/<profile>/run.json`."""

import fcntl
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prismlib import paths
from prismlib.config import Profile
from prismlib.errors import PrismError
from prismlib.report import provenance
from prismlib.report.artefacts import read_artefacts, write_json
from prismlib.runner.plan import Step


@dataclass(frozen=True)
class Finished:
    """One notebook that ran in full: its key, and the SHA-256 of all that it left."""

    key: str
    parameters: Mapping[str, Any]
    seconds: float
    ended: str
    commit: str | None
    executed: str
    artefacts: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """The record of a profile's notebooks, the finished ones of earlier runs included.

    `status` is running, finished, failed or interrupted, and says how the last run stands;
    `seconds` is its wall time, and that of each notebook stands with the notebook.
    """

    profile: str
    seed: int
    status: str
    started: str
    ended: str | None
    seconds: float | None
    commit: str | None
    device: str
    python: str
    versions: Mapping[str, str | None]
    weights: Mapping[str, str]
    notebooks: Mapping[str, Finished] = field(default_factory=dict)


def begin(profile: Profile) -> Run:
    """The record of a run that has just begun, with nothing finished."""
    return Run(
        profile=profile.name,
        seed=profile.seed,
        status="running",
        started=now(),
        ended=None,
        seconds=None,
        commit=provenance.commit(),
        device=provenance.device(),
        python=platform.python_version(),
        versions=provenance.versions(),
        weights=weights(),
    )


def path(profile: str) -> Path:
    """Where a profile's record lies."""
    return paths.runs(profile) / "run.json"


def executed(profile: str, stem: str) -> Path:
    """Where a profile's executed notebook lies."""
    return paths.runs(profile) / f"{stem}.ipynb"


def load_finished(profile: str) -> dict[str, Finished]:
    """The finished notebooks of earlier runs; none if there was no run."""
    file = path(profile)
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {stem: Finished(**facts) for stem, facts in content["notebooks"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PrismError(
            f"{file} cannot be read ({error}); run with --fresh to begin anew"
        ) from error


def save(run: Run) -> None:
    """Write the record, whole."""
    write_json(asdict(run), path(run.profile))


def finish(run: Run, step: Step, seconds: float) -> Run:
    """The record with one more notebook finished, and everything that it left hashed."""
    folder = paths.figures(run.profile)
    mine = [made for made in read_artefacts(folder) if made.notebook == step.stem]
    finished = Finished(
        key=step.key,
        parameters=dict(step.parameters),
        seconds=round(seconds, 1),
        ended=now(),
        commit=run.commit,
        executed=paths.sha256(executed(run.profile, step.stem)),
        artefacts={name: digest for made in mine for name, digest in made.files.items()},
    )
    notebooks = dict(sorted({**run.notebooks, step.stem: finished}.items()))
    return replace(run, notebooks=notebooks)


def is_done(run: Run, step: Step) -> bool:
    """Whether a step was finished with this key, and all that it left is still there, unchanged."""
    finished = run.notebooks.get(step.stem)
    if finished is None or finished.key != step.key:
        return False
    folder = paths.figures(run.profile)
    left = {executed(run.profile, step.stem): finished.executed}
    left |= {folder / name: digest for name, digest in finished.artefacts.items()}
    return all(file.is_file() and paths.sha256(file) == digest for file, digest in left.items())


def weights() -> dict[str, str]:
    """The SHA-256 of every file in `data_manifests/weights.yaml`; empty if there is none yet."""
    import yaml

    manifest = paths.manifests() / "weights.yaml"
    if not manifest.is_file():
        return {}
    models = yaml.safe_load(manifest.read_text(encoding="utf-8")) or {}
    return {
        f"{model}/{name}": facts["sha256"]
        for model, entry in models.items()
        for name, facts in entry["files"].items()
    }


def now() -> str:
    """The time, in UTC, as records show it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def alone(profile: str) -> Iterator[None]:
    """Hold the profile's lock; `PrismError` if another process does. It dies with its holder."""
    file = paths.runs(profile) / ".lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            raise PrismError(
                f"profile {profile} is already being run by {handle.read() or 'another process'}; "
                "wait for it, or set PRISM_OUTPUT to another folder"
            ) from None
        handle.truncate(0)
        handle.write(f"process {os.getpid()}")
        handle.flush()
        yield
