"""Table row to text: the paper's three templates and edit prompts, and paraphrases.

A caption is made from labels. The paper's edit prompts ("severe", "lots of", "without", "no ...")
hold words that its captions never have; paraphrases do, which changes the method and is said
wherever they are used.
"""

from prismlib.captions.claims import Claim, Description
from prismlib.captions.paraphrases import (
    DENIED,
    MOST_NAMED,
    PARAPHRASES,
    describe,
    paraphrase,
    say_one,
)
from prismlib.captions.templates import (
    EDIT_PROMPTS,
    LISTING_1,
    MENTIONED,
    NORMAL,
    ONE_THING,
    OTHER_WORDS,
    TEMPLATES,
    EditPrompt,
    Row,
    caption,
)

__all__ = (
    "DENIED",
    "EDIT_PROMPTS",
    "LISTING_1",
    "MENTIONED",
    "MOST_NAMED",
    "NORMAL",
    "ONE_THING",
    "OTHER_WORDS",
    "PARAPHRASES",
    "TEMPLATES",
    "Claim",
    "Description",
    "EditPrompt",
    "Row",
    "caption",
    "describe",
    "paraphrase",
    "say_one",
)
