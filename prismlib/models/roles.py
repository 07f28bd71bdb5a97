"""Who judges what: for each classifier its network, what it answers, and what it learns from."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from prismlib.cohorts.labels import ATTRIBUTES, LABELS, binarize, in_picture
from prismlib.errors import UsageError

AGE_CENTRE, AGE_SCALE = 60.0, 18.0  # years; what the age output is trained in
EMBEDDING = 64
PIXELS = 512  # of a radiograph's side

# What the measuring network reads, with the centre and scale that it is trained in.
SIGNS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "cardiothoracic_ratio": (0.5, 0.08),
        "fluid_height_right": (0.1, 0.15),
        "fluid_height_left": (0.1, 0.15),
        "costophrenic_angle_right": (80.0, 50.0),
        "costophrenic_angle_left": (80.0, 50.0),
        "thorax_width": (0.75, 0.08),
    }
)


@dataclass(frozen=True)
class Role:
    """One classifier: `folder` is its place in a model, `outputs` the names of what it answers.

    Its radiographs are `side` pixels wide, given to the network as `fold` squared channels of
    `side / fold` pixels (pixel unshuffle: every pixel is kept, the first layers get cheap).
    `learns` is `in_picture` (the truth, where a table knows it), `reported`, `demographics`,
    `patients` or `latents` (a simulated cohort's measurements). The pool of the same name says
    from whom.
    """

    name: str
    folder: str
    network: str
    outputs: tuple[str, ...]
    learns: str
    side: int = 512
    fold: int = 2


ROLES: Mapping[str, Role] = MappingProxyType(
    {
        role.name: role
        for role in (
            Role("judge", "classifier", "test_efficientnet", ATTRIBUTES, "in_picture"),
            Role("biased", "biased_classifier", "test_efficientnet", ATTRIBUTES, "reported"),
            Role("leaky", "leaky_classifier", "test_efficientnet", ATTRIBUTES, "reported"),
            Role("strict", "strict_classifier", "test_efficientnet", ATTRIBUTES, "reported"),
            Role(
                "guide", "guide_classifier", "prism_alexnet", ("Support Devices",), "reported",
                side=224, fold=1,
            ),
            Role(
                "reader", "reader", "test_efficientnet", ("Male", "Age"), "demographics",
                side=256, fold=2,
            ),
            Role(
                "verifier", "verifier", "test_efficientnet",
                tuple(f"identity {k}" for k in range(EMBEDDING)), "patients", side=256, fold=2,
            ),
            Role(
                "signs", "measurer", "test_efficientnet", tuple(SIGNS), "latents", side=256, fold=2
            ),
        )
    }
)  # fmt: skip


def find_role(name: str) -> Role:
    """A role by its name; UsageError for any other."""
    if name not in ROLES:
        raise UsageError(f"role {name!r}; expected one of {', '.join(ROLES)}")
    return ROLES[name]


def targets(role: Role, table: pd.DataFrame, policy: str = "u-zeros") -> np.ndarray:
    """What a role learns of each row, float32 (n, k), NaN where nothing is known.

    Attributes are 0 or 1; `demographics` are 1 for male, and age about `AGE_CENTRE` in units of
    `AGE_SCALE`; `patients` (n, 1) numbers whose radiograph it is; for `latents` the table is that
    of `prepare_latents`, and each sign is centred and scaled as in `SIGNS`.
    """
    if role.learns == "in_picture":
        answers = [in_picture(table, name).to_numpy(np.float32) for name in role.outputs]
        return np.stack(answers, axis=1)
    if role.learns == "reported":
        return binarize(table, policy, role.outputs).to_numpy(dtype=np.float32)
    if role.learns == "demographics":
        return demographics(table)
    if role.learns == "latents":
        centre, scale = np.array(list(SIGNS.values())).T
        return ((anatomical_targets(table) - centre) / scale).astype(np.float32)
    return pd.factorize(table["Patient"])[0][:, None].astype(np.float32)


def auxiliary(role: Role, table: pd.DataFrame) -> np.ndarray:
    """What a network for attributes also learns, float32 (n, k), on outputs that are dropped.

    Each kind of device and each finding, where a table knows them, else the other labels as they
    are reported. "Any device" is ten unlike things behind one bit; learning them apart makes good
    for the ImageNet weights that cannot be had offline. None for other roles.
    """
    if role.learns not in ("in_picture", "reported"):
        return np.empty((len(table), 0), np.float32)
    known = table.filter(regex="^(device|severity):")
    if not known.empty:
        return (known > 0).to_numpy(np.float32)
    others = [name for name in LABELS if name in table and name not in role.outputs]
    return binarize(table, "u-ignore", others).to_numpy(np.float32)


def anatomical_targets(latents: pd.DataFrame) -> np.ndarray:
    """A table of `prepare_latents` as `SIGNS`, float32 (n, 6).

    The ratio, fluid heights in widths of the inner thorax, costophrenic angles in degrees, and
    that width as a share of the picture's.
    """
    width = latents["thorax_width_mm"]
    columns = [
        latents["ctr"],
        *(latents[f"effusion_height_{side}_mm"] / width for side in ("right", "left")),
        *(latents[f"costophrenic_angle_{side}"] for side in ("right", "left")),
        width / (PIXELS * latents["mm_per_pixel"]),
    ]
    return np.stack([column.to_numpy(np.float32) for column in columns], axis=1)


def demographics(table: pd.DataFrame) -> np.ndarray:
    """Sex and scaled age, float32 (n, 2); CheXpert's age 0 and sex `Unknown` are not known."""
    sex = table["Sex"].map({"Male": 1.0, "Female": 0.0}).to_numpy(np.float32)
    years = table["Age"].astype(float).to_numpy(np.float32)
    age = np.where(years > 0, (years - AGE_CENTRE) / AGE_SCALE, np.nan)
    return np.stack([sex, age.astype(np.float32)], axis=1)
