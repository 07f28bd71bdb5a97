"""Which words a model's training captions had, and what known phrase an unknown word is near to.

Nothing is listed by hand: the captions' own definitions are run over rows that between them hold
all that a table can, and what comes out is what was seen.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from prismlib.captions.paraphrases import DEGREES, PARAPHRASES, describe
from prismlib.captions.templates import TEMPLATES, Row, caption
from prismlib.captions.wordings import DEVICES
from prismlib.cohorts.labels import LABELS
from prismlib.cohorts.phantom.subject import DEVICE_KINDS
from prismlib.errors import UsageError

DRAWS = 60  # paraphrases of each row; what comes up once in a thousand has come up by the end
# From here on a slip of the keyboard or another ending. Below are other words: "hemothorax" is
# at 0.82 of "pneumothorax", and means something else.
CLOSE = 0.84

_DENIALS = ("un", "non", "in", "dis")

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Vocabulary:
    """What captions of one kind can say.

    `words` are lower-case, split at anything but letters and digits ("x-ray" is two words);
    `findings` and `devices` are the names by which these go.
    """

    words: frozenset[str]
    findings: tuple[str, ...]
    devices: tuple[str, ...]

    def __or__(self, other: "Vocabulary") -> "Vocabulary":
        """What is known of captions of two kinds."""
        return Vocabulary(
            self.words | other.words,
            tuple(dict.fromkeys((*self.findings, *other.findings))),
            tuple(dict.fromkeys((*self.devices, *other.devices))),
        )

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """The words of a text that no caption has, lower-case, each once, in their order."""
        return tuple(dict.fromkeys(word for word in words_of(text) if word not in self.words))

    def nearest(self, text: str, word: str) -> str | None:
        """The known phrase, or else word, that `word` and its neighbours in `text` are spelt like.

        None where nothing is that close: the sense of a word cannot be told from its spelling.
        """
        names = (*self.findings, *self.devices)
        longest = max(map(_length, names), default=0) + 1
        spans = _spans(words_of(text), longest)
        around = sorted({" ".join(span) for span in spans if word in span})
        for candidates in (names, sorted(self.words)):
            scored = [
                (_likeness(span, name), name)
                for span in around
                for name in candidates
                if not _denies(span, name)
            ]
            best = max(scored, default=(0.0, ""))
            if best[0] >= CLOSE:
                return best[1]
        return None


def words_of(text: str) -> list[str]:
    """The words of a text as a vocabulary has them."""
    return _WORD.findall(text.lower())


@cache
def vocabulary(kind: str = PARAPHRASES, simulated: bool = True) -> Vocabulary:
    """The vocabulary of one way to caption: `paraphrases`, or one of the paper's templates.

    Only the tables of simulated subjects know kinds of devices and degrees of findings. Raises
    UsageError for another kind.
    """
    if kind not in (PARAPHRASES, *TEMPLATES):
        kinds = ", ".join((PARAPHRASES, *TEMPLATES))
        raise UsageError(f"captions {kind!r}; expected one of {kinds}")
    texts = list(dict.fromkeys(_texts(kind, simulated)))
    words = frozenset(word for text in texts for word in words_of(text))
    said = " ; ".join(" ".join(words_of(text)) for text in texts)
    kinds_of_device = (*DEVICES, *(name.replace("_", " ") for name in DEVICE_KINDS))
    labels = [label.lower() for label in LABELS if label not in ("No Finding", "Support Devices")]
    return Vocabulary(
        words,
        tuple(name for name in labels if name in said),
        tuple(name for name in kinds_of_device if name in said),
    )


def _texts(kind: str, simulated: bool) -> Iterator[str]:
    rng = np.random.default_rng(0)
    for row in _rows(simulated):
        if kind == PARAPHRASES:
            yield from (describe(row, rng).text for _ in range(DRAWS))
        else:
            yield caption(row, kind)


def _rows(simulated: bool) -> Iterator[Row]:
    """Rows of which each shows one thing that a caption may name, and rows that show nothing."""
    nothing = {f"severity:{label}": 0.0 for label in LABELS} if simulated else {}
    bare = {f"device:{kind}": 0.0 for kind in DEVICE_KINDS} if simulated else {}
    yield nothing | bare
    for label in LABELS:
        yield nothing | bare | {label: -1.0}
        if label == "Support Devices" or label == "No Finding" or not simulated:
            yield nothing | bare | {label: 1.0}
            continue
        for low, high in DEGREES.values():
            severity = {f"severity:{label}": (low + min(high, 1.0)) / 2}
            yield nothing | bare | {label: 1.0} | severity
    for pair in pairwise((*DEVICE_KINDS, DEVICE_KINDS[0])) if simulated else ():
        carried = {f"device:{kind}": 1.0 for kind in pair}
        yield nothing | bare | {"Support Devices": 1.0} | carried


def _spans(words: list[str], most: int) -> Iterator[tuple[str, ...]]:
    """Runs of one to `most` neighbouring words."""
    for start in range(len(words)):
        for stop in range(start + 1, min(start + most, len(words)) + 1):
            yield tuple(words[start:stop])


def _length(name: str) -> int:
    return len(name.split())


def _denies(span: str, name: str) -> bool:
    """Whether one is the other with a syllable in front that turns its sense round."""
    return any(span == denial + name or name == denial + span for denial in _DENIALS)


def _likeness(one: str, other: str) -> float:
    """How alike two spellings are, 0 to 1 (Ratcliff and Obershelp's measure)."""
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    return matcher.ratio() if matcher.real_quick_ratio() >= CLOSE else 0.0
