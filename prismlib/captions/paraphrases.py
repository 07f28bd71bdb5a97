"""A row in varied words, of which every statement agrees with what its table knows."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from prismlib.captions.claims import Claim, Description, not_there, there
from prismlib.captions.templates import MENTIONED, Row, value_of
from prismlib.captions.wordings import ABSENT, DEVICES, HEADS, NORMALITY, PRESENT, ask, pick
from prismlib.cohorts.labels import ATTRIBUTES

T = TypeVar("T")

PARAPHRASES = "paraphrases"  # the name of this way to caption, beside the templates'
DENIED = 0.3  # the chance that an attribute which is not there is said to be absent
MOST_NAMED = 6  # findings in one paraphrase, so that it fits a tokenizer's 77 tokens
DEGREES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"mild": (1e-9, 0.3), "moderate": (0.3, 0.65), "severe": (0.65, math.inf)}
)
GRADED = (
    "Pleural Effusion", "Cardiomegaly", "Edema", "Consolidation", "Pneumonia", "Atelectasis",
    "Pneumothorax", "Lung Opacity",
)  # fmt: skip


def paraphrase(row: Row, rng: np.random.Generator, denied: float = DENIED) -> str:
    """The text of `describe`."""
    return describe(row, rng, denied).text


def describe(row: Row, rng: np.random.Generator, denied: float = DENIED) -> Description:
    """A caption of one row in varied words, and what it claims.

    Present findings are usually named, absent attributes (0 or blank) each with the chance
    `denied`, uncertain ones only as "possible". Order, spelling and heads vary. Where
    `severity:<finding>` says how much there is, "mild", "moderate" and "severe" say so, and nothing
    is denied that the table knows to be there; elsewhere "severe" stresses what is present. Where
    columns such as `device:pacemaker` say which devices there are, a device may go by its name and
    "lots of" means at least two kinds.
    """
    present, absent = _present(row, rng), _absent(row, rng, denied)
    normal = _is_normal(row)
    if normal and rng.random() < 0.6:
        absent.append(Description(f"no {pick(rng, NORMALITY)}", (there("No Finding"),)))
    if not present and not absent:
        present, absent = _at_least_one(row, rng)
    groups = [_with_present(present, rng), _with_absent(_shuffled(absent, rng))]
    head = _head(row, rng, normal)
    text = ", ".join(group for group in _shuffled(groups, rng) if group)
    claims = [claim for phrase in (head, *present, *absent) for claim in phrase.claims]
    return Description(f"{head.text} {text}".strip(), tuple(claims))


def say_one(row: Row, rng: np.random.Generator) -> str:
    """A caption of one row that says of one attribute, in varied words, whether it is there.

    A prompt that asks for one thing is a caption of this kind. A `paraphrase` where nothing can be
    said for sure.
    """
    absent = _deniable(row)
    known = [name for name in ATTRIBUTES if value_of(row, name) == 1 or name in absent]
    if "No Finding" in known and not _is_normal(row):
        known.remove("No Finding")
    if not known:
        return paraphrase(row, rng)
    name = pick(rng, known)
    there_is, there_is_none = ask(name, rng)
    return there_is_none if name in absent else there_is


def _head(row: Row, rng: np.random.Generator, normal: bool) -> Description:
    head, chance = pick(rng, HEADS), rng.random()
    if head.startswith("an "):
        return Description(head)
    plain = head.replace("Chest", "chest")
    if normal and chance < 0.25:
        return Description(f"Normal {plain}", (there("No Finding"),))
    if _is_abnormal(row) and chance < 0.1:
        return Description(f"Abnormal {plain}", (not_there("No Finding"),))
    return Description(head)


def _is_normal(row: Row) -> bool:
    """Whether No Finding is reported, and no severity says otherwise."""
    return value_of(row, "No Finding") == 1 and not any(_columns(row, "severity:").values())


def _is_abnormal(row: Row) -> bool:
    """Whether a finding, other than devices, is reported, and a severity, where known, agrees."""
    findings = [label for label in MENTIONED if label != "Support Devices"]
    reported = any(value_of(row, label) == 1 for label in findings)
    severities = _columns(row, "severity:").values()
    return reported and value_of(row, "No Finding") == 0 and (not severities or any(severities))


def _present(row: Row, rng: np.random.Generator) -> list[Description]:
    """Phrases for what is there, with some left out, and for what may be there."""
    sure = [label for label in MENTIONED if value_of(row, label) == 1 and rng.random() < 0.85]
    phrases = [_presence(row, label, rng) for label in _shuffled(sure[:MOST_NAMED], rng)]
    if _is_abnormal(row) and rng.random() < 0.06:
        phrases.append(Description("significant findings", (not_there("No Finding"),)))
    unsure = [label for label in MENTIONED if value_of(row, label) == -1 and rng.random() < 0.2]
    return phrases + [Description(f"possible {label.lower()}") for label in unsure[:1]]


def _presence(row: Row, label: str, rng: np.random.Generator) -> Description:
    if label == "Support Devices":
        return _devices(row, rng)
    stressed = rng.random() < 0.35
    severity = _columns(row, "severity:").get(label)
    if severity is None:
        severe = stressed and label in ATTRIBUTES
        return Description(f"severe {label.lower()}" if severe else label.lower(), (there(label),))
    for word, (low, high) in DEGREES.items():
        if stressed and label in GRADED and low <= severity < high:
            degree = Claim(f"severity:{label}", low, high)
            return Description(f"{word} {label.lower()}", (there(label), degree))
    return Description(label.lower(), (there(label),))


def _devices(row: Row, rng: np.random.Generator) -> Description:
    kinds = _columns(row, "device:")
    carried = [kind for kind, value in kinds.items() if value == 1]
    if carried and rng.random() < 0.5:
        named = ", ".join(kind.replace("_", " ") for kind in _shuffled(carried, rng))
        claims = [there(f"device:{kind}") for kind in carried]
        return Description(named, (there("Support Devices"), *claims))
    lots = (len(carried) > 1 or not kinds) and rng.random() < 0.45
    words = f"lots of {pick(rng, DEVICES)}" if lots else pick(rng, DEVICES)
    return Description(words, (there("Support Devices"),))


def _columns(row: Row, prefix: str) -> dict[str, float]:
    """The values of columns such as `device:central_line`, by what stands after the prefix."""
    columns = [str(key) for key in row.keys() if str(key).startswith(prefix)]  # noqa: SIM118
    return {key.removeprefix(prefix): value_of(row, key) for key in columns}


def _deniable(row: Row) -> list[str]:
    """Attributes that are reported absent or not at all, and that no column knows to be there."""
    carried = any(_columns(row, "device:").values())
    seen = _columns(row, "severity:")
    return [
        label
        for label in ATTRIBUTES
        if label != "No Finding"
        and value_of(row, label) == 0
        and not (carried if label == "Support Devices" else seen.get(label))
    ]


def _absent(row: Row, rng: np.random.Generator, denied: float) -> list[Description]:
    """Names of some of the attributes and device kinds that are not there."""
    phrases = [_absence(label, rng) for label in _deniable(row) if rng.random() < denied]
    if value_of(row, "Support Devices") == 1:
        missing = [kind for kind, value in _columns(row, "device:").items() if value == 0]
        phrases += [
            Description(_denied(kind.replace("_", " "), rng), (not_there(f"device:{kind}"),))
            for kind in missing
            if rng.random() < 0.1
        ][:MOST_NAMED]
    return phrases


def _absence(label: str, rng: np.random.Generator) -> Description:
    words = pick(rng, DEVICES) if label == "Support Devices" else label.lower()
    return Description(_denied(words, rng), (not_there(label),))


def _denied(words: str, rng: np.random.Generator) -> str:
    return pick(rng, ABSENT).format(words).removeprefix("with ")


def _at_least_one(
    row: Row, rng: np.random.Generator
) -> tuple[list[Description], list[Description]]:
    """One phrase for a row of which nothing was named; none if nothing can be said for sure."""
    certain = [label for label in MENTIONED if value_of(row, label) == 1]
    if certain:
        return [_presence(row, pick(rng, certain), rng)], []
    missing = _deniable(row)
    return [], [_absence(pick(rng, missing), rng)] if missing else []


def _with_present(phrases: list[Description], rng: np.random.Generator) -> str:
    return pick(rng, PRESENT).format(", ".join(p.text for p in phrases)) if phrases else ""


def _with_absent(phrases: list[Description]) -> str:
    """Each absence keeps its own "no" or "without", so that none reaches over to what is there."""
    return ", ".join(
        f"with {phrase.text}" if phrase.text.startswith("no ") else phrase.text
        for phrase in phrases
    )


def _shuffled(items: list[T], rng: np.random.Generator) -> list[T]:
    return [items[i] for i in rng.permutation(len(items))]
