"""Prompt-to-prompt: let the edited image look where the original looked.

Hertz et al. 2022 (arXiv 2208.01626): source and target are sampled side by side, and in the early
steps the target's attention maps are replaced by the source's. Cross-attention maps say where in
the image each token acts; they are carried over from token to token through an alignment of the
two prompts. Self-attention maps say which parts of the image belong together; they are carried
over as they are, at coarse resolutions alone.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from prismlib.errors import PrismError

Word = tuple[int, ...]
"""A word as the tokenizer spells it: its token ids."""

COARSE = 16 * 16
"""The most positions at which self-attention is replaced (the authors' 16x16)."""


@dataclass(frozen=True)
class Alignment:
    """Which source tokens each target token takes its attention from.

    `mapper` (..., T, T): entry [i, j] is the share of source token i's attention that goes to
    target token j. `aligned` (..., T): 1 where target token j has a source, 0 where it keeps its
    own attention.
    """

    mapper: Tensor
    aligned: Tensor


def split_words(tokenizer: Any, prompt: str) -> list[Word]:
    """The prompt's words, each as its token ids, without special tokens.

    Byte-pair tokenizers spell a word in several tokens. Where spelling word by word does not give
    the tokens of the whole prompt, every token counts as a word.
    """
    ids = _ids(tokenizer, prompt)
    words = [_ids(tokenizer, word) for word in re.findall(r"\w+|[^\w\s]+", prompt)]
    if tuple(itertools.chain(*words)) == ids:
        return [word for word in words if word]
    return [(token,) for token in ids]


def align_tokens(
    source: Sequence[Word], target: Sequence[Word], length: int, prefix: int = 1
) -> Alignment:
    """Align two prompts in a context of `length` tokens, of which `prefix` open it.

    Prompts of equally many words are aligned word for word: a changed word inherits the attention
    of the word it replaces (Hertz et al., word swap). Otherwise the longest common subsequence is
    aligned, and new words keep their own attention (adding a new phrase). The closing token and
    the padding are aligned with each other. Words beyond the context are left out.
    """
    source_slots, source_tail = _slots(source, length, prefix)
    target_slots, target_tail = _slots(target, length, prefix)
    groups = [([slot], [slot]) for slot in range(prefix)]
    groups += [(source_slots[i], target_slots[j]) for i, j in _word_pairs(source, target)]
    groups += _tail_pairs(source_tail, target_tail)
    mapper, aligned = torch.zeros(length, length), torch.zeros(length)
    for from_slots, to_slots in groups:
        same_length = len(from_slots) == len(to_slots)
        for place, i in enumerate(from_slots):
            if same_length:
                mapper[i, to_slots[place]] = 1.0
            elif to_slots:
                mapper[i, to_slots] = 1.0 / len(to_slots)
        if from_slots:
            aligned[to_slots] = 1.0
    return Alignment(mapper, aligned)


def align_prompts(
    tokenizer: Any, sources: Sequence[str], targets: Sequence[str], length: int
) -> Alignment:
    """Align source prompts with their targets: `mapper` (B, T, T), `aligned` (B, T), T = length."""
    prefix = _prefix(tokenizer)
    pairs = [
        align_tokens(split_words(tokenizer, a), split_words(tokenizer, b), length, prefix)
        for a, b in zip(sources, targets, strict=True)
    ]
    return Alignment(
        torch.stack([pair.mapper for pair in pairs]), torch.stack([pair.aligned for pair in pairs])
    )


@dataclass(frozen=True)
class PromptToPrompt:
    """Attention control of a batch of B prompt pairs.

    A controlled evaluation of the U-Net must end in B source rows followed by their B target rows;
    rows before these (those of the unconditional branch) are left alone. `alignment` is batched,
    on the model's device.
    """

    alignment: Alignment
    cross_replace: float
    self_replace: float
    coarse: int = COARSE

    def replaces(self, step: int, steps: int) -> tuple[bool, bool]:
        """Whether cross- and self-attention are replaced in `step` of `steps`, counted from 0."""
        return step < round(self.cross_replace * steps), step < round(self.self_replace * steps)

    @contextmanager
    def attached(self, unet: UNet2DConditionModel, step: int, steps: int) -> Iterator[None]:
        """Replace the target rows' attention inside the block; put everything back after it."""
        cross, coarse_self = self.replaces(step, steps)
        if not (cross or coarse_self):
            yield
            return
        originals: dict[str, Any] = unet.attn_processors
        controllable = _controllable(unet)
        positions = self.coarse if coarse_self else 0
        processors: dict[str, Any] = {
            name: ReplacedAttention(original, self.alignment, cross, positions)
            if name in controllable
            else original
            for name, original in originals.items()
        }
        try:
            unet.set_attn_processor(dict(processors))
            yield
        finally:
            unet.set_attn_processor(dict(originals))


class ReplacedAttention:
    """A diffusers attention processor whose last rows attend as the rows before them do.

    Layers without anything to replace go through the original processor.
    """

    def __init__(
        self, original: Callable[..., Tensor], alignment: Alignment, cross: bool, coarse: int
    ) -> None:
        self.original = original
        self.alignment = alignment
        self.cross = cross
        self.coarse = coarse

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attend from hidden_states (N, positions, C) to the tokens, or to itself."""
        is_cross = encoder_hidden_states is not None
        replaced = self.cross if is_cross else hidden_states.shape[1] <= self.coarse
        if not replaced:
            return self.original(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        if attention_mask is not None:
            raise PrismError("got an attention mask; prompt-to-prompt expects a U-Net without one")
        context = encoder_hidden_states if is_cross else hidden_states
        query = _heads(attn, attn.to_q(hidden_states))
        key, value = _heads(attn, attn.to_k(context)), _heads(attn, attn.to_v(context))
        pairs = self.alignment.aligned.shape[0]
        source, target = slice(-2 * pairs, -pairs), slice(-pairs, None)
        free = scaled_dot_product_attention(query[:-pairs], key[:-pairs], value[:-pairs])
        if is_cross:
            maps = replaced_maps(
                attention_maps(query[source], key[source]),
                attention_maps(query[target], key[target]),
                self.alignment,
            )
            edited = maps @ value[target]
        else:
            edited = scaled_dot_product_attention(query[source], key[source], value[target])
        attended = torch.cat([free, edited]).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](attended))


def attention_maps(query: Tensor, key: Tensor) -> Tensor:
    """softmax(Q K' / sqrt(d)): (B, heads, positions, tokens), rows sum to 1."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return scores.float().softmax(-1).to(query.dtype)


def replaced_maps(source: Tensor, target: Tensor, alignment: Alignment) -> Tensor:
    """The target's cross-attention maps (B, heads, positions, tokens) with the source's put in.

    Hertz et al., section 3: M*_j = M_A(j) where token j has a source A(j), its own M*_j elsewhere.
    """
    mapper = alignment.mapper[:, None].to(source)
    aligned = alignment.aligned[:, None, None].to(source)
    return (source @ mapper) * aligned + target * (1 - aligned)


def _controllable(unet: UNet2DConditionModel) -> set[str]:
    """The processors' names of the transformer blocks' layers (not of old-style 2-D attention)."""
    return {
        f"{name}.processor"
        for name, module in unet.named_modules()
        if isinstance(module, Attention) and module.group_norm is None
    }


def _heads(attn: Attention, projected: Tensor) -> Tensor:
    """(N, positions, heads * d) to (N, heads, positions, d)."""
    return projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


def _ids(tokenizer: Any, text: str) -> Word:
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)


def _prefix(tokenizer: Any) -> int:
    """How many special tokens the tokenizer puts before a prompt."""
    plain, whole = _ids(tokenizer, "a"), tuple(tokenizer("a").input_ids)
    return next(i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)


def _slots(words: Sequence[Word], length: int, prefix: int) -> tuple[list[list[int]], list[int]]:
    """Each word's positions, and those of the closing token with the padding after it."""
    ends = list(itertools.accumulate((len(word) for word in words), initial=prefix))
    last = length - 1
    slots = [
        list(range(min(start, last), min(end, last))) for start, end in itertools.pairwise(ends)
    ]
    return slots, list(range(min(ends[-1], last), length))


def _tail_pairs(source: list[int], target: list[int]) -> list[tuple[list[int], list[int]]]:
    """One to one as far as the shorter tail goes; all that is left belongs to its last token."""
    common = min(len(source), len(target)) - 1
    single = [([i], [j]) for i, j in zip(source[:common], target[:common], strict=True)]
    return [*single, (source[common:], target[common:])]


def _word_pairs(source: Sequence[Word], target: Sequence[Word]) -> list[tuple[int, int]]:
    """Word for word if there are equally many; else the longest common subsequence."""
    if len(source) == len(target):
        return [(i, i) for i in range(len(source))]
    left = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i, j in itertools.product(reversed(range(len(source))), reversed(range(len(target)))):
        same = source[i] == target[j]
        left[i][j] = 1 + left[i + 1][j + 1] if same else max(left[i + 1][j], left[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(source) and j < len(target):
        if source[i] == target[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif left[i + 1][j] >= left[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs
