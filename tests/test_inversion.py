"""DDIM steps against diffusers' own schedulers; inversions against what they must return."""

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionPipeline
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib.editing.inversion import ddim_invert, ddim_sample
from prismlib.editing.schedule import Schedule, ddim_step
from prismlib.errors import UsageError

SETTINGS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
PROMPTS = ["chest xray of the patient with lots of medical devices", "severe cardiomegaly"]


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))


def levels(model, steps):
    return Schedule.of(model.scheduler, steps)


def random_pair(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 2, 4, 3, 3, generator=generator)


@given(steps=st.integers(1, 999), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_step_down_is_the_schedulers_step(steps, data):
    scheduler = DDIMScheduler(**SETTINGS)
    schedule = Schedule.of(scheduler, steps)
    scheduler.set_timesteps(steps)
    assert schedule.timesteps == tuple(reversed(scheduler.timesteps.tolist()))
    level = data.draw(st.integers(1, steps))
    latents, noise = random_pair(steps)
    timestep = schedule.timesteps[level - 1]
    expected = scheduler.step(noise, timestep, latents).prev_sample
    got = ddim_step(latents, noise, schedule.alphas[level], schedule.alphas[level - 1])
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@given(steps=st.integers(1, 999), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_step_up_is_the_inverse_schedulers_step(steps, data):
    scheduler = DDIMInverseScheduler(**SETTINGS)
    scheduler.set_timesteps(steps)
    schedule = Schedule.of(DDIMScheduler(**SETTINGS), steps)
    level = data.draw(st.integers(1, steps))
    latents, noise = random_pair(steps)
    timestep = schedule.timesteps[level - 1]
    expected = scheduler.step(noise, timestep, latents).prev_sample
    got = ddim_step(latents, noise, schedule.alphas[level - 1], schedule.alphas[level])
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@given(alpha=st.floats(0.005, 0.9999), alpha_to=st.floats(0.005, 0.9999), seed=st.integers(0, 99))
@settings(deadline=None)
def test_a_step_up_and_down_with_one_noise_cancels(alpha, alpha_to, seed):
    latents, noise = random_pair(seed).double()
    a, b = torch.tensor(alpha).double(), torch.tensor(alpha_to).double()
    there = ddim_step(latents, noise, a, b)
    torch.testing.assert_close(ddim_step(there, noise, b, a), latents)


@pytest.mark.parametrize("steps", [0, -1, 1000, 5000])
def test_steps_that_the_schedule_has_no_room_for_are_refused(steps):
    with pytest.raises(UsageError, match=str(steps)):
        Schedule.of(DDIMScheduler(**SETTINGS), steps)


def test_inverting_leaves_the_models_scheduler_alone(model, images):
    before = model.scheduler.timesteps.clone()
    ddim_invert(model, model.encode(images), model.embed(PROMPTS), levels(model, 3))
    assert torch.equal(model.scheduler.timesteps, before)


def test_inversion_is_the_loop_with_diffusers_inverse_scheduler(model, images):
    latents, embeddings = model.encode(images), model.embed(PROMPTS)
    inversion = ddim_invert(model, latents, embeddings, levels(model, 7))
    scheduler = DDIMInverseScheduler.from_config(model.scheduler.config)
    scheduler.set_timesteps(7)
    assert inversion.trajectory.shape == (8, *latents.shape)
    for index, timestep in enumerate(scheduler.timesteps):
        with torch.no_grad():
            noise = model.unet(latents, timestep, embeddings).sample
        latents = scheduler.step(noise, timestep, latents).prev_sample
        torch.testing.assert_close(inversion.trajectory[index + 1], latents, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_plain_stable_diffusion_samples_the_same(tiny_folder, model, images, guidance_scale):
    inversion = ddim_invert(model, model.encode(images), model.embed(PROMPTS), levels(model, 5))
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_folder)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        PROMPTS,
        height=64,
        width=64,
        num_inference_steps=5,
        guidance_scale=guidance_scale,
        latents=inversion.noisy,
        output_type="latent",
    ).images
    got = ddim_sample(model, inversion, model.embed(PROMPTS), guidance_scale)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_inversion_does_not_depend_on_the_batch(model, images):
    latents, embeddings = model.encode(images), model.embed(PROMPTS)
    together = ddim_invert(model, latents, embeddings, levels(model, 5))
    for row in range(2):
        alone = ddim_invert(model, latents[[row]], embeddings[[row]], levels(model, 5))
        torch.testing.assert_close(
            together.trajectory[:, [row]], alone.trajectory, rtol=1e-4, atol=1e-5
        )
