"""Prompt alignment and attention control, against their definitions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_stable_diffusion import tiny_tokenizer
from torch.nn.functional import scaled_dot_product_attention

from prismlib.editing.attention import PromptToPrompt, attention_maps, replaced_maps
from prismlib.editing.prompts import Alignment, align_prompts, align_tokens, split_words

LENGTH = 77
WORDS = st.lists(
    st.tuples(st.integers(0, 4)) | st.tuples(st.integers(5, 6), st.just(7)), max_size=9
)
SOURCE = "chest xray of the patient with lots of medical devices"
TARGET = "chest xray of the patient without medical devices"


def tokens(words):
    return [0, *(token for word in words for token in word), 1]


@given(words=WORDS)
@settings(deadline=None)
def test_a_prompt_aligned_with_itself_is_the_identity(words):
    alignment = align_tokens(words, words, LENGTH)
    assert torch.equal(alignment.mapper, torch.eye(LENGTH))
    assert torch.equal(alignment.aligned, torch.ones(LENGTH))


@given(source=WORDS, target=WORDS)
@settings(deadline=None)
def test_aligned_target_tokens_have_sources_and_others_have_none(source, target):
    alignment = align_tokens(source, target, LENGTH)
    assert torch.equal(alignment.mapper.sum(0) > 0, alignment.aligned == 1)
    assert set(alignment.aligned.tolist()) <= {0.0, 1.0}


@given(source=WORDS, target=WORDS)
@settings(deadline=None)
def test_no_attention_is_made_out_of_nothing(source, target):
    given_away = align_tokens(source, target, LENGTH).mapper.sum(1)
    assert (given_away <= 1 + 1e-6).all()
    if len(source) == len(target) and len(tokens(source)) == len(tokens(target)):
        torch.testing.assert_close(given_away, torch.ones(LENGTH))


@given(source=WORDS, target=WORDS)
@settings(deadline=None)
def test_refinement_keeps_order_and_pairs_equal_tokens(source, target):
    if len(source) == len(target):
        target = [*target, (8,)]
    alignment = align_tokens(source, target, LENGTH)
    from_tokens, to_tokens = tokens(source), tokens(target)
    inner = alignment.mapper[: len(from_tokens) - 1, : len(to_tokens) - 1]
    pairs = inner.nonzero().tolist()
    assert all(from_tokens[i] == to_tokens[j] for i, j in pairs)
    assert [i for i, _ in pairs] == sorted({i for i, _ in pairs})
    assert [j for _, j in pairs] == sorted({j for _, j in pairs})


@given(common=WORDS, extra=WORDS)
@settings(deadline=None)
def test_words_added_at_the_end_leave_all_common_words_aligned(common, extra):
    alignment = align_tokens(common, [*common, *extra, (9,)], LENGTH)
    kept = 1 + sum(len(word) for word in common)
    assert torch.equal(alignment.mapper[:kept, :kept], torch.eye(kept))


@given(source=WORDS, target=WORDS)
@settings(deadline=None)
def test_the_closing_tokens_and_the_padding_meet(source, target):
    alignment = align_tokens(source, target, LENGTH)
    ends = len(tokens(source)) - 1, len(tokens(target)) - 1
    assert alignment.mapper[ends] == 1
    assert alignment.mapper[ends[0] :, : ends[1]].sum() == 0
    assert alignment.mapper[: ends[0], ends[1] :].sum() == 0


@given(source=WORDS, target=WORDS, length=st.integers(2, 8))
@settings(deadline=None)
def test_prompts_longer_than_the_context_are_aligned_as_far_as_it_goes(source, target, length):
    alignment = align_tokens(source, target, length)
    assert alignment.mapper.shape == (length, length)
    assert alignment.mapper[0, 0] == 1 and alignment.aligned[-1] == 1


def test_a_replaced_word_of_other_length_shares_out_its_attention():
    alignment = align_tokens([(3,), (4, 5)], [(3,), (6, 7, 8)], 10)
    assert torch.allclose(alignment.mapper[2, 2:5], torch.full((3,), 1 / 3))
    assert torch.allclose(alignment.mapper[3, 2:5], torch.full((3,), 1 / 3))


def test_words_are_spelt_as_the_whole_prompt_is():
    tokenizer = tiny_tokenizer()
    prompt = "Chest X-ray, cardiomegaly; no pleural effusion (2 devices)"
    words = split_words(tokenizer, prompt)
    whole = tokenizer(prompt, add_special_tokens=False).input_ids
    assert [token for word in words for token in word] == whole
    assert any(len(word) > 1 for word in words)
    assert len(words) == 14


def test_a_tokenizer_without_word_borders_is_aligned_token_by_token():
    class Letters:
        """Spells a prompt as one running text: words depend on what stands before them."""

        def __call__(self, text, add_special_tokens=True):
            return type("Encoding", (), {"input_ids": [ord(letter) for letter in text]})

    assert split_words(Letters(), "a b") == [(97,), (32,), (98,)]


def test_the_papers_prompts_share_their_words():
    tokenizer = tiny_tokenizer()
    alignment = align_prompts(tokenizer, [SOURCE], [TARGET], LENGTH)
    source_ids = tokenizer(SOURCE).input_ids
    target_ids = tokenizer(TARGET).input_ids
    before = len(tokenizer("chest xray of the patient").input_ids) - 1
    spelling = tokenizer("without", add_special_tokens=False).input_ids
    own = (alignment.aligned[0] == 0).nonzero().flatten().tolist()
    assert own == list(range(before, before + len(spelling)))
    for j in range(len(target_ids)):
        if j not in own:
            i = int(alignment.mapper[0, :, j].argmax())
            assert source_ids[i] == target_ids[j]


def batched(one, n):
    """One alignment for each of n pairs."""
    return Alignment(
        one.mapper.expand(n, -1, -1),
        one.aligned.expand(n, -1),
        one.changed[:, None].expand(-1, n, -1),
        one.subjects[:, None].expand(-1, n, -1),
    )


def test_attention_maps_are_those_of_scaled_dot_product_attention():
    query, key, value = torch.randn(3, 2, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    maps = attention_maps(query, key)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 4, 6))
    torch.testing.assert_close(maps @ value, scaled_dot_product_attention(query, key, value))


def test_replaced_maps_follow_the_equation():
    source, target = torch.rand(2, 2, 3, 5, LENGTH, generator=torch.Generator().manual_seed(0))
    one = align_tokens([(2,), (3,), (4,)], [(2,), (5,), (6,), (4,)], LENGTH)
    alignment = batched(one, 2)
    maps = replaced_maps(source, target, alignment)
    for j, i in {0: 0, 1: 1, 4: 3, 5: 4, 6: 6, 7: 7}.items():
        torch.testing.assert_close(maps[..., j], source[..., i])
    for j in (2, 3):
        torch.testing.assert_close(maps[..., j], target[..., j])


def pair_rows(model, seed=0):
    """Latents and embeddings of two unconditional rows, two sources and their two targets."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(6, 4, 8, 8, generator=generator)
    sources, targets = [SOURCE, "severe cardiomegaly"], [TARGET, "no cardiomegaly"]
    embeddings = model.embed(["", "", *sources, *targets])
    alignment = align_prompts(model.tokenizer, sources, targets, LENGTH)
    return latents, embeddings, alignment


def test_only_the_target_rows_are_touched(model):
    latents, embeddings, alignment = pair_rows(model)
    plain = model.predict_noise(latents, 500, embeddings)
    control = PromptToPrompt(alignment, cross_replace=1.0, self_replace=1.0)
    with control.attached(model.unet, 0, 1):
        controlled = model.predict_noise(latents, 500, embeddings)
    torch.testing.assert_close(controlled[:4], plain[:4], rtol=1e-4, atol=1e-5)
    assert ((controlled - plain)[4:].abs().amax((1, 2, 3)) > 1e-4).all()


@pytest.mark.parametrize("cross, self_", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_equal_pairs_see_no_difference(model, cross, self_):
    latents, embeddings, _ = pair_rows(model)
    latents[4:], embeddings[4:] = latents[2:4], embeddings[2:4]
    prompts = [SOURCE, "severe cardiomegaly"]
    alignment = align_prompts(model.tokenizer, prompts, prompts, LENGTH)
    plain = model.predict_noise(latents, 500, embeddings)
    with PromptToPrompt(alignment, cross, self_).attached(model.unet, 0, 1):
        controlled = model.predict_noise(latents, 500, embeddings)
    torch.testing.assert_close(controlled, plain, rtol=1e-4, atol=1e-5)


def test_a_controlled_layer_is_what_its_definition_says(model):
    """One cross- and one self-attention layer, recomputed row by row and head by head."""
    block = model.unet.mid_block.attentions[0].transformer_blocks[0]
    _, embeddings, alignment = pair_rows(model)
    hidden = torch.randn(6, 4, 16, generator=torch.Generator().manual_seed(3))
    with PromptToPrompt(alignment, 1.0, 1.0).attached(model.unet, 0, 1), torch.no_grad():
        cross, self_ = block.attn2(hidden, embeddings), block.attn1(hidden)
    for row in range(6):
        for layer, context, got in (
            (block.attn2, embeddings, cross[row]),
            (block.attn1, hidden, self_[row]),
        ):
            torch.testing.assert_close(
                by_definition(layer, hidden, context, row, alignment), got, rtol=1e-4, atol=1e-5
            )


@torch.no_grad()
def by_definition(layer, hidden, context, row, alignment):
    size = layer.to_q.out_features // layer.heads
    heads = []
    for part in torch.arange(layer.heads * size).split(size):

        def maps(row, part=part, size=size):
            query, key = layer.to_q(hidden[row])[:, part], layer.to_k(context[row])[:, part]
            return torch.softmax(query @ key.T / size**0.5, -1)

        weights = maps(row)
        if row >= 4 and context is hidden:
            weights = maps(row - 2)
        elif row >= 4:
            own = weights * (1 - alignment.aligned[row - 4])
            weights = maps(row - 2) @ alignment.mapper[row - 4] + own
        heads.append(weights @ layer.to_v(context[row])[:, part])
    return layer.to_out[0](torch.cat(heads, -1))


def test_self_attention_is_replaced_at_coarse_resolutions_alone(model):
    latents, embeddings, alignment = pair_rows(model)
    plain = model.predict_noise(latents, 500, embeddings)
    with PromptToPrompt(alignment, 0.0, 1.0, coarse=1).attached(model.unet, 0, 1):
        fine_only = model.predict_noise(latents, 500, embeddings)
    torch.testing.assert_close(fine_only, plain, rtol=1e-5, atol=1e-6)


def test_each_replacement_lasts_for_its_share_of_the_steps():
    control = PromptToPrompt(align_tokens([], [], 1), 0.4, 0.6)
    replaced = [control.replaces(step, 10) for step in range(10)]
    assert replaced == [(True, True)] * 4 + [(False, True)] * 2 + [(False, False)] * 4


def test_the_original_processors_come_back(model):
    _, _, alignment = pair_rows(model)
    before = model.unet.attn_processors
    control = PromptToPrompt(alignment, 1.0, 1.0)
    with control.attached(model.unet, 0, 1):
        assert all(model.unet.attn_processors[name] is not before[name] for name in before)
    assert all(model.unet.attn_processors[name] is before[name] for name in before)
    with pytest.raises(RuntimeError), control.attached(model.unet, 0, 1):
        raise RuntimeError("the U-Net failed")
    assert all(model.unet.attn_processors[name] is before[name] for name in before)
