"""Table row to text: the paper's three templates, paraphrases, and its edit prompts.

A caption is made from labels alone. The paper's edit prompts ("severe", "lots of", "without",
"no ...") hold words that its captions never have; `paraphrase` writes captions that do, which
changes the method and is said wherever it is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from prismlib.cohorts.labels import ATTRIBUTES, LABELS, POLICIES
from prismlib.errors import UsageError

Row: TypeAlias = "Mapping[str, Any] | pd.Series"

TEMPLATES = ("section_2_1", "listing_1", "poster")
NORMAL = "Normal chest X-ray with no significant findings"
# Listing 1's list, with its misspelt second name: no column is called that, so the label it stands
# for is never mentioned. (The line break in "Pleural Effusion" is the page's, not the code's.)
LISTING_1 = tuple(
    "Enlarged Cardiomeastinum" if label == "Enlarged Cardiomediastinum" else label
    for label in LABELS
)
# The example of section 2.1 names effusion before cardiomegaly: the four attributes come first.
MENTIONED = tuple(
    label
    for label in (*ATTRIBUTES, *(other for other in LABELS if other not in ATTRIBUTES))
    if label != "No Finding"
)

HEADS = (
    "chest x-ray of a patient",
    "chest x-ray of the patient",
    "chest xray of the patient",
    "Chest X-ray of the patient",
    "X-ray of the patient",
    "an x-ray",
    "Chest X-ray",
)
DEVICES = ("support devices", "medical devices")
MOST_NAMED = 6  # findings in one paraphrase, so that it fits a tokenizer's 77 tokens


@dataclass(frozen=True)
class EditPrompt:
    """One of the paper's edits: its two prompts, what they ask for as labels, where they stand."""

    source: str
    target: str
    intervention: Mapping[str, float]
    printed_in: str


def _edit(source: str, target: str, attribute: str, value: float, where: str) -> EditPrompt:
    return EditPrompt(source, target, MappingProxyType({attribute: value}), where)


EDIT_PROMPTS: Mapping[str, EditPrompt] = MappingProxyType(
    {
        "remove_devices": _edit(
            "chest xray of the patient with lots of medical devices",
            "chest xray of the patient without medical devices",
            "Support Devices", 0.0, "Figure 3, left",
        ),
        "add_devices": _edit(
            "chest xray of the patient with no support devices",
            "chest xray of the patient with lots of support devices",
            "Support Devices", 1.0, "Figure 3, right",
        ),
        "remove_effusion": _edit(
            "chest x-ray of the patient with severe pleural effusion",
            "chest x-ray of the patient with no finding",
            "Pleural Effusion", 0.0, "Figure 4, row 1",
        ),
        "remove_cardiomegaly": _edit(
            "chest x-ray of the patient with severe cardiomegaly",
            "chest x-ray of the patient with no finding",
            "Cardiomegaly", 0.0, "Figure 4, row 2",
        ),
    }
)  # fmt: skip
# The same removal of an effusion in other words: a different task for a model of language.
OTHER_WORDS: Mapping[str, EditPrompt] = MappingProxyType(
    {
        "remove_effusion_appendix_e": _edit(
            "an x-ray with severe pleural effusion",
            "an x-ray with no pleural effusion",
            "Pleural Effusion", 0.0, "Appendix E",
        ),
        "remove_effusion_poster": _edit(
            "Chest X-ray of the patient showing pleural effusion",
            "Chest x-ray of the patient with no significant findings",
            "Pleural Effusion", 0.0, "poster, panel 2",
        ),
    }
)  # fmt: skip


def caption(row: Row, template: str = "section_2_1", policy: str = "u-zeros") -> str:
    """The caption of one table row in one of the paper's templates.

    `section_2_1`: lower-case names after "chest x-ray of a patient showing", or section 2.1's
    sentence for a normal image. `listing_1`: the code of Appendix A as printed, which says
    "showing No Finding" where that label is positive, never mentions an enlarged
    cardiomediastinum, and calls a row without any positive label "Normal", whether its labels are
    negative, uncertain or blank. `poster`: panel 2's sentences.
    The first and third leave `No Finding` itself out and fall back to their normal sentence as
    the listing does. An uncertain label counts as positive under `u-ones` and is not mentioned
    under `u-zeros` (the listing's reading) and `u-ignore`.
    """
    if policy not in POLICIES:
        raise UsageError(f"label policy {policy!r}; expected one of {', '.join(POLICIES)}")
    named = (1.0, -1.0) if policy == "u-ones" else (1.0,)
    if template == "listing_1":
        findings = [label for label in LISTING_1 if _value(row, label) in named]
        return "Chest X-ray showing " + ", ".join(findings) if findings else NORMAL
    findings = [label.lower() for label in MENTIONED if _value(row, label) in named]
    if template == "section_2_1":
        return f"chest x-ray of a patient showing {', '.join(findings)}" if findings else NORMAL
    if template == "poster":
        if findings:
            return f"Chest X-ray of the patient showing {', '.join(findings)}"
        return "Chest x-ray of the patient with no significant findings"
    raise UsageError(f"caption template {template!r}; expected one of {', '.join(TEMPLATES)}")


def paraphrase(row: Row, rng: np.random.Generator) -> str:
    """A caption of one row in varied words, whose every statement agrees with the row's labels.

    Present findings are usually named, absent attributes (0 or blank) sometimes, uncertain ones
    only as "possible". Order, spelling and heads vary. "severe" and "lots of" stress what is
    present, since labels hold no degree; where columns such as `device:pacemaker` say which
    devices there are, a device may go by its name and "lots of" means at least two kinds.
    """
    present = _present(row, rng)
    absent = _absent(row, rng)
    normal = _value(row, "No Finding") == 1
    if normal and rng.random() < 0.6:
        absent.append(_pick(rng, ("no finding", "no finding", "no significant findings")))
    if not present and not absent:
        present, absent = _at_least_one(row, rng)
    groups = [_with_present(present, rng), _with_absent(_shuffled(absent, rng))]
    head = _pick(rng, HEADS)
    if normal and head != "an x-ray" and rng.random() < 0.25:
        head = f"Normal {head.replace('Chest', 'chest')}"
    text = ", ".join(group for group in _shuffled(groups, rng) if group)
    return f"{head} {text}".strip()


def _value(row: Row, label: str) -> float:
    """A label's value; 0 for a blank and for a column that is not there."""
    value = row.get(label)
    return 0.0 if value is None or pd.isna(value) else float(value)


def _present(row: Row, rng: np.random.Generator) -> list[str]:
    """Phrases for what is there, with some left out, and for what may be there."""
    sure = [label for label in MENTIONED if _value(row, label) == 1 and rng.random() < 0.85]
    phrases = [_presence(row, label, rng) for label in _shuffled(sure[:MOST_NAMED], rng)]
    unsure = [label for label in MENTIONED if _value(row, label) == -1 and rng.random() < 0.2]
    return phrases + [f"possible {label.lower()}" for label in unsure[:1]]


def _presence(row: Row, label: str, rng: np.random.Generator) -> str:
    if label == "Support Devices":
        return _devices(row, rng)
    severe = label in ATTRIBUTES and rng.random() < 0.35
    return f"severe {label.lower()}" if severe else label.lower()


def _devices(row: Row, rng: np.random.Generator) -> str:
    kinds = _kinds(row)
    carried = [kind for kind, value in kinds.items() if value == 1]
    if carried and rng.random() < 0.5:
        return ", ".join(_shuffled(carried, rng))
    lots = (len(carried) > 1 or not kinds) and rng.random() < 0.45
    return f"lots of {_pick(rng, DEVICES)}" if lots else _pick(rng, DEVICES)


def _kinds(row: Row) -> dict[str, float]:
    """Device kinds in words, from columns such as `device:central_line`, with 0 or 1."""
    columns = [str(key) for key in row.keys() if str(key).startswith("device:")]  # noqa: SIM118
    return {key.removeprefix("device:").replace("_", " "): _value(row, key) for key in columns}


def _absent(row: Row, rng: np.random.Generator) -> list[str]:
    """Phrases for some of the attributes and device kinds that are not there."""
    phrases = [
        _absence(_pick(rng, DEVICES) if label == "Support Devices" else label.lower(), rng)
        for label in ATTRIBUTES
        if label != "No Finding" and _value(row, label) == 0 and rng.random() < 0.3
    ]
    if _value(row, "Support Devices") == 1:
        missing = [kind for kind, value in _kinds(row).items() if value == 0]
        phrases += [_absence(kind, rng) for kind in missing if rng.random() < 0.15]
    return phrases


def _absence(words: str, rng: np.random.Generator) -> str:
    return f"{_pick(rng, ('no', 'without'))} {words}"


def _at_least_one(row: Row, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """One phrase for a row of which nothing was named; none if every label is uncertain."""
    there = [label for label in MENTIONED if _value(row, label) == 1]
    if there:
        return [_presence(row, _pick(rng, there), rng)], []
    missing = [label for label in ATTRIBUTES if label != "No Finding" and _value(row, label) == 0]
    return [], [_absence(_pick(rng, missing).lower(), rng)] if missing else []


def _with_present(phrases: list[str], rng: np.random.Generator) -> str:
    return f"{_pick(rng, ('with', 'with', 'showing'))} {', '.join(phrases)}" if phrases else ""


def _with_absent(phrases: list[str]) -> str:
    """Each absence keeps its own "no" or "without", so that none reaches over to what is there."""
    return ", ".join(f"with {phrase}" if phrase.startswith("no ") else phrase for phrase in phrases)


def _pick(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _shuffled(items: list[str], rng: np.random.Generator) -> list[str]:
    return [items[i] for i in rng.permutation(len(items))]
