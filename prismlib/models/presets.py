"""How a part is trained at a profile where the command does not say: `training.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prismlib import paths
from prismlib.config import nearest
from prismlib.errors import UsageError

MANIFEST = "training.yaml"
DEFAULT = "default"
ALL = "all"
STARTS = ("model", "nothing")


@dataclass(frozen=True)
class Preset:
    """What is trained on and from where: see `data_manifests/training.yaml`.

    `cohort_size` or `held_out` None is all subjects; with `from_model` the model's own part is
    trained further.
    """

    from_model: bool
    cohort_size: int | None
    held_out: int | None
    settings: Mapping[str, Any]


def load_preset(profile: str, part: str, path: Path | None = None) -> Preset:
    """The preset of a part at a profile; UsageError for unknown keys and senseless values."""
    path = path or paths.manifests() / MANIFEST
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    default, own = table[DEFAULT], (table.get(profile) or {}).get(part) or {}
    for key in own:
        if key not in default:
            raise UsageError(f"{path.name}: {profile}: {part}: {key!r}: {nearest(key, default)}")
    values = {**default, **own}
    if values["start"] not in STARTS:
        raise UsageError(
            f"{path.name}: {profile}: {part}: start is {values['start']!r}; expected one of "
            f"{', '.join(STARTS)}"
        )
    return Preset(
        from_model=values["start"] == "model",
        cohort_size=count(values["cohort_size"], f"{path.name}: {profile}: {part}: cohort_size"),
        held_out=count(values["held_out"], f"{path.name}: {profile}: {part}: held_out"),
        settings=values["settings"],
    )


def count(value: object, what: str) -> int | None:
    """A number of subjects, at least 1, or None for `all`; UsageError for anything else."""
    if value == ALL:
        return None
    if not str(value).isdecimal() or int(str(value)) < 1:
        raise UsageError(f"{what} is {value}; expected a number of at least 1, or {ALL}")
    return int(str(value))
