"""The tokenizer: byte-level BPE as CLIP's, with a vocabulary for captions of radiographs."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, trainers
from transformers import CLIPTokenizer

from prismlib.errors import UsageError
from prismlib.models.architectures import MAX_TOKENS, VOCABULARY
from prismlib.models.weights import written_folder

START, END = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> CLIPTokenizer:
    """Learn a vocabulary from texts; any text can be written in it, if need be byte by byte.

    Words are split and lower-cased exactly as `transformers.CLIPTokenizer` does it.
    """
    plain = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    learner.normalizer = plain.normalizer
    learner.pre_tokenizer = plain.pre_tokenizer
    learner.decoder = decoders.ByteLevel()
    alphabet = _byte_alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=max(vocabulary - 2 - len(alphabet), len(alphabet) + 1),
        initial_alphabet=alphabet,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
        limit_alphabet=len(alphabet),
        min_frequency=2,
    )
    learner.train_from_iterator(texts, trainer)
    merges: list[Any] = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    return _assemble(alphabet, merges, vocabulary)


def _byte_alphabet() -> list[str]:
    """The 256 printable characters that stand for bytes in byte-level BPE."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def _assemble(
    alphabet: Sequence[str], merges: Sequence[tuple[str, str]], vocabulary: int
) -> CLIPTokenizer:
    """CLIP's order of the vocabulary: bytes, bytes that end a word, merges, start, end."""
    tokens = [*alphabet, *(character + END_OF_WORD for character in alphabet)]
    known = set(tokens)
    kept: Any = []
    for left, right in merges:
        if len(tokens) + 2 >= vocabulary or left not in known or right not in known:
            continue
        kept.append((left, right))
        if left + right not in known:
            known.add(left + right)
            tokens.append(left + right)
    tokens += [START, END]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=kept,
        model_max_length=MAX_TOKENS,
    )


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Save as a transformers folder, with the classic `vocab.json` and `merges.txt` beside."""
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    with written_folder(folder) as temporary:
        tokenizer.save_pretrained(temporary)
        model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
        vocabulary = json.dumps(model["vocab"], ensure_ascii=False)
        (temporary / "vocab.json").write_text(vocabulary + "\n", encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"])]
        (temporary / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_length(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> None:
    """Raise UsageError, naming the words past the limit, if a prompt has too many tokens."""
    limit = tokenizer.model_max_length
    for prompt in prompts:
        encoded = tokenizer(prompt, truncation=False, return_offsets_mapping=True, verbose=False)
        length = len(encoded["input_ids"])
        if length <= limit:
            continue
        first = encoded["offset_mapping"][limit - 1][0]
        start = prompt.rfind(" ", 0, first + 1) + 1
        raise UsageError(
            f"a prompt of {length} tokens, expected at most {limit}; past the limit "
            f"are the words {prompt[start:]!r}: shorten it, or allow truncation"
        )


def overlong(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> int:
    """How many prompts have more tokens than the tokenizer's limit, and would be cut."""
    encoded = tokenizer(list(prompts), truncation=False, verbose=False)["input_ids"]
    return sum(len(ids) > tokenizer.model_max_length for ids in encoded)


def tokenize(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """Ids of prompts, padded and cut to the tokenizer's 77."""
    return tokenizer(
        list(prompts),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
    )["input_ids"]
