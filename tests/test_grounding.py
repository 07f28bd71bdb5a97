"""What a prompt pair takes away is looked for; the edit stays there, and leaves no ghost behind."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_stable_diffusion import save_tiny_prism

from prismlib.captions import EDIT_PROMPTS, ONE_THING
from prismlib.captions.claims import taken_away, takes_density
from prismlib.cli import main
from prismlib.editing.composition import Manner, composed, each_composed, manners
from prismlib.editing.counterfactual import OTHERS, RECIPES, Recipe, edit
from prismlib.editing.masks import LEAST, LIKELY, Region, grounded_masks
from prismlib.errors import PrismError, UsageError
from prismlib.models import grounding
from prismlib.models.pipeline import LatentDiffusion
from prismlib.models.records import read_records
from prismlib.models.weights import fingerprint

torch.set_num_threads(1)

DEVICES, EFFUSION = ONE_THING["devices"], ONE_THING["effusion"]
ADDED = EDIT_PROMPTS["add_devices"]
RECIPE = Recipe("grounded", "virtual", 4, 3.0, mask="grounded", negative="source", detail=0.5)
SMALL = ["--cohort-size", "3", "--held-out", "2", "--set", "steps=2", "--set", "batch_size=2"]


@pytest.mark.parametrize(
    ("source", "target", "names"),
    [
        (DEVICES.source, DEVICES.target, ("Support Devices",)),
        (EFFUSION.source, EFFUSION.target, ("Pleural Effusion",)),
        ("a patient with a pacemaker and ECG leads", "a patient", ("pacemaker", "ecg_leads")),
        (
            "an x-ray with severe cardiomegaly, with support devices",
            "an x-ray with no cardiomegaly, with support devices",
            ("Cardiomegaly",),
        ),
        (
            EDIT_PROMPTS["remove_effusion"].source,
            EDIT_PROMPTS["remove_effusion"].target,
            ("Pleural Effusion",),
        ),
        ("an x-ray with no central line", "an x-ray with no pacemaker", ()),
        (ADDED.source, ADDED.target, ()),
        ("an x-ray with something", "an x-ray", ()),
        ("an x-ray with possible edema, with possible pacemaker", "an x-ray", ()),
    ],
)
def test_what_a_prompt_pair_takes_away(source, target, names):
    assert taken_away(source, target) == names


@given(st.sampled_from(sorted(EDIT_PROMPTS)))
def test_the_same_prompt_takes_nothing_away(name):
    prompt = EDIT_PROMPTS[name]
    assert taken_away(prompt.source, prompt.source) == ()
    assert set(taken_away(prompt.source, prompt.target)) <= set(prompt.intervention)


PLACES = {"Support Devices": (0, 0.9), "Pleural Effusion": (5, 0.8), "pacemaker": (7, 0.05)}


class Seer:
    """A model to whom each name lies in a cell of its own, with a chance of its own."""

    grounding = object()

    def ground(self, latents, names):
        chances = torch.linspace(0.02, 0.01, 16).repeat(len(names), 1).reshape(-1, 1, 4, 4)
        for row, name in enumerate(names):
            cell, chance = PLACES[name]
            chances[row].view(-1)[cell] = chance
        return chances


def cells(masks, row):
    return masks.edit[row].flatten().nonzero()[:, 0].tolist()


def test_masks_lie_where_it_is_likely_and_everywhere_where_nothing_is_looked_for():
    both = "an x-ray with support devices, with pleural effusion"
    sources = [DEVICES.source, ADDED.source, both, "an x-ray with a pacemaker"]
    targets = [DEVICES.target, ADDED.target, "an x-ray", "an x-ray"]
    latents = torch.zeros(4, 4, 4, 4)
    masks, asked = grounded_masks(Seer(), latents, sources, targets)
    assert asked == [1, 0, 2, 1]
    assert cells(masks, 2) == [0, 5]
    assert masks.edit[1].all(), "what is added may be put anywhere"
    assert PLACES["pacemaker"][1] < LIKELY and 7 in cells(masks, 3), "it lies somewhere"
    assert all(masks.edit[row].sum() >= max(1, round(16 * LEAST)) for row in range(4))
    assert torch.equal(masks.keep, ~masks.edit)
    for row in range(4):
        alone, once = grounded_masks(Seer(), latents[:1], sources[row : row + 1], targets[row:][:1])
        assert torch.equal(alone.edit[0], masks.edit[row]) and once == asked[row : row + 1]


def test_a_model_without_grounding_may_change_anything(model, encoder):
    assert model.grounding is None
    images = list(np.random.default_rng(3).random((2, 64, 64), dtype=np.float32))
    texts = [DEVICES.source] * 2, [DEVICES.target] * 2
    free = edit(model, encoder, images, *texts, replace(RECIPE, mask="none", detail=1.0))
    for one, other in zip(free, edit(model, encoder, images, *texts, RECIPE), strict=True):
        np.testing.assert_allclose(one.image, other.image, atol=1e-6)
        assert one.nfe == other.nfe
    with pytest.raises(UsageError, match="has no grounding"):
        model.ground(torch.zeros(1, 4, 8, 8), ["pacemaker"])


def region():
    edit_here = np.zeros((64, 64), dtype=bool)
    edit_here[16:40, 16:40] = True
    return Region(edit_here)


def test_withheld_detail_changes_the_mask_and_nothing_else(model, encoder):
    images = list(np.random.default_rng(4).random((2, 64, 64), dtype=np.float32))
    texts = [DEVICES.source] * 2, [DEVICES.target] * 2
    latents = {}
    for detail in (1.0, 0.5, 0.0):
        made = edit(
            model, encoder, images, *texts, replace(RECIPE, mask="given", detail=detail),
            regions=[region()] * 2,
        )  # fmt: skip
        latents[detail] = model.encode(torch.from_numpy(np.stack([m.image for m in made]))[:, None])
        (alone,) = edit(
            model, encoder, images[1:], *(text[1:] for text in texts),
            replace(RECIPE, mask="given", detail=detail), regions=[region()],
        )  # fmt: skip
        np.testing.assert_allclose(alone.image, made[1].image, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(latents[1.0], latents[0.5], atol=1e-3)
    assert not torch.allclose(latents[0.5], latents[0.0], atol=1e-3)


def test_the_source_prompt_changes_nothing_even_with_detail_withheld(tiny_grounded, encoder):
    images = list(np.random.default_rng(5).random((2, 64, 64), dtype=np.float32))
    texts = [DEVICES.source] * 2
    for one in edit(tiny_grounded, encoder, images, texts, texts, RECIPE):
        np.testing.assert_allclose(one.image, one.reconstruction, atol=1e-3)


@pytest.mark.parametrize(
    ("plain", "own", "everywhere"),
    [
        ({"guidance_scale": 5.0}, {"object_scale": 9.0}, {"guidance_scale": 9.0}),
        ({"guidance_scale": 1.0}, {"object_scale": 9.0}, {"guidance_scale": 9.0}),
        ({"detail": 0.9}, {"object_detail": 0.1}, {"detail": 0.1}),
    ],
)
def test_where_a_device_goes_a_strength_of_its_own_holds(model, encoder, plain, own, everywhere):
    """In a batch with other edits, which it leaves as they are."""
    images = list(np.random.default_rng(7).random((2, 64, 64), dtype=np.float32))
    texts = [DEVICES.source, EFFUSION.source], [DEVICES.target, EFFUSION.target]
    base = replace(RECIPE, mask="given", guidance_scale=5.0)

    def made(**changes):
        recipe, regions = replace(base, **changes), [region(), region()]
        return [one.image for one in edit(model, encoder, images, *texts, recipe, regions=regions)]

    before, mixed, after = made(**plain), made(**plain, **own), made(**plain | everywhere)
    assert np.abs(mixed[0] - before[0]).max() > 1e-3
    np.testing.assert_allclose(mixed[0], after[0], atol=1e-5)
    np.testing.assert_allclose(mixed[1], before[1], atol=1e-5)


@given(st.floats(0.005, 0.1), st.integers(0, 50))
def test_a_limit_leaves_no_ghost_and_touches_nothing_unchanged(limit, seed):
    rng = np.random.default_rng(seed)
    factual, reconstruction = torch.from_numpy(rng.uniform(0.3, 0.7, (2, 1, 1, 64, 64)))
    edited = reconstruction.clone()
    edited[..., 8:24, 8:24] += 0.25
    image = composed(factual, edited, reconstruction, 0.0, Manner(limit))
    where = (..., slice(10, 22), slice(10, 22))
    assert (image[where] - edited[where]).abs().max() <= limit + 1e-6
    torch.testing.assert_close(image[..., 40:, 40:], factual[..., 40:, 40:])
    same = composed(factual, reconstruction, reconstruction, 0.0, Manner(limit))
    torch.testing.assert_close(same, factual)
    without = composed(factual, edited, reconstruction, 0.0)
    torch.testing.assert_close(without, (factual + edited - reconstruction).clamp(0, 1))


@pytest.mark.parametrize(
    ("source", "target", "so"),
    [
        (DEVICES.source, DEVICES.target, True),
        (DEVICES.target, DEVICES.source, False),
        (DEVICES.source, DEVICES.source, False),
        (EDIT_PROMPTS["remove_effusion"].source, EDIT_PROMPTS["remove_effusion"].target, True),
        ("an x-ray with pneumothorax", "an x-ray with no pneumothorax", False),
        ("an x-ray with edema, with pneumothorax", "an x-ray", False),
        ("an x-ray with pleural effusion", "an x-ray with cardiomegaly", False),
        ("an x-ray with a pacemaker", "an x-ray with no pacemaker", True),
    ],
)
def test_what_absorbs_the_beam_leaves_it_darker(source, target, so):
    assert takes_density(source, target) is so
    for recipe, expected in ((RECIPES["fast"], so), (OTHERS["ungrounded"], False)):
        (manner,) = manners(recipe, [source], [target], None)
        assert manner.darker is expected


@given(st.integers(0, 200), st.sampled_from([None, 0.02]))
def test_darker_is_the_same_composition_without_what_is_brighter(seed, limit):
    rng = np.random.default_rng(seed)
    ends = torch.from_numpy(rng.uniform(0.0, 1.0, (3, 2, 1, 32, 32)))
    free, dark = (
        each_composed(*ends, [0.0, 0.03], [Manner(limit), Manner(limit, d)]) for d in (False, True)
    )
    assert torch.equal(free[0], dark[0])
    torch.testing.assert_close(dark[1], torch.minimum(free[1], ends[0][1]))


def test_an_edit_that_takes_density_is_nowhere_brighter(model, encoder):
    images = list(np.random.default_rng(9).uniform(0.2, 0.8, (2, 64, 64)).astype(np.float32))
    texts = [DEVICES.source, ADDED.source], [DEVICES.target, ADDED.target]
    dark = replace(RECIPE, mask="none", detail=1.0, residual=True, only_darker=True)
    taken, added = edit(model, encoder, images, *texts, dark)
    assert (taken.image <= taken.factual + 1e-6).all() and (taken.image < taken.factual).any()
    free = edit(model, encoder, images, *texts, replace(dark, only_darker=False))
    assert (free[0].image > free[0].factual + 1e-6).any()
    later = edit(model, encoder, images, *texts, replace(dark, residual=False))
    for one, other in zip(later, (taken, added), strict=True):
        np.testing.assert_allclose(one.composed(), other.image, atol=1e-6)
    np.testing.assert_array_equal(added.image, free[1].image)
    (alone,) = edit(model, encoder, images[:1], *(text[:1] for text in texts), dark)
    np.testing.assert_allclose(alone.image, taken.image, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"detail": 1.5},
        {"detail": 0.5, "inversion": "ddim"},
        {"object_detail": 0.5, "inversion": "ddim"},
        {"residual_limit": 0.0},
    ],
)
def test_senseless_settings_are_refused(changes):
    with pytest.raises(UsageError, match=next(iter(changes))):
        replace(Recipe("odd", "virtual", 4, 3.0), **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny model with a grounding that `prism train` made, two steps."""
    folder = tmp_path_factory.mktemp("grounded")
    tiny = save_tiny_prism(folder / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRISM_OUTPUT", str(folder))
        given_ = ["--model", str(tiny), "--export", str(tiny)]
        assert main(["train", "grounding", *SMALL, *given_]) == 0
    return tiny


@pytest.fixture(scope="module")
def tiny_grounded(trained):
    return LatentDiffusion.load(trained)


def test_a_trained_grounding_is_found_beside_its_pipeline(trained, tiny_grounded):
    assert tiny_grounded.grounding.config.out_channels == 1
    (record,) = (one for one in read_records(trained) if one["part"] == "grounding")
    assert record["steps"] == 2 and record["simulated"]
    plain = LatentDiffusion.load(trained / "pipeline")
    assert plain.grounding is not None, "the pipeline's own folder has the same neighbours"
    assert tiny_grounded.with_unet(tiny_grounded.unet).grounding is tiny_grounded.grounding
    chances = tiny_grounded.ground(torch.zeros(2, 4, 8, 8), ["pacemaker", "Pleural Effusion"])
    assert chances.shape == (2, 1, 8, 8) and ((chances > 0) & (chances < 1)).all()


def test_a_unet_tuned_on_the_same_frozen_parts_keeps_the_grounding(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    tuned = tmp_path / "tuned"
    given_ = ["--model", str(trained), "--start", str(trained), "--export", str(tuned)]
    assert main(["train", "unet", *SMALL, *given_]) == 0
    ours, theirs = (fingerprint(folder / "grounding") for folder in (tuned, trained))
    assert ours == theirs and LatentDiffusion.load(tuned).grounding is not None


def test_its_weights_are_part_of_what_an_edit_depends_on(trained, tiny_grounded, tmp_path):
    copy = tmp_path / "without"
    shutil.copytree(trained, copy)
    shutil.rmtree(copy / "grounding")
    without = LatentDiffusion.load(copy)
    assert tiny_grounded.weights_sha256.startswith(without.weights_sha256)
    assert tiny_grounded.weights_sha256 != without.weights_sha256


def test_a_torn_grounding_is_named(trained, tmp_path):
    copy = tmp_path / "torn"
    shutil.copytree(trained, copy)
    (file,) = (copy / "grounding").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(PrismError, match="grounding cannot be loaded"):
        LatentDiffusion.load(copy)


def test_an_edit_with_it_counts_what_was_asked_and_does_not_depend_on_the_batch(
    tiny_grounded, trained, encoder
):
    images = list(np.random.default_rng(6).random((3, 64, 64), dtype=np.float32))
    sources = [DEVICES.source, ADDED.source, EFFUSION.source]
    targets = [DEVICES.target, ADDED.target, EFFUSION.target]
    together = edit(tiny_grounded, encoder, images, sources, targets, RECIPE)
    free = edit(tiny_grounded, encoder, images, sources, targets, replace(RECIPE, mask="none"))
    assert [one.nfe - other.nfe for one, other in zip(together, free, strict=True)] == [1, 0, 1]
    for row, one in enumerate(together):
        (alone,) = edit(
            tiny_grounded, encoder, images[row : row + 1], sources[row:][:1], targets[row:][:1],
            RECIPE,
        )  # fmt: skip
        np.testing.assert_allclose(alone.image, one.image, rtol=1e-4, atol=1e-4)


def test_the_sentence_of_a_name_is_one_that_was_trained_on():
    assert grounding.sentence("Support Devices") == DEVICES.source
    assert grounding.sentence("Pleural Effusion") == EFFUSION.source
    assert grounding.sentence("ecg_leads") == "chest x-ray of the patient with ecg leads"
