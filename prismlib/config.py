"""Profiles: at which size, on which data and with which model the same notebooks run."""

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from prismlib import paths
from prismlib.errors import UsageError

Scalar = str | int | float | bool | None
Value = Scalar | list[Any]

COHORTS = ("phantom", "chexpert")
REFERENCE = "quick"  # names every parameter; the other profiles say where they differ
OVERRIDABLE = {"model": "PRISM_MODEL", "clip": "PRISM_CLIP", "judge": "PRISM_JUDGE"}


@dataclass(frozen=True)
class Profile:
    """One named size of the whole reproduction.

    `cohort` is `phantom` (simulated) or `chexpert`; `model`, `clip` and `judge` are what
    `LatentDiffusion.load`, `ImageTextEncoder.load` and `Classifier.load` take. `parameters` maps a
    notebook's stem to its own parameters; `profile` and `seed`, which every notebook gets, are
    added by `for_notebook`.
    """

    name: str
    cohort: str
    model: str
    clip: str
    judge: str
    seed: int
    description: str
    parameters: Mapping[str, Mapping[str, Value]]

    @property
    def simulated(self) -> bool:
        """Whether the subjects are simulated."""
        return self.cohort == "phantom"

    def for_notebook(self, stem: str) -> dict[str, Value]:
        """Everything that is put into the parameters cell of one notebook."""
        return {"profile": self.name, "seed": self.seed, **self.parameters.get(stem, {})}


def nearest(wrong: str, valid: Iterable[str]) -> str:
    """A clause that names what was probably meant, or everything that is allowed."""
    valid = sorted(valid)
    matches = difflib.get_close_matches(wrong, valid, n=1, cutoff=0.5)
    if matches:
        return f"did you mean {matches[0]}?"
    return "expected one of " + ", ".join(valid) if valid else "none is expected here"


def check_type(value: object, example: object, what: str) -> None:
    """Raise `UsageError` unless `value` is of the type of `example` (an int passes for a float)."""
    if example is None or type(value) is type(example):
        return
    if isinstance(example, float) and type(value) is int:
        return
    raise UsageError(
        f"{what} is {value!r} ({type(value).__name__}); expected {type(example).__name__}, "
        f"like {example!r}"
    )


def profile_names(path: Path | None = None) -> tuple[str, ...]:
    """The names in `data_manifests/profiles.yaml`, in its order."""
    return tuple(_read(_manifest(path)))


def load_profile(name: str, path: Path | None = None) -> Profile:
    """One profile, checked: unknown names, unknown keys and wrong types raise `UsageError`.

    `PRISM_MODEL`, `PRISM_CLIP` and `PRISM_JUDGE`, where set, stand in for the profile's own
    weights, so that one's own fine-tuned networks can be reproduced with. A name that is a folder
    below the output root becomes its absolute path: notebooks run in a folder of their own.
    """
    path = _manifest(path)
    table = _read(path)
    if name not in table:
        raise UsageError(f"no profile {name!r} in {path.name}: {nearest(name, table)}")
    entry = _fields(table[name], f"{path.name}: profile {name}")
    if entry["cohort"] not in COHORTS:
        raise UsageError(
            f"{path.name}: profile {name}: cohort is {entry['cohort']!r}; "
            f"{nearest(entry['cohort'], COHORTS)}"
        )
    for field, variable in OVERRIDABLE.items():
        entry[field] = _located(os.environ.get(variable) or entry[field])
    own = _notebooks(entry.pop("notebooks", None), f"{path.name}: profile {name}")
    reference = _notebooks(
        (table.get(REFERENCE) or {}).get("notebooks"), f"{path.name}: profile {REFERENCE}"
    )
    return Profile(name=name, parameters=_merge(reference, own, f"{path.name}: {name}"), **entry)


def _manifest(path: Path | None) -> Path:
    return path or paths.manifests() / "profiles.yaml"


def _located(name: str) -> str:
    folder = paths.output_root() / name
    return str(folder) if folder.is_dir() else name


@cache
def _parse(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from error


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"{path} is missing; expected the profiles that come with the checkout")
    table = _parse(path.read_text(encoding="utf-8"), path.name)
    if not isinstance(table, dict) or not all(isinstance(value, dict) for value in table.values()):
        raise UsageError(f"{path.name}: expected profiles by name, each with its fields")
    return table


def _fields(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    types = {f.name: f.type for f in fields(Profile) if f.name not in ("name", "parameters")}
    for key in entry:
        if key not in (*types, "notebooks"):
            raise UsageError(
                f"{where}: unknown key {key!r}: {nearest(str(key), (*types, 'notebooks'))}"
            )
    for key, kind in types.items():
        if key not in entry:
            raise UsageError(f"{where}: {key} is missing")
        check_type(entry[key], 0 if kind is int else "text", f"{where}: {key}")
    return dict(entry)


def _notebooks(section: object, where: str) -> dict[str, dict[str, Value]]:
    section = {} if section is None else section
    if not isinstance(section, dict):
        raise UsageError(f"{where}: notebooks is {section!r}; expected parameters by notebook")
    for stem, values in section.items():
        if not isinstance(values, dict | None):
            raise UsageError(f"{where}: {stem} is {values!r}; expected its parameters by name")
        for key in values or {}:
            if not isinstance(key, str) or not key.isidentifier() or key in ("profile", "seed"):
                raise UsageError(
                    f"{where}: {stem}: {key!r} cannot be a parameter; expected a Python name other "
                    "than profile and seed"
                )
    return {stem: dict(values or {}) for stem, values in section.items()}


def _merge(
    reference: Mapping[str, Mapping[str, Value]],
    own: Mapping[str, Mapping[str, Value]],
    where: str,
) -> Mapping[str, Mapping[str, Value]]:
    for stem, values in own.items():
        if stem not in reference:
            raise UsageError(f"{where}: unknown notebook {stem!r}: {nearest(stem, reference)}")
        for key, value in values.items():
            if key not in reference[stem]:
                hint = nearest(key, reference[stem])
                raise UsageError(f"{where}: {stem}: unknown parameter {key!r}: {hint}")
            check_type(value, reference[stem][key], f"{where}: {stem}: {key}")
    return MappingProxyType(
        {
            stem: MappingProxyType({**values, **own.get(stem, {})})
            for stem, values in reference.items()
        }
    )
