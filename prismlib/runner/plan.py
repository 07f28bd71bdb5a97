"""Which notebooks run, with which parameters, and the key that tells one result from another."""

import ast
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from prismlib.config import Profile, Value, check_type, nearest
from prismlib.errors import UsageError
from prismlib.report import provenance

TAG = "parameters"


@dataclass(frozen=True)
class Step:
    """One notebook to execute. `key` changes when anything that its result depends on does."""

    stem: str
    path: Path
    parameters: Mapping[str, Value]
    key: str


def plan(
    profile: Profile, folder: Path, only: Sequence[str] = (), settings: Mapping[str, Any] = {}
) -> list[Step]:
    """The steps of a run, in order; every wrong name or value raises `UsageError` before it starts.

    `only` holds numbers or stems of notebooks; `settings` are parameters that replace the
    profile's in every selected notebook that has them.
    """
    selected = select(sorted(folder.glob("[0-9]*.ipynb")), only)
    defaults = {path: read_parameters(path) for path in selected}
    _check_settings(settings, defaults)
    environment = _environment_key(profile)
    steps = []
    for path in selected:
        own = {key: value for key, value in settings.items() if key in defaults[path]}
        parameters = {**profile.for_notebook(path.stem), **own}
        _check_parameters(path.stem, parameters, defaults[path])
        merged = {**defaults[path], **parameters}
        content = [_source(path), merged, environment]
        steps.append(Step(path.stem, path, parameters, _digest(content)))
    return steps


def select(found: Sequence[Path], only: Sequence[str]) -> list[Path]:
    """The notebooks that `only` names by number (`04`, `4`) or stem; all where it names none."""
    if not found:
        raise UsageError("no notebooks were found; expected 01_*.ipynb and so on in notebooks/")
    names = {path.stem: path for path in found}
    numbers = {int(stem.split("_")[0]): path for stem, path in names.items()}
    chosen = set()
    for wanted in only:
        stem = wanted.removesuffix(".ipynb")
        path = numbers.get(int(stem)) if stem.isdecimal() else names.get(stem)
        if path is None:
            raise UsageError(f"no notebook {wanted!r}: {nearest(stem, names)}")
        chosen.add(path)
    return [path for path in found if not only or path in chosen]


def read_parameters(path: Path) -> dict[str, Value]:
    """The names and literal defaults in the cell tagged `parameters`."""
    tagged = [cell for cell in _read(path).cells if TAG in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise UsageError(f"{path.name} has {len(tagged)} cells tagged `{TAG}`; expected one")
    defaults: dict[str, Value] = {}
    try:
        for statement in ast.parse(tagged[0].source).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    defaults[name] = ast.literal_eval(value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    defaults[name] = ast.literal_eval(value)
                case _:
                    raise ValueError(ast.unparse(statement))
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"{path.name}: the cell tagged `{TAG}` holds more than names with literal values "
            f"({' '.join(str(error).split())})"
        ) from error
    for name in ("profile", "seed"):
        if name not in defaults:
            raise UsageError(f"{path.name}: the cell tagged `{TAG}` lacks {name!r}")
    return defaults


def _check_settings(
    settings: Mapping[str, Any], defaults: Mapping[Path, Mapping[str, Value]]
) -> None:
    known = {name for values in defaults.values() for name in values} - {"profile"}
    for key in settings:
        if key == "profile":
            raise UsageError("--set profile=...: a profile is chosen with --profile")
        if key not in known:
            raise UsageError(f"--set {key}=...: no selected notebook has it: {nearest(key, known)}")


def _check_parameters(
    stem: str, parameters: Mapping[str, Value], defaults: Mapping[str, Value]
) -> None:
    for key, value in parameters.items():
        if key not in defaults:
            raise UsageError(
                f"the profile sets {key!r}, which {stem} does not have: {nearest(key, defaults)}"
            )
        check_type(value, defaults[key], f"{stem}: {key}")


def _environment_key(profile: Profile) -> list[Any]:
    return [
        profile.cohort,
        *([name, _stamp(Path(name))] for name in (profile.model, profile.clip, profile.judge)),
        os.environ.get("PRISM_CHEXPERT_ROOT"),
        provenance.source_hash(),
        provenance.weights_hash(),
    ]


def _stamp(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files of a user's own weights, which may be large to hash."""
    files = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []
    stats = [(file.relative_to(folder).as_posix(), file.stat()) for file in files]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def _source(path: Path) -> list[tuple[str, str]]:
    """A notebook without outputs, counts and identifiers: what can change its result."""
    return [(cell.cell_type, cell.source) for cell in _read(path).cells if cell.source.strip()]


def _read(path: Path) -> nbformat.NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises what its many parsers raise
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path.name} is not a notebook ({reason}); restore it") from error


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
