"""Imagic: each of its three steps does what it is for, and leaves the model alone."""

from dataclasses import replace

import pytest
import torch

from prismlib.editing.imagic import imagine
from prismlib.editing.recipes import OTHERS
from prismlib.errors import UsageError
from prismlib.models.pipeline import LatentDiffusion

SHORT = replace(OTHERS["imagic"], steps=3, inner_steps=3, tuning_steps=3)
PROMPTS = ["no cardiomegaly", "chest xray without devices"]


@pytest.fixture(scope="module")
def latents():
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_model_is_left_as_it_was(model, latents):
    before = {name: value.clone() for name, value in model.unet.state_dict().items()}
    imagine(model, latents, model.embed(PROMPTS), SHORT, (1, 2))
    after = model.unet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(parameter.requires_grad for parameter in model.unet.parameters())


def test_an_image_is_fitted_by_itself(model, latents):
    target = model.embed(PROMPTS)
    together = imagine(model, latents, target, SHORT, (1, 2))
    alone = imagine(model, latents[1:], target[1:], SHORT, (2,))
    torch.testing.assert_close(together.edited[1:], alone.edited, rtol=1e-4, atol=1e-4)


def test_the_optimised_end_is_the_reconstruction_and_the_other_the_target(model, latents):
    target = model.embed(PROMPTS)
    near = imagine(model, latents, target, replace(SHORT, interpolation=0.0), (1, 2))
    torch.testing.assert_close(near.edited, near.reconstruction)
    far = imagine(model, latents, target, replace(SHORT, interpolation=1.0), (1, 2))
    torch.testing.assert_close(far.reconstruction, near.reconstruction)
    assert (far.edited - near.edited).abs().max() > 1e-5


def test_tuning_brings_the_reconstruction_nearer(model, latents, monkeypatch):
    """With a rate that a random network of this size can follow."""
    monkeypatch.setattr("prismlib.editing.imagic.TUNING_RATE", 3e-3)
    recipe = replace(SHORT, steps=8, guidance_scale=1.0)
    target = model.embed(PROMPTS)
    made = [
        imagine(model, latents, target, replace(recipe, tuning_steps=steps), (1, 2))
        for steps in (1, 150)
    ]
    errors = [(one.reconstruction - latents).square().mean() for one in made]
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_is_fitted_in_full_precision(tiny_folder, latents, dtype):
    half = LatentDiffusion.load(str(tiny_folder), device="cpu", dtype=dtype)
    made = imagine(half, latents, half.embed(PROMPTS), SHORT, (1, 2))
    assert made.edited.isfinite().all() and made.reconstruction.isfinite().all()


def test_a_recipe_without_a_fit_is_refused():
    with pytest.raises(UsageError, match="inner_steps is 0; expected 1 or more for imagic"):
        replace(SHORT, inner_steps=0)
