"""Ways to say that something is there or is not: those trained on, and those never trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prismlib.cohorts.labels import ATTRIBUTES

HEADS = (
    "chest x-ray of a patient",
    "chest x-ray of the patient",
    "chest xray of the patient",
    "Chest X-ray of the patient",
    "X-ray of the patient",
    "an x-ray",
    "Chest X-ray",
    "chest radiograph",
    "radiograph of the patient",
    "frontal chest radiograph of a patient",
)
PRESENT = ("with {}", "with {}", "showing {}", "demonstrating {}", "that shows {}")
ABSENT = ("with no {}", "with no {}", "without {}", "showing no {}", "negative for {}")
# What may begin a phrase; an absence in a list keeps its own, so that none reaches over.
DEVICES = ("support devices", "medical devices")
NORMALITY = ("finding", "finding", "significant findings")  # "no ..." where nothing is found


@dataclass(frozen=True)
class Wording:
    """A head, and how what is there and what is not is said after it, with {} for its name."""

    head: str
    present: str
    absent: str

    def pair(self, attribute: str, name: str) -> tuple[str, str]:
        """The sentence for an attribute and that for its negation.

        For No Finding the first says that there is none, the second that there is one.
        """
        there = f"{self.head} {self.present.format(_with_article(name))}".strip()
        not_there = f"{self.head} {self.absent.format(name)}".strip()
        return (not_there, there) if attribute == "No Finding" else (there, not_there)


# Figures 3 and 4's, Appendix E's and the poster's ways, among those that paraphrases are made of.
TRAINED = (
    Wording("chest x-ray of the patient", "with {}", "with no {}"),
    Wording("an x-ray", "with {}", "without {}"),
    Wording("Chest X-ray of the patient", "showing {}", "showing no {}"),
)
BARE = Wording("", "{}", "no {}")  # also trained on: what is asked does not hang on a head
# Other heads, verbs and sentences about the same names; the words for "not" are among the known.
HELD_OUT = (
    Wording("film of the thorax:", "there is {}", "there is no {}"),
    Wording("CXR,", "evidence of {}", "no evidence of {}"),
    Wording("this frontal view reveals", "{}", "no {}"),
)
# Here the word for "not" was never met: a model that learnt its English from captions alone has
# no way to know it, so that this is reported beside the others.
UNTAUGHT = (Wording("lungs", "having {}", "free of {}"),)
# No word of a training text begins with one of these.
NEVER_TRAINED = (
    "film", "thorax", "cxr", "there is", "evidence", "view", "reveal", "having", "free of",
)  # fmt: skip


def names_of(attribute: str) -> tuple[str, ...]:
    """What an attribute is called after "no"."""
    if attribute == "Support Devices":
        return DEVICES
    return NORMALITY if attribute == "No Finding" else (attribute.lower(),)


def ask(attribute: str, rng: np.random.Generator) -> tuple[str, str]:
    """An attribute and its negation in a random one of the ways that are trained on."""
    wording = Wording(pick(rng, HEADS), pick(rng, PRESENT), pick(rng, ABSENT))
    wording = BARE if rng.random() < 0.15 else wording
    return wording.pair(attribute, pick(rng, names_of(attribute)))


def questions(wording: Wording, names: Sequence[str] = ATTRIBUTES) -> dict[str, tuple[str, str]]:
    """For each attribute its sentence and its negation's."""
    return {name: wording.pair(name, names_of(name)[0]) for name in names}


def pick(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    """One of some strings."""
    return options[int(rng.integers(len(options)))]


def _with_article(name: str) -> str:
    return f"a {name}" if name == "finding" else name
