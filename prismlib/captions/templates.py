"""The paper's texts to the letter: its three caption templates and its edit prompts."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

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

# Not the paper's: each denies one thing and says nothing of the rest, as a causal question does.
# ("no finding" asks for every other disease to go too.)
ONE_THING: Mapping[str, EditPrompt] = MappingProxyType(
    {
        name: _edit(
            f"chest x-ray of the patient with {words}",
            f"chest x-ray of the patient with no {words}",
            attribute, 0.0, "not in the paper",
        )
        for name, attribute, words in (
            ("devices", "Support Devices", "support devices"),
            ("effusion", "Pleural Effusion", "pleural effusion"),
            ("cardiomegaly", "Cardiomegaly", "cardiomegaly"),
        )
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
        findings = [label for label in LISTING_1 if value_of(row, label) in named]
        return "Chest X-ray showing " + ", ".join(findings) if findings else NORMAL
    findings = [label.lower() for label in MENTIONED if value_of(row, label) in named]
    if template == "section_2_1":
        return f"chest x-ray of a patient showing {', '.join(findings)}" if findings else NORMAL
    if template == "poster":
        if findings:
            return f"Chest X-ray of the patient showing {', '.join(findings)}"
        return "Chest x-ray of the patient with no significant findings"
    raise UsageError(f"caption template {template!r}; expected one of {', '.join(TEMPLATES)}")


def value_of(row: Row, label: str) -> float:
    """A label's value; 0 for a blank and for a column that is not there."""
    value = row.get(label)
    return 0.0 if value is None or pd.isna(value) else float(value)
