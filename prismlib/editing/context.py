"""What two prompts leave unsaid, said of each radiograph as the image-text encoder sees it.

A prompt that denies one thing and is silent on the rest asks for the average radiograph without
that thing. Patients with devices are the sicker ones, so "no devices" then clears lungs too. Said
in both prompts, what else is there is held while the one thing changes, as a covariate is that
blocks the path of a confounder (Pearl 2009, Causality, section 3.3). The encoder is asked by
language alone, of each of the paper's attributes that neither prompt speaks of: does the sentence
or its negation lie nearer?

Fluid may lie over other disease of the same lung. Denied alone it takes that with it, so where an
effusion is taken away an edema is held too: the one other finding of the lung that the encoder
tells (development subjects with an effusion: AUC 0.89; lung opacity 0.61, consolidation 0.71). It
is not held where a heart is made smaller, be it beside an effusion: hearts fail where lungs are
wet, so that a prompt with both asks for a large one.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.functional import normalize

from prismlib.captions.claims import ENLARGED, named, taken_away
from prismlib.captions.wordings import TRAINED, names_of
from prismlib.cohorts.labels import SHOWN_ATTRIBUTES
from prismlib.models.tokenizers import overlong
from prismlib.models.zero_shot import margins

if TYPE_CHECKING:
    from prismlib.models.clip import ImageTextEncoder

BENEATH: Mapping[str, tuple[str, ...]] = MappingProxyType({"Pleural Effusion": ("Edema",)})
"""What is held besides `SHOWN_ATTRIBUTES` where a finding is taken away that may hide it."""


def contexts(
    encoder: "ImageTextEncoder",
    embeddings: Tensor,
    sources: Sequence[str],
    targets: Sequence[str],
    tokenizer: Any,
) -> list[str]:
    """For each image the words that complete its source and its target prompt alike.

    `embeddings` (B, D) are the encoder's of the images. Such as ", with pleural effusion, with no
    cardiomegaly"; empty where nothing is left unsaid. Where a prompt with them would be longer than
    `tokenizer`, the text encoder's, takes, what lies beneath is left out, then all of them.
    """
    pairs = list(zip(sources, targets, strict=True))
    beneath = [_beneath(*pair) for pair in pairs]
    asked = (*SHOWN_ATTRIBUTES, *dict.fromkeys(name for names in beneath for name in names))
    nearer = margins(encoder, normalize(embeddings, dim=-1).cpu(), TRAINED[0], asked)
    found = []
    for row, (source, target) in enumerate(pairs):
        for held in ((*SHOWN_ATTRIBUTES, *beneath[row]), SHOWN_ATTRIBUTES):
            unsaid = [name for name in held if name not in named(source) | named(target)]
            words = "".join(_said(name, bool(nearer[name][row] > 0)) for name in unsaid)
            if not overlong(tokenizer, [source + words, target + words]):
                break
        else:
            words = ""
        found.append(words)
    return found


def _beneath(source: str, target: str) -> list[str]:
    gone = taken_away(source, target)
    if ENLARGED & {*gone}:  # a word of edema would ask for them: nothing beneath is held
        return []
    return [held for name in gone for held in BENEATH.get(name, ())]


def _said(name: str, there: bool) -> str:
    return f", with {'' if there else 'no '}{names_of(name)[0]}"
