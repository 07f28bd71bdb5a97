"""Samples from noise on a tiny Stable Diffusion, and the labels that go with an edit."""

import math

import numpy as np
import pytest
import torch

from prismlib.captions import EDIT_PROMPTS
from prismlib.cohorts.relabelling import labels_after
from prismlib.editing.schedule import Schedule
from prismlib.editing.synthesis import _settled, synthesize
from prismlib.errors import UsageError

PROMPTS = ["an x-ray", "chest x-ray of a patient showing cardiomegaly", "an x-ray"]


def sample(model, prompts=PROMPTS, seeds=(1, 2, 3), **settings):
    return synthesize(model, prompts, seeds, steps=3, size=64, **settings)


def test_samples_are_radiographs_in_range(model):
    images = sample(model)
    assert len(images) == 3
    assert all(image.shape == (64, 64) and image.dtype == np.float32 for image in images)
    assert all(0 <= image.min() <= image.max() <= 1 for image in images)


def test_a_sample_depends_on_its_seed_and_prompt_alone(model):
    together = sample(model, batch_size=3)
    apart = sample(model, batch_size=1)
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    again = sample(model, PROMPTS[2:], (1,))[0]
    np.testing.assert_allclose(again, together[0], atol=1e-4)
    assert np.abs(together[0] - together[2]).max() > 1e-3


@pytest.mark.parametrize("rounds", [0, 2])
def test_rounds_at_the_noisiest_level_cost_one_evaluation_each(model, evaluations, rounds):
    evaluations.clear()
    sample(model, rounds=rounds)
    assert sum(evaluations) == 3 * (rounds + 2 * 3)


def test_rounds_bring_in_what_the_noisiest_level_holds_of_an_image(model, monkeypatch):
    """With a network that knows: all images are one, so that the level's mean is known too."""
    image, schedule = torch.full((1, 4, 8, 8), 20.0), Schedule.of(model.scheduler, 3)
    alpha = schedule.alphas[-1]

    def knowing(self, latents, timestep, embeddings):
        return (latents - alpha.sqrt() * image) / (1 - alpha).sqrt()

    monkeypatch.setattr(type(model), "predict_noise", knowing)
    draws = torch.randn(2, 400, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    noisy = _settled(model, draws, torch.zeros(400, 1, 1), schedule)
    assert noisy.mean().item() == pytest.approx(alpha.sqrt().item() * 20.0, abs=0.02)
    assert noisy.var().item() == pytest.approx(1 - alpha.item(), abs=0.02)
    torch.testing.assert_close(_settled(model, draws[:1], torch.zeros(1), schedule), draws[0])


def test_as_many_seeds_as_prompts(model):
    with pytest.raises(UsageError, match="as many"):
        sample(model, seeds=(1, 2))


def test_labels_after_an_edit_agree_with_each_other():
    row = {"Pleural Effusion": 1.0, "Support Devices": 1.0, "Edema": math.nan}
    gone = labels_after(row, EDIT_PROMPTS["remove_effusion"].intervention)
    assert gone["Pleural Effusion"] == 0 and gone["No Finding"] == 1
    assert gone["Support Devices"] == 1 and row["Pleural Effusion"] == 1
    bare = labels_after(row, EDIT_PROMPTS["remove_devices"].intervention)
    assert bare["Support Devices"] == 0 and bare["No Finding"] == 0
    assert labels_after({"Edema": -1.0}, {"Support Devices": 1})["No Finding"] == -1


@pytest.mark.parametrize("intervention", [{"No Finding": 1}, {"pacemaker": 0}, {"Edema": 0.5}])
def test_only_labels_can_be_set(intervention):
    with pytest.raises(UsageError, match="expected a label"):
        labels_after({}, intervention)
