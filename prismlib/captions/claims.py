"""What a text says of a table's columns, and with which rows that agrees."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from prismlib.cohorts.labels import LABELS, in_picture
from prismlib.cohorts.phantom.subject import DEVICE_KINDS


@dataclass(frozen=True)
class Claim:
    """What a text says of one column of a label table: that low <= value < high."""

    column: str
    low: float
    high: float


@dataclass(frozen=True)
class Description:
    """A caption and all that it claims; "possible" claims nothing."""

    text: str
    claims: tuple[Claim, ...] = ()


def there(column: str) -> Claim:
    """The claim that a column is positive."""
    return Claim(column, 0.5, math.inf)


def not_there(column: str) -> Claim:
    """The claim that a column is negative or blank (0), but not uncertain (-1)."""
    return Claim(column, -0.5, 0.5)


_NEGATED = re.compile(r"\b(?:no|without|negative for)\s+([a-z ]+)")
_NORMAL = re.compile(r"\bno (significant )?finding|\bnormal\b")
ENLARGED = {"Cardiomegaly", "Enlarged Cardiomediastinum"}
# Air, a lung that fell together and moved its neighbours, a gap in bone.
_NO_DENSITY_ADDED = {"Pneumothorax", "Atelectasis", "Fracture"}
_DEVICES = ("device", *(kind.replace("_", " ") for kind in DEVICE_KINDS))


def claims(text: str) -> dict[str, float]:
    """What a caption says of the labels: 1 there, 0 not there; "possible" says nothing."""
    text = text.lower()
    said = {"No Finding": 1.0} if _NORMAL.search(text) else {}
    absent = ",".join(_NEGATED.findall(text))
    sure = _sure(text)
    for label in LABELS:
        words = ("support device", "medical device") if label == "Support Devices" else (label,)
        for word in (word.lower() for word in words):
            if label != "No Finding" and word in sure:
                said[label] = 0.0 if word in absent else 1.0
    return said


def named(text: str) -> frozenset[str]:
    """The labels that a text speaks of, there or not or only possible, devices also by their kind.

    A text of a normal radiograph, or one with no finding, speaks of everything but devices.
    """
    text = text.lower()
    words = {label: (label.lower(),) for label in LABELS} | {"Support Devices": _DEVICES}
    found = {label for label, names in words.items() if any(name in text for name in names)}
    if _NORMAL.search(text):
        found |= {label for label in LABELS if label != "Support Devices"}
    return frozenset(found)


def taken_away(source: str, target: str) -> tuple[str, ...]:
    """What a source prompt says is there and its target prompt does not: labels, device kinds."""
    said = _said_to_be_there(target)
    return tuple(name for name in _said_to_be_there(source) if name not in said)


def takes_device(source: str, target: str) -> bool:
    """Whether a prompt pair takes a device away, alone or with something else."""
    return any(name in ("Support Devices", *DEVICE_KINDS) for name in taken_away(source, target))


def takes_density(source: str, target: str) -> bool:
    """Whether all that a prompt pair changes is to take away what absorbs the beam.

    Fluid, a heart, an opacity, a device; not what lets more of the beam through, as air beside the
    lung does, nor what moves its neighbours when it goes.
    """
    names = taken_away(source, target)
    return bool(names) and _NO_DENSITY_ADDED.isdisjoint(names) and not taken_away(target, source)


def _said_to_be_there(text: str) -> list[str]:
    labels = [name for name, value in claims(text).items() if value and name != "No Finding"]
    sure = _sure(text)
    denied = ",".join(_NEGATED.findall(sure))
    words = {kind: kind.replace("_", " ") for kind in DEVICE_KINDS}
    return labels + [kind for kind, word in words.items() if word in sure and word not in denied]


def _sure(text: str) -> str:
    """A text in small letters, without what it calls possible."""
    return re.sub(r"possible [a-z ]+", "", text.lower())


def claimed(text: str) -> Description:
    """A caption in one of the paper's templates with what it claims."""
    said = claims(text).items()
    return Description(text, tuple(there(x) if value else not_there(x) for x, value in said))


def asserted(description: Description, columns: Sequence[str]) -> list[float]:
    """What a description claims of columns: 1 there, 0 not there, NaN where it says nothing."""
    values = {claim.column: float(claim.low >= 0.5) for claim in description.claims}
    return [values.get(column, math.nan) for column in columns]


def known_columns(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The columns that a caption can claim things of, (n,) each.

    A label that the table itself contradicts (reported absent or not at all, but there; or the
    other way round) counts as uncertain, -1: it agrees with neither claim.
    """
    known = {name: table[name].fillna(0.0).to_numpy(float, copy=True) for name in LABELS}
    columns = table.filter(regex="^(device|severity):")
    for name in LABELS:
        whole = name in ("No Finding", "Support Devices") and not columns.empty
        if whole or f"severity:{name}" in columns:
            truth = in_picture(table, name).to_numpy(float)
            known[name][(known[name] >= 0) & (known[name] != truth)] = -1
    return known | {str(name): columns[name].to_numpy(float) for name in columns}


def agreement(described: Sequence[Description], known: Mapping[str, np.ndarray]) -> np.ndarray:
    """Bool (texts, images): whether all that a text claims is so of an image."""
    count = len(next(iter(known.values())))
    fits = np.ones((len(described), count), dtype=bool)
    for row, description in zip(fits, described, strict=True):
        for claim in description.claims:
            values = known[claim.column]
            row &= (values >= claim.low) & (values < claim.high)
    return fits


def truth_table(captions: Sequence[str], labels: np.ndarray) -> np.ndarray:
    """`agreement` of captions, by their words alone, with `labels` (images, 14) of 1, 0 and -1."""
    known = {label: labels[:, column] for column, label in enumerate(LABELS)}
    return agreement([claimed(text) for text in captions], known)
