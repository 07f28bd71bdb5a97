"""An organ that is to become smaller has a strength of its own; nothing else has it."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from prismlib.captions import EDIT_PROMPTS, ONE_THING
from prismlib.captions.claims import takes_size
from prismlib.editing.counterfactual import Recipe, edit
from prismlib.editing.masks import Region
from prismlib.editing.recipe import Insistence, Strength
from prismlib.errors import UsageError

torch.set_num_threads(1)

HEART, EFFUSION, DEVICES = (ONE_THING[name] for name in ("cardiomegaly", "effusion", "devices"))
STRONG = Strength(guidance_scale=9.0, push=1e6, detail=0.2)  # as far as the scale goes
PLAIN = Recipe("plain", "virtual", 4, 3.0, mask="given", negative="source", detail=0.5, push=1e6)
RECIPE = replace(PLAIN, slimming=STRONG)


@pytest.mark.parametrize(
    ("source", "target", "so"),
    [
        (HEART.source, HEART.target, True),
        (HEART.target, HEART.source, False),
        (HEART.source, HEART.source, False),
        (EFFUSION.source, EFFUSION.target, False),
        (DEVICES.source, DEVICES.target, False),
        ("an x-ray with cardiomegaly, with a pacemaker", "an x-ray", False),
        ("an x-ray with enlarged cardiomediastinum", "an x-ray", True),
        (EDIT_PROMPTS["remove_cardiomegaly"].source, "chest x-ray with no finding", True),
    ],
)
def test_what_is_to_become_smaller(source, target, so):
    assert takes_size(source, target) is so


def made(model, encoder, recipe, prompts, rows=slice(None)):
    rng = np.random.default_rng(5)
    images = list(rng.uniform(0.2, 0.8, (len(prompts), 64, 64)).astype(np.float32))
    regions = [Region(rng.uniform(size=(8, 8)).repeat(8, 0).repeat(8, 1) < 0.6) for _ in images]
    sources, targets = [one.source for one in prompts], [one.target for one in prompts]
    return edit(
        model, encoder, images[rows], sources[rows], targets[rows], recipe, regions=regions[rows]
    )


def test_each_image_has_its_own_strength(model, encoder):
    prompts = [HEART, EFFUSION, DEVICES]
    found = [one.image for one in made(model, encoder, RECIPE, prompts)]
    plain = [one.image for one in made(model, encoder, PLAIN, prompts)]
    strong = [one.image for one in made(model, encoder, RECIPE.slimmed, prompts)]
    assert np.abs(found[0] - plain[0]).max() > 1e-3 < np.abs(found[1] - strong[1]).max()
    for one, other in zip(found, [strong[0], *plain[1:]], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    for row in range(3):
        (alone,) = made(model, encoder, RECIPE, prompts, slice(row, row + 1))
        np.testing.assert_allclose(alone.image, found[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("strength", "change"),
    [
        (STRONG, {"guidance_scale": 3.0}),
        (replace(STRONG, guidance_scale=1e4, push=30.0), {"push": 20.0}),
        (STRONG, {"detail": 0.5}),
    ],
)
def test_each_setting_counts(model, encoder, strength, change):
    (one,) = made(model, encoder, replace(RECIPE, slimming=strength), [HEART])
    (other,) = made(model, encoder, replace(RECIPE, slimming=replace(strength, **change)), [HEART])
    assert np.abs(one.image - other.image).max() > 1e-4


def test_who_is_insisted_on_is_edited_as_firmly_as_anybody():
    firm = Insistence(7.0, push=30.0, detail=0.3, margin=0.1)
    firmly = replace(RECIPE, insist=firm).firmly
    assert firmly == replace(PLAIN, guidance_scale=7.0, push=30.0, detail=0.3)
    assert asdict(RECIPE.slimmed) == asdict(PLAIN) | asdict(STRONG)


@pytest.mark.parametrize(
    "strength", [Strength(9.0, 0.0, 0.2), Strength(1.0, 2.0, 0.2), Strength(9.0, 2.0, 1.2)]
)
def test_a_senseless_strength_is_refused(strength):
    with pytest.raises(UsageError, match=r"slimming|push|detail"):
        replace(RECIPE, slimming=strength)


def test_a_source_that_is_guided_as_the_target_is_has_one_strength():
    with pytest.raises(UsageError, match="slimming"):
        replace(RECIPE, negative="empty")
    assert replace(RECIPE, negative="empty", source_guidance_scale=1.0).slimming == STRONG
