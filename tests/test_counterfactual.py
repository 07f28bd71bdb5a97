"""What an edit promises, on a tiny random Stable Diffusion."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib.editing.alignment import s_clip
from prismlib.editing.composition import SHARES
from prismlib.editing.counterfactual import (
    CONTROLS,
    OTHERS,
    RECIPES,
    Recipe,
    edit,
    find_recipe,
)
from prismlib.editing.masks import Region
from prismlib.editing.reading import Reading
from prismlib.editing.recipe import Insistence
from prismlib.errors import UsageError

SOURCES = [
    "chest xray of the patient with lots of medical devices",
    "chest x-ray of the patient with severe pleural effusion",
    "an x-ray with severe pleural effusion",
]
TARGETS = [
    "chest xray of the patient without medical devices",
    "chest x-ray of the patient with no finding",
    "an x-ray with no pleural effusion",
]
PAPER = replace(RECIPES["paper"], steps=4)
FAST = replace(RECIPES["fast"], steps=4, residual=False, target_margin=None, insist=None)
DIRECT = Recipe("direct", "direct", 4, 5.0, "prompt-to-prompt", 0.2, 0.2)
SHARED = replace(DIRECT, name="shared", inversion="direct-shared")
STEERED = replace(SHARED, name="steered", negative="source")
NULL_TEXT = replace(DIRECT, name="null-text", inversion="null-text", inner_steps=2)
FRIENDLY = replace(DIRECT, name="edit-friendly", inversion="edit-friendly", strength=0.75)
VIRTUAL = replace(DIRECT, name="virtual", inversion="virtual")
DELTA = replace(DIRECT, name="delta", inversion="delta", negative="source")
LEAST = replace(DELTA, name="least", residual=True, residual_floor=0.1, target_margin=0.0)
ALL = [
    PAPER,
    FAST,
    DIRECT,
    SHARED,
    STEERED,
    replace(PAPER, negative="source"),
    replace(FAST, residual=True),
    replace(PAPER, name="negative-prompt", inversion="negative-prompt", negative="source"),
    NULL_TEXT,
    FRIENDLY,
    VIRTUAL,
    DELTA,
    LEAST,
    replace(VIRTUAL, name="insisting", insist=Insistence(9.0, 1.0, margin=0.0)),
    replace(PAPER, name="sdedit", inversion="noise", strength=0.75),
    replace(SHARED, name="blended", blend=0.3, word_weight=2.0),
    replace(VIRTUAL, name="context", context=True),
    replace(FRIENDLY, name="attention mask", mask="attention"),
    replace(FRIENDLY, name="difference mask", mask="difference"),
    replace(OTHERS["imagic"], steps=2, inner_steps=20, tuning_steps=2, interpolation=1.0),
]


@pytest.fixture(scope="module")
def images():
    return list(np.random.default_rng(0).random((3, 64, 64), dtype=np.float32))


def autoencoded(model, image):
    return model.decode(model.encode(torch.from_numpy(image)[None, None]))[0, 0].numpy()


def assert_images_equal(got, expected, tolerance=1e-4):
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: f"{recipe.name}-{recipe.negative}")
def test_a_batch_is_its_single_edits(model, encoder, images, recipe):
    together = edit(model, encoder, images, SOURCES, TARGETS, recipe, batch_size=3)
    alone = edit(model, encoder, images, SOURCES, TARGETS, recipe, batch_size=1)
    for one, many, image in zip(alone, together, images, strict=True):
        assert_images_equal(many.image, one.image)
        assert_images_equal(many.reconstruction, one.reconstruction)
        assert many.s_clip == pytest.approx(one.s_clip, abs=1e-2)
        assert many.nfe == one.nfe
        assert many.factual is image


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: f"{recipe.name}-{recipe.negative}")
def test_images_stay_images(model, encoder, images, recipe):
    for result in edit(model, encoder, images, SOURCES, TARGETS, recipe):
        for image in (result.image, result.reconstruction):
            assert image.shape == (64, 64) and image.dtype == np.float32
            assert image.min() >= 0 and image.max() <= 1
        np.testing.assert_array_equal(result.difference, result.image - result.factual)
        assert result.seconds > 0


@pytest.mark.parametrize(
    "recipe", [PAPER, SHARED, STEERED, FRIENDLY, VIRTUAL, DELTA], ids=lambda recipe: recipe.name
)
def test_the_source_prompt_as_target_changes_nothing(model, encoder, images, recipe):
    for result in edit(model, encoder, images, SOURCES, SOURCES, recipe):
        assert_images_equal(result.image, result.reconstruction)
        assert result.s_clip == 0.0 and not result.passed


def test_the_source_prompt_as_target_with_the_residual_is_the_factual_image(model, encoder, images):
    for recipe in (PAPER, SHARED, FRIENDLY, VIRTUAL, DELTA, LEAST):
        recipe = replace(recipe, residual=True)
        for result in edit(model, encoder, images, SOURCES, SOURCES, recipe):
            assert_images_equal(result.image, result.factual)


@pytest.mark.parametrize("recipe", [DIRECT, SHARED, STEERED], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("steps", [2, 5])
def test_direct_inversions_source_branch_is_the_autoencoded_image(
    model, encoder, images, recipe, steps
):
    recipe = replace(recipe, steps=steps)
    for result in edit(model, encoder, images, SOURCES, TARGETS, recipe):
        assert_images_equal(result.reconstruction, autoencoded(model, result.factual))


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: f"{recipe.name}-{recipe.negative}")
def test_another_target_changes_something(model, encoder, images, recipe):
    for result in edit(model, encoder, images, SOURCES, TARGETS, recipe):
        reference = result.factual if recipe.residual else result.reconstruction
        assert np.abs(result.image - reference).max() > 1e-3


def test_attention_control_matters(model, encoder, images):
    free = edit(model, encoder, images, SOURCES, TARGETS, replace(DIRECT, attention="none"))
    held = edit(model, encoder, images, SOURCES, TARGETS, replace(DIRECT, cross_replace=1.0))
    for a, b in zip(free, held, strict=True):
        assert np.abs(a.image - b.image).max() > 1e-4


@pytest.mark.parametrize(("floor", "limit"), [(0.0, None), (0.05, None), (0.0, 0.01)])
def test_the_residual_is_factual_plus_edited_minus_reconstruction(
    model, encoder, images, floor, limit
):
    chosen = replace(
        FAST, residual_floor=floor, residual_limit=limit, only_darker=limit is not None
    )
    plain = edit(model, encoder, images, SOURCES, TARGETS, chosen)
    composed = edit(model, encoder, images, SOURCES, TARGETS, replace(chosen, residual=True))
    for a, b in zip(plain, composed, strict=True):
        assert_images_equal(b.image, a.composed())
        if not floor and limit is None:
            change = a.image - a.reconstruction
            assert_images_equal(b.image, np.clip(a.factual + change, 0.0, 1.0))


def test_what_is_enough_decides_how_much_is_kept(model, encoder, images):
    """At a margin between those of all floors, the highest floor that has it."""
    floors = [share * LEAST.residual_floor for share in SHARES]
    plain = [replace(LEAST, target_margin=None, residual_floor=floor) for floor in floors]
    tried = [edit(model, encoder, images, SOURCES, TARGETS, one) for one in plain]
    reading = Reading(encoder, encoder.embed_texts(SOURCES), encoder.embed_texts(TARGETS))
    seen = [torch.from_numpy(np.stack([one.image for one in made]))[:, None] for made in tried]
    margins = torch.stack([reading.margins(each) for each in seen])
    for target_margin in (-2.0, float(margins.median()), 2.0):
        chosen = edit(
            model, encoder, images, SOURCES, TARGETS, replace(LEAST, target_margin=target_margin)
        )
        for row, one in enumerate(chosen):
            place = int((margins[:, row] >= target_margin).int().argmax())
            assert_images_equal(one.image, tried[place][row].image)
            assert one.floor == floors[place]
        plain = replace(LEAST, target_margin=target_margin, residual=False)
        bare = edit(model, encoder, images, SOURCES, TARGETS, plain)
        for one, other in zip(chosen, bare, strict=True):
            assert_images_equal(other.composed(), one.image)


FIRM = Insistence(margin=0.0, guidance_scale=9.0, detail=1.0)


PLAIN = replace(VIRTUAL, name="insisting", residual=True)  # it is the composed image that is read


def insisting(margin):
    return replace(PLAIN, insist=replace(FIRM, margin=margin))


def test_who_is_read_as_asked_is_edited_once(model, encoder, images):
    plain = edit(model, encoder, images, SOURCES, TARGETS, PLAIN)
    content = edit(model, encoder, images, SOURCES, TARGETS, insisting(-2.0))
    for one, other in zip(content, plain, strict=True):
        assert_images_equal(one.image, other.image)
        assert (one.nfe, one.margin, one.insisted) == (other.nfe, other.margin, False)


def test_insisting_keeps_the_one_that_is_nearer_and_counts_both(model, encoder, images):
    recipe = insisting(2.0)  # nobody is ever read so
    once = edit(model, encoder, images, SOURCES, TARGETS, PLAIN)
    firm = edit(model, encoder, images, SOURCES, TARGETS, recipe.firmly)
    made = edit(model, encoder, images, SOURCES, TARGETS, recipe, batch_size=2)
    for first, second, one in zip(once, firm, made, strict=True):
        assert one.insisted == (second.margin > first.margin)
        assert one.margin == pytest.approx(max(first.margin, second.margin), abs=1e-5)
        assert_images_equal(one.image, (second if one.insisted else first).image)
        assert one.nfe == first.nfe + second.nfe and one.recipe == recipe
    assert {one.insisted for one in made} == {True, False}  # else half of it is not tested


def test_an_insistence_takes_the_place_of_guidance_and_detail():
    recipe = replace(PLAIN, mask="given", insist=Insistence(9.0, 0.3, margin=0.1))
    assert recipe.firmly == replace(PLAIN, mask="given", guidance_scale=9.0, detail=0.3)


def test_it_is_the_composed_image_that_is_read(model, encoder, images):
    """Whether a recipe hands the composed image out or not, the same edit is kept."""
    whole = replace(insisting(2.0), residual_limit=0.01)
    made = edit(model, encoder, images, SOURCES, TARGETS, whole)
    bare = edit(model, encoder, images, SOURCES, TARGETS, replace(whole, residual=False))
    texts = encoder.embed_texts(SOURCES), encoder.embed_texts(TARGETS)
    shown = torch.stack([torch.from_numpy(one.image)[None] for one in made])
    margins = Reading(encoder, *texts).margins(shown)
    for one, other, margin in zip(made, bare, margins, strict=True):
        assert one.margin == pytest.approx(float(margin), abs=1e-5)
        assert (one.margin, one.insisted) == (pytest.approx(other.margin, abs=1e-5), other.insisted)
        assert_images_equal(one.image, other.composed())


def test_a_given_region_goes_with_its_image_when_it_is_edited_again(model, encoder, images):
    regions = [Region(np.zeros_like(image, dtype=bool)) for image in images]
    for row, region in enumerate(regions):
        region.edit[: 16 * (row + 1)] = True
    given = replace(insisting(2.0), attention="none", mask="given")
    together = edit(model, encoder, images, SOURCES, TARGETS, given, regions=regions)
    for row, one in enumerate(together):
        rest = [images[row]], [SOURCES[row]], [TARGETS[row]]
        (alone,) = edit(model, encoder, *rest, given, regions=[regions[row]])
        assert_images_equal(one.image, alone.image)


def test_nobody_insists_on_no_change_or_where_no_mask_was_found(model, encoder, images):
    same = edit(model, encoder, images, SOURCES, SOURCES, insisting(2.0))
    once = edit(model, encoder, images, SOURCES, SOURCES, PLAIN)
    assert [one.nfe for one in same] == [one.nfe for one in once]
    unbounded = replace(insisting(2.0), attention="none", mask="grounded")  # it has no grounding
    made = edit(model, encoder, images, SOURCES, TARGETS, unbounded)
    assert [one.mask_share for one in made] == [1.0] * 3
    assert [one.nfe for one in made] == [one.nfe for one in once]


def test_only_those_who_are_not_read_as_asked_are_edited_again(model, encoder, images):
    once = edit(model, encoder, images, SOURCES, TARGETS, PLAIN)
    middle = sorted(one.margin for one in once)[1]
    made = edit(model, encoder, images, SOURCES, TARGETS, insisting(middle - 1e-4))
    assert [one.nfe > first.nfe for one, first in zip(made, once, strict=True)] == [
        first.margin < middle - 1e-4 for first in once
    ]
    assert sum(one.nfe > first.nfe for one, first in zip(made, once, strict=True)) == 1


def test_where_settings_for_objects_hold_nobody_insists(model, encoder, images):
    objects = replace(insisting(2.0), object_scale=3.0, object_detail=1.0)
    devices, effusion, _ = edit(model, encoder, images, SOURCES, TARGETS, objects)
    assert effusion.nfe == 2 * devices.nfe and not devices.insisted


@pytest.mark.parametrize(
    "wrong",
    [
        {"inversion": "identity"},
        {"sweep": (0.5,)},
        {"insist": replace(FIRM, margin=3.0)},
        {"insist": replace(FIRM, detail=1.5)},
    ],
)
def test_insistence_that_cannot_be_is_refused(wrong):
    with pytest.raises(UsageError, match="insisting"):
        replace(insisting(0.0), **{"attention": "none", **wrong})


def test_evaluations_are_counted_where_they_are_made(model, encoder, images, evaluations):
    for recipe in [*ALL, *CONTROLS.values(), replace(PAPER, guidance_scale=1.0)]:
        evaluations.clear()
        results = edit(model, encoder, images, SOURCES, TARGETS, recipe)
        assert {result.nfe for result in results} == {sum(evaluations) // 3}
    assert results[0].nfe == 3 * 4


def test_control_recipes_edit_nothing(model, encoder, images):
    for result in edit(model, encoder, images, SOURCES, TARGETS, CONTROLS["identity"]):
        np.testing.assert_array_equal(result.image, result.factual)
        assert result.nfe == 0 and result.s_clip == 0.0
    for result in edit(model, encoder, images, SOURCES, TARGETS, CONTROLS["autoencoder"]):
        assert_images_equal(result.image, autoencoded(model, result.factual))


def test_the_threshold_decides_what_passes(model, encoder, images):
    for threshold in (-1.0, 1.0):
        recipe = replace(FAST, s_clip_threshold=threshold)
        results = edit(model, encoder, images, SOURCES, TARGETS, recipe)
        assert [r.passed for r in results] == [r.s_clip >= threshold for r in results]
        assert {r.passed for r in results} == {threshold < 0}


def test_processors_come_back_when_an_edit_fails(model, encoder, images, monkeypatch):
    before = model.unet.attn_processors
    true = type(model).predict_noise

    def failing(self, latents, timestep, embeddings):
        if self.unet.attn_processors[next(iter(before))] is not next(iter(before.values())):
            raise RuntimeError("out of memory")
        return true(self, latents, timestep, embeddings)

    monkeypatch.setattr(type(model), "predict_noise", failing)
    with pytest.raises(RuntimeError):
        edit(model, encoder, images, SOURCES, TARGETS, DIRECT)
    assert all(model.unet.attn_processors[name] is before[name] for name in before)


def test_wrong_requests_are_refused(model, encoder, images):
    with pytest.raises(UsageError, match="2 source"):
        edit(model, encoder, images, SOURCES[:2], TARGETS, FAST)
    with pytest.raises(UsageError, match="subject 1: got an empty prompt"):
        edit(model, encoder, images, SOURCES, [TARGETS[0], "  ", TARGETS[2]], FAST)
    with pytest.raises(UsageError, match="sizes"):
        edit(model, encoder, [*images[:2], images[2][:32]], SOURCES, TARGETS, FAST)
    with pytest.raises(UsageError, match="batch size"):
        edit(model, encoder, images, SOURCES, TARGETS, FAST, batch_size=0)
    long = "chest xray " * 50
    with pytest.raises(UsageError):
        edit(model, encoder, images[:1], [SOURCES[0]], [long], FAST)
    assert len(edit(model, encoder, images[:1], [SOURCES[0]], [long], FAST, truncate=True)) == 1
    assert edit(model, encoder, [], [], [], FAST) == []


def test_recipes_are_found_by_name_and_checked():
    assert find_recipe("paper") is RECIPES["paper"]
    with pytest.raises(UsageError, match="'paper'"):
        find_recipe("papper")
    with pytest.raises(UsageError, match="inversion"):
        Recipe("x", "null", 5, 1.0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="share"):
        replace(FAST, cross_replace=1.5)
    with pytest.raises(UsageError, match="steps"):
        replace(FAST, steps=0)
    with pytest.raises(UsageError, match=r"target_margin is 0\.1; expected None"):
        replace(DELTA, target_margin=0.1)


def test_the_papers_recipe_is_the_papers():
    recipe = RECIPES["paper"]
    assert (recipe.inversion, recipe.attention, recipe.residual) == ("ddim", "none", False)
    assert (recipe.steps, recipe.s_clip_threshold) == (50, 0.1)


VECTORS = st.lists(st.tuples(*[st.floats(-3, 3, width=32)] * 4), min_size=1, max_size=5).map(
    lambda rows: torch.tensor(rows)
)


@given(delta_x=VECTORS, delta_t=VECTORS)
@settings(deadline=None)
def test_s_clip_is_the_cosine_of_equation_1(delta_x, delta_t):
    n = min(len(delta_x), len(delta_t))
    delta_x, delta_t = delta_x[:n].double(), delta_t[:n].double()
    before = torch.ones(n, 4).double()
    got = s_clip(before, before + delta_x, before, before + delta_t)
    for row in range(n):
        x, t = delta_x[row].numpy(), delta_t[row].numpy()
        lengths = np.linalg.norm(x), np.linalg.norm(t)
        if min(lengths) < 1e-4:
            continue
        assert got[row] == pytest.approx(x @ t / (lengths[0] * lengths[1]), abs=1e-5)


def test_s_clip_of_no_change_is_zero_and_of_the_opposite_is_minus_one():
    a, b = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    assert s_clip(a, a, a, b).tolist() == [0, 0, 0]
    assert s_clip(a, b, a, a * (1 + 1e-8)).tolist() == [0, 0, 0]
    torch.testing.assert_close(s_clip(a, b, b, a), torch.full((3,), -1.0).double())
