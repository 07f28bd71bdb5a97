"""The tokenizer's words: captions, paraphrases and questions, and real radiology reports."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from transformers import CLIPTokenizer

from prismlib.captions import EDIT_PROMPTS, OTHER_WORDS, TEMPLATES, caption, paraphrase
from prismlib.captions.reports import read_reports
from prismlib.captions.wordings import ask
from prismlib.cohorts.labels import ATTRIBUTES
from prismlib.models.tokenizers import overlong, train_tokenizer


def learned_tokenizer(
    table: pd.DataFrame, seed: int, paraphrases: int, vocabulary: int
) -> tuple[CLIPTokenizer, dict[str, Any]]:
    """A tokenizer of a table's captions and of real reports, and what is known of it."""
    texts = list(caption_corpus(table, np.random.default_rng(seed), paraphrases))
    tokenizer = train_tokenizer(_with_reports(texts), vocabulary)
    distinct = sorted(set(texts))
    return tokenizer, {
        "texts": len(texts),
        "distinct_texts": len(distinct),
        "vocabulary": len(tokenizer),
        "longest_text_tokens": max(len(ids) for ids in tokenizer(distinct)["input_ids"]),
        "texts_cut": overlong(tokenizer, distinct),
    }


def caption_corpus(
    table: pd.DataFrame, rng: np.random.Generator, paraphrases: int = 8
) -> Iterator[str]:
    """What is said of a table's rows, and asked: captions, paraphrases, questions, edit prompts."""
    for row in table.to_dict("records"):
        yield from (caption(row, template) for template in TEMPLATES)
        yield from (paraphrase(row, rng) for _ in range(paraphrases))
    for edit in (*EDIT_PROMPTS.values(), *OTHER_WORDS.values()):
        yield from (edit.source, edit.target) * 2
    for _ in range(len(table)):
        yield from ask(ATTRIBUTES[int(rng.integers(len(ATTRIBUTES)))], rng)


def _with_reports(captions: Iterable[str]) -> Iterator[str]:
    yield from captions
    yield from read_reports()
