"""What two prompts leave unsaid, said of each radiograph as the image-text encoder sees it.

A prompt that denies one thing and is silent on the rest asks for the average radiograph without
that thing. Patients with devices are the sicker ones, so "no devices" then clears lungs too. Said
in both prompts, what else is there is held while the one thing changes, as a covariate is that
blocks the path of a confounder (Pearl 2009, Causality, section 3.3). The encoder is asked by
language alone, of each of the paper's attributes that neither prompt speaks of: does the sentence
or its negation lie nearer?
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.functional import normalize

from prismlib.captions.claims import named
from prismlib.captions.wordings import TRAINED, names_of
from prismlib.cohorts.labels import SHOWN_ATTRIBUTES
from prismlib.models.tokenizers import overlong
from prismlib.models.zero_shot import margins

if TYPE_CHECKING:
    from prismlib.models.clip import ImageTextEncoder


def contexts(
    encoder: "ImageTextEncoder",
    embeddings: Tensor,
    sources: Sequence[str],
    targets: Sequence[str],
    tokenizer: Any,
) -> list[str]:
    """For each image the words that complete its source and its target prompt alike.

    `embeddings` (B, D) are the encoder's of the images. Such as ", with pleural effusion, with no
    cardiomegaly"; empty where nothing is left unsaid, and where a prompt with them would be longer
    than `tokenizer`, the text encoder's, takes.
    """
    nearer = margins(encoder, normalize(embeddings, dim=-1).cpu(), TRAINED[0])
    found = []
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        spoken_of = named(source) | named(target)
        words = "".join(
            f", with {'' if nearer[name][row] > 0 else 'no '}{names_of(name)[0]}"
            for name in SHOWN_ATTRIBUTES
            if name not in spoken_of
        )
        long = overlong(tokenizer, [source + words, target + words])
        found.append("" if long else words)
    return found
