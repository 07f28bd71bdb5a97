"""Inversions and masks against closed forms and second implementations, on a tiny model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.editing.attention import Maps
from prismlib.editing.branches import METHODS, embed_prompts, prompt_to_prompt, sample_branches
from prismlib.editing.cache import InversionCache
from prismlib.editing.counterfactual import edit
from prismlib.editing.inversion import ddim_invert, invert, noise_path, null_text
from prismlib.editing.masks import Region, from_regions, without_faint
from prismlib.editing.prompts import align_prompts
from prismlib.editing.recipe import Recipe
from prismlib.editing.recipes import RECIPES
from prismlib.editing.reconstruction import reconstruct
from prismlib.editing.schedule import (
    Schedule,
    clean_part,
    ddim_step,
    ddpm_mean,
    noised,
    predicted_clean,
    seeded_noise,
)
from prismlib.errors import PrismError, UsageError
from prismlib.measures.preservation import psnr
from prismlib.models.pipeline import LatentDiffusion

SOURCES = ["chest xray of the patient with lots of medical devices", "severe cardiomegaly"]
TARGETS = ["chest xray of the patient without medical devices", "no cardiomegaly"]
SEEDS = (3, 4)
KINDS = ("edit-friendly", "virtual", "direct-shared")


@pytest.fixture(scope="module")
def images():
    return list(np.random.default_rng(5).random((2, 64, 64), dtype=np.float32))


@pytest.fixture(scope="module")
def latents(model, images):
    return model.encode(torch.from_numpy(np.stack(images))[:, None])


def recipe(kind, **changes):
    negative = "source" if kind in ("negative-prompt", "delta") else "empty"
    inner = 3 if kind == "null-text" else 0
    made = Recipe(kind, kind, 5, 3.0, negative=negative, inner_steps=inner)
    return replace(made, **changes)


def walked(model, latents, chosen, targets=TARGETS):
    prompts = embed_prompts(model, SOURCES, targets, chosen)
    inversion = invert(model, latents, prompts.source, chosen, SEEDS)
    control = prompt_to_prompt(model, SOURCES, targets, chosen, prompts.source.shape[1])
    with torch.no_grad():
        return inversion, sample_branches(model, inversion, prompts, control, chosen)


def test_the_ddpm_mean_is_the_schedulers():
    """diffusers' DDIM step with eta = 1 and no noise."""
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    schedule = Schedule.of(scheduler, 8)
    scheduler.set_timesteps(8)
    latents, noise = torch.randn(2, 2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    for level in range(1, 9):
        nothing = torch.zeros_like(latents)
        step = scheduler.step(
            noise, schedule.timesteps[level - 1], latents, eta=1.0, variance_noise=nothing
        )
        got = ddpm_mean(latents, noise, schedule.alphas[level], schedule.alphas[level - 1])
        torch.testing.assert_close(got, step.prev_sample, rtol=1e-4, atol=1e-5)


@given(alpha=st.floats(0.01, 0.99), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_the_noise_that_was_added_gives_the_clean_latents_back(alpha, seed):
    clean, noise = torch.randn(2, 1, 2, 3, 3, generator=torch.Generator().manual_seed(seed))
    level = torch.tensor(alpha)
    latents = noised(clean, noise, level)
    torch.testing.assert_close(predicted_clean(latents, noise, level), clean, rtol=1e-3, atol=1e-4)
    below = torch.tensor(min(0.995, alpha + 0.004))
    torch.testing.assert_close(
        clean_part(latents, noise, level, below), below.sqrt() * clean, rtol=1e-3, atol=1e-4
    )


def test_a_noise_path_is_the_forward_process(model, latents):
    """Of unit noise, drawn anew at each level or once, the same for an image in any batch."""
    schedule = Schedule.of(model.scheduler, 40, strength=0.5)
    assert schedule.steps == 20
    for fresh in (True, False):
        path = noise_path(latents, schedule, SEEDS, fresh)
        alphas = schedule.alphas[1:, None, None, None, None]
        drawn = (path.trajectory[1:] - alphas.sqrt() * latents) / (1 - alphas).sqrt()
        assert abs(drawn.mean()) < 0.1 and abs(drawn.std() - 1) < 0.1
        assert torch.allclose(drawn[0], drawn[-1], atol=1e-3) is not fresh
        alone = noise_path(latents[1:], schedule, SEEDS[1:], fresh)
        torch.testing.assert_close(path.trajectory[:, 1:], alone.trajectory)
        assert path.evaluations == (0, 0)


@pytest.mark.parametrize("negative", ["empty", "source"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_shared_methods_return_the_encoded_image(model, latents, kind, negative, strength):
    chosen = recipe(kind, negative=negative, strength=strength, guidance_scale=6.0)
    _, ends = walked(model, latents, chosen, SOURCES)
    torch.testing.assert_close(ends.target, latents, rtol=0, atol=1e-3)
    torch.testing.assert_close(ends.source, latents)
    _, edited = walked(model, latents, chosen)
    assert (edited.target - latents).abs().amax(dim=(1, 2, 3)).min() > 1e-2


def test_edit_friendly_is_the_noises_solved_for_and_used_again(model, latents):
    """A second implementation: solve for the noises first, then sample with them."""
    chosen = recipe("edit-friendly", guidance_scale=1.0)
    inversion, ends = walked(model, latents, chosen)
    schedule, path = inversion.schedule, inversion.trajectory
    source, target = model.embed(SOURCES), model.embed(TARGETS)
    scheduler = DDIMScheduler.from_config(model.scheduler.config)
    scheduler.set_timesteps(5)
    noises = {}
    for level in range(5, 0, -1):
        timestep = schedule.timesteps[level - 1]
        noise = model.predict_noise(path[level], timestep, source)
        still = torch.zeros_like(latents)
        mean = scheduler.step(noise, timestep, path[level], eta=1.0, variance_noise=still)
        below = schedule.timesteps[level - 2] if level > 1 else -1
        sigma = scheduler._get_variance(timestep, below) ** 0.5
        noises[level] = (path[level - 1] - mean.prev_sample) / sigma
    sampled = inversion.noisy
    for level in range(5, 0, -1):
        timestep = schedule.timesteps[level - 1]
        noise = model.predict_noise(sampled, timestep, target)
        sampled = scheduler.step(
            noise, timestep, sampled, eta=1.0, variance_noise=noises[level]
        ).prev_sample
    torch.testing.assert_close(ends.target, sampled, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_each_branch_is_guided_by_its_own_scale(model, latents, kind, evaluations):
    plain = recipe(kind, guidance_scale=4.0)
    _, same = walked(model, latents, plain)
    _, said = walked(model, latents, replace(plain, source_guidance_scale=4.0))
    torch.testing.assert_close(same.target, said.target)
    evaluations.clear()
    path, apart = walked(model, latents, replace(plain, source_guidance_scale=1.0))
    assert 2 * (apart.evaluations + path.evaluations[0]) == sum(evaluations)
    assert apart.evaluations == said.evaluations * 3 // 4  # the source's is not guided
    assert (apart.target - said.target).abs().max() > 1e-3
    torch.testing.assert_close(apart.source, latents)
    lone = replace(plain, guidance_scale=1.0)
    _, unguided = walked(model, latents, lone)
    _, source_guided = walked(model, latents, replace(lone, source_guidance_scale=4.0))
    assert (unguided.target - source_guided.target).abs().max() > 1e-3


def test_virtual_inversion_is_its_equation(model, latents):
    """With the noise consistent with the source in closed form, as published."""
    chosen = recipe("virtual", guidance_scale=1.0)
    inversion, ends = walked(model, latents, chosen)
    schedule, path, clean = inversion.schedule, inversion.trajectory, inversion.clean
    source, target = model.embed(SOURCES), model.embed(TARGETS)
    edited = inversion.noisy
    for level in range(5, 0, -1):
        alpha, timestep = schedule.alphas[level], schedule.timesteps[level - 1]
        consistent = (path[level] - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        theirs = model.predict_noise(path[level], timestep, source)
        own = model.predict_noise(edited, timestep, target)
        estimate = (edited - (1 - alpha).sqrt() * (own - theirs + consistent)) / alpha.sqrt()
        below = schedule.alphas[level - 1]
        drawn = path[level - 1] - below.sqrt() * clean
        edited = below.sqrt() * estimate + drawn
    torch.testing.assert_close(ends.target, edited, rtol=1e-3, atol=1e-3)


def test_delta_denoising_adds_up_what_the_prompts_differ_by(model, latents, evaluations):
    """In clean latents, each level with the noise that the path has there."""
    chosen = recipe("delta", guidance_scale=4.0)
    evaluations.clear()
    inversion, ends = walked(model, latents, chosen)
    assert ends.evaluations == 2 * 5 and sum(evaluations) == 2 * 5 * len(latents)
    schedule, path = inversion.schedule, inversion.trajectory
    source, target = model.embed(SOURCES), model.embed(TARGETS)
    added = torch.zeros_like(latents)
    for level in range(5, 0, -1):
        alpha, timestep = schedule.alphas[level], schedule.timesteps[level - 1]
        noisy = path[level] + alpha.sqrt() * added
        clean = [
            (noisy - (1 - alpha).sqrt() * model.predict_noise(noisy, timestep, text)) / alpha.sqrt()
            for text in (source, target)
        ]
        added = added + 4.0 * (clean[1] - clean[0])
    expected = latents + schedule.alphas[0].sqrt() * added
    torch.testing.assert_close(ends.target, expected, rtol=1e-3, atol=1e-3)
    _, same = walked(model, latents, chosen, SOURCES)
    torch.testing.assert_close(same.target, latents, rtol=1e-4, atol=1e-4)


def test_delta_denoising_is_led_away_from_the_source_prompt_alone():
    with pytest.raises(UsageError, match="negative is 'empty'; expected source"):
        recipe("delta", negative="empty")


def test_null_text_is_the_published_loop(model, latents):
    """Image by image, with nothing but torch: the same embeddings and the same path."""
    scale, inner, schedule = 5.0, 3, Schedule.of(model.scheduler, 4)
    source = model.embed(SOURCES)
    path = ddim_invert(model, latents, source, schedule)
    made = null_text(model, path, source, scale, inner)
    for row in range(2):
        sampled = path.noisy[[row]]
        embedding = model.embed([""]).clone()
        for step, level in enumerate(range(4, 0, -1)):
            timestep = schedule.timesteps[level - 1]
            ends = schedule.alphas[level], schedule.alphas[level - 1]
            embedding = embedding.clone().requires_grad_(True)
            optimizer = torch.optim.Adam([embedding], lr=1e-2 * (1 - step / 8))
            conditional = model.predict_noise(sampled, timestep, source[[row]])
            for _ in range(inner):
                away = model.unet(sampled, timestep, embedding).sample
                moved = ddim_step(sampled, away + scale * (conditional - away), *ends)
                loss = torch.nn.functional.mse_loss(moved, path.trajectory[level - 1, [row]])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if loss.item() < 1e-5 + step * 2e-5:
                    break
            embedding = embedding.detach()
            with torch.no_grad():
                away = model.unet(sampled, timestep, embedding).sample
                sampled = ddim_step(sampled, away + scale * (conditional - away), *ends)
            torch.testing.assert_close(
                made.negatives[level - 1, [row]], embedding, atol=1e-4, rtol=1e-3
            )
        torch.testing.assert_close(made.clean[[row]], sampled, rtol=1e-3, atol=1e-4)


def test_null_text_comes_nearer_than_guidance_alone(model, latents):
    schedule, source = Schedule.of(model.scheduler, 6), model.embed(SOURCES)
    path = ddim_invert(model, latents, source, schedule)
    errors = [
        (null_text(model, path, source, 7.5, inner).clean - latents).square().mean()
        for inner in (0, 10)
    ]
    assert errors[1] < 0.75 * errors[0]


def test_null_text_stops_an_image_that_is_near_enough_and_asks_no_more(model, latents):
    """One on a path that sampling itself takes is looked at once; one beside it, to the end."""
    schedule, source = Schedule.of(model.scheduler, 3), model.embed(SOURCES)
    path = ddim_invert(model, latents, source, schedule)
    reached = null_text(model, path, source, 1.0, 1)
    again = null_text(model, replace(reached, evaluations=(0, 0)), source, 1.0, 10)
    assert again.evaluations == (3 * (1 + 2),) * 2
    far = replace(reached, evaluations=(0, 0), trajectory=reached.trajectory.clone())
    far.trajectory[:-1, 1] += 1.0
    assert null_text(model, far, source, 1.0, 4).evaluations == (3 * (1 + 2), 3 * (4 + 2))
    assert not any(parameter.requires_grad for parameter in model.unet.parameters())


@pytest.mark.parametrize("method", ["direct", "edit-friendly", "virtual"])
@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
def test_exact_methods_reconstruct_what_the_autoencoder_does(model, images, method, guidance_scale):
    bound = reconstruct(model, images, SOURCES, "autoencoder")
    made = reconstruct(model, images, SOURCES, method, 6, guidance_scale)
    for exact, best in zip(made, bound, strict=True):
        np.testing.assert_allclose(exact.image, best.image, atol=1e-3)


def test_null_text_makes_good_for_some_of_what_guidance_loses():
    """With the bundled model, since a random one has little that an embedding could steer."""
    model, subjects = LatentDiffusion.load(), PhantomCohort("development", 1, seed=3)
    asks = [model, [subjects.image(0)], ["chest xray of the patient"]]
    (best,) = reconstruct(*asks, "autoencoder")
    (plain,) = reconstruct(*asks, "ddim", 10, 7.5)
    (optimised,) = reconstruct(*asks, "null-text", 10, 7.5)
    bound = psnr(best.image, best.factual)
    lost, left = (bound - psnr(one.image, best.factual) for one in (plain, optimised))
    assert lost > 1 and left < 0.75 * lost


def test_negative_prompt_inversion_guides_away_from_the_source(model, latents):
    """Under the source prompt guidance cancels, so that it is DDIM without any."""
    _, steered = walked(model, latents, recipe("negative-prompt", guidance_scale=9.0), SOURCES)
    _, plain = walked(model, latents, recipe("ddim", guidance_scale=1.0), SOURCES)
    torch.testing.assert_close(steered.target, plain.target, rtol=1e-3, atol=1e-4)


def test_half_precision_keeps_paths_exact(tiny_folder, images):
    """Latents stay float32, so that what the network rounds is the same in both branches."""
    half = LatentDiffusion.load(str(tiny_folder), dtype=torch.bfloat16)
    latents = half.encode(torch.from_numpy(np.stack(images))[:, None])
    assert latents.dtype == torch.float32
    for kind in KINDS:
        _, ends = walked(half, latents, recipe(kind, guidance_scale=4.0), SOURCES)
        torch.testing.assert_close(ends.target, latents, rtol=0, atol=1e-3)


def test_what_is_faint_everywhere_around_is_dropped():
    """A tone, a thin wire in it and a block: with 256 pixels a difference speaks for 2 around."""
    change = torch.full((1, 1, 256, 256), 0.02)
    change[..., 100] = -0.2
    change[..., 30:60, 30:60] = 0.12
    kept = without_faint(change, 0.1)
    torch.testing.assert_close(kept[..., 100], change[..., 100])
    torch.testing.assert_close(kept[..., 30:60, 30:60], change[..., 30:60, 30:60])
    assert (kept[..., 70:90, 10:90] == 0).all() and (kept.abs() <= change.abs()).all()
    assert without_faint(change, 0.0) is change
    assert (without_faint(change, 0.03) != 0).all()


@given(floor=st.floats(0.01, 1.0), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_dropping_more_leaves_less_and_no_sign_is_turned(floor, seed):
    change = 0.3 * seeded_noise((2, 1, 64, 64), seed)
    less, more = without_faint(change, floor), without_faint(change, floor / 2)
    assert (less.abs() <= more.abs() + 1e-6).all() and (less * change >= 0).all()
    torch.testing.assert_close(without_faint(change[1:], floor), less[1:])


def region(edit, keep=None):
    return Region(edit, keep)


@pytest.mark.parametrize("kind", ["edit-friendly", "noise", "direct"])
def test_what_is_kept_does_not_change_and_what_is_not_edited_is_asked_for_nothing(
    model, latents, kind
):
    """Kept cells end as the source does; cells of neither kind follow the prompt to avoid."""
    left, right = np.zeros((2, 64, 64), bool)
    left[:, :24], right[:, 40:] = True, True
    chosen = recipe(kind)
    prompts = embed_prompts(model, SOURCES, TARGETS, chosen)
    inversion = invert(model, latents, prompts.source, chosen, SEEDS)
    control = prompt_to_prompt(model, SOURCES, TARGETS, chosen, 77)
    masks = from_regions([Region(left, right)] * 2, latents)
    assert masks.edit[..., :3].all() and not masks.edit[..., 3:].any()
    assert masks.keep[..., 5:].all() and not masks.keep[..., :5].any()
    ends = sample_branches(model, inversion, prompts, control, chosen, masks)
    moved = (ends.target - ends.source).abs().amax(dim=(0, 1, 2))
    assert (moved[5:] == 0).all() and (moved[:5] > 1e-3).all()
    if METHODS[kind].shared:
        same = replace(prompts, target=prompts.source)
        still = sample_branches(model, inversion, same, control, chosen, masks)
        torch.testing.assert_close(still.target, still.source, rtol=0, atol=1e-3)
    unmasked = sample_branches(model, inversion, prompts, control, chosen)
    assert (unmasked.target - unmasked.source).abs().amax(dim=(0, 1, 2)).min() > 1e-3


def test_everything_kept_is_nothing_changed(model, encoder, images):
    nowhere = region(np.zeros((64, 64), bool))
    for kind in ("edit-friendly", "noise", "virtual", "direct"):
        chosen = recipe(kind, mask="given", residual=True)
        made = edit(model, encoder, images, SOURCES, TARGETS, chosen, regions=[nowhere] * 2)
        for one in made:
            np.testing.assert_allclose(one.image, one.factual, atol=1e-4)


def test_wrong_masks_are_refused(model, encoder, images):
    whole = region(np.ones((64, 64), bool))
    given_one = recipe("edit-friendly", mask="given")
    asks = [model, encoder, images, SOURCES, TARGETS]
    with pytest.raises(UsageError, match="got none masks for 2 images"):
        edit(*asks, given_one)
    with pytest.raises(UsageError, match="got 1 masks for 2 images"):
        edit(*asks, given_one, regions=[whole])
    with pytest.raises(UsageError, match="subject 1: got a mask of"):
        edit(*asks, given_one, regions=[whole, region(np.ones((8, 8), bool))])
    with pytest.raises(UsageError, match="mask 'none'"):
        edit(*asks, recipe("edit-friendly"), regions=[whole] * 2)


def test_blending_keeps_the_source_where_no_word_looks(model):
    alignment = align_prompts(model.tokenizer, SOURCES[:1], TARGETS[:1], 77)
    words = alignment.subjects
    maps = Maps()
    heat = torch.zeros(1, 2, 16, 77)
    token = int(words[1, 0].nonzero()[0])
    heat[..., 0, token] = 1.0  # the first of four by four positions
    maps.add(torch.zeros_like(heat), heat)
    mask = maps.mask(words, 0.3, (8, 8))
    assert mask.shape == (1, 1, 8, 8)
    assert mask[0, 0, :4, :4].all() and mask.sum() == 16  # widened by one position


def test_finer_maps_take_the_place_of_coarse_ones():
    maps = Maps()
    with pytest.raises(PrismError, match="no coarse cross-attention"):
        maps.mask(torch.ones(2, 1, 3), 0.5, (4, 4))
    for positions in (4, 16, 4, 16):
        maps.add(torch.ones(1, 2, positions, 3), torch.ones(1, 2, positions, 3))
    assert maps.total.shape == (2, 1, 16, 3) and maps.total.max() == 2


def test_changed_words_and_what_they_are_said_of(model):
    alignment = align_prompts(model.tokenizer, SOURCES[:1], TARGETS[:1], 77)
    spell = model.tokenizer
    for side, prompt, changed, subjects in (
        (0, SOURCES[0], "with lots of", "with lots of medical"),
        (1, TARGETS[0], "without", "without medical"),
    ):
        ids = torch.tensor(spell(prompt).input_ids)
        for marks, words in ((alignment.changed, changed), (alignment.subjects, subjects)):
            found = ids[marks[side, 0, : len(ids)].bool()].tolist()
            assert found == spell(words, add_special_tokens=False).input_ids


def test_weighted_words_get_more_attention(model, latents):
    held = recipe("direct-shared", attention="prompt-to-prompt", cross_replace=1.0)
    _, plain = walked(model, latents, held)
    _, weighted = walked(model, latents, replace(held, word_weight=4.0))
    assert (plain.target - weighted.target).abs().max() > 1e-3


def test_self_attention_is_replaced_in_a_range_of_steps(model, latents):
    held = recipe("direct-shared", attention="prompt-to-prompt", self_replace=0.8)
    prompts = embed_prompts(model, SOURCES, TARGETS, held)
    control = prompt_to_prompt(model, SOURCES, TARGETS, replace(held, self_replace_from=0.4), 77)
    assert [control.replaces(step, 10)[1] for step in range(10)] == (
        [False] * 4 + [True] * 4 + [False] * 2
    )
    assert prompts.source.shape[1] == 77


def test_a_sweep_keeps_the_best_by_direction(model, encoder, images):
    values = (0.0, 0.5, 1.0)
    chosen = recipe("direct-shared", attention="prompt-to-prompt", cross_replace=0.4)
    swept = edit(model, encoder, images, SOURCES, TARGETS, replace(chosen, sweep=values))
    each = [
        edit(model, encoder, images, SOURCES, TARGETS, replace(chosen, self_replace=value))
        for value in values
    ]
    for row, best in enumerate(swept):
        scores = [one[row].s_clip for one in each]
        assert best.s_clip == pytest.approx(max(scores), abs=1e-4)
        winner = each[int(np.argmax(scores))][row]
        np.testing.assert_allclose(best.image, winner.image, atol=1e-4)
        assert best.nfe > max(one[row].nfe for one in each)
        assert best.self_replace == values[int(np.argmax(scores))]
        assert winner.self_replace == best.self_replace


def test_the_authors_recipe_runs_and_costs_what_it_says(model, encoder, images, evaluations):
    short = replace(RECIPES["authors"], steps=3, inner_steps=2, sweep=(0.4, 0.8))
    made = edit(model, encoder, images[:1], SOURCES[:1], TARGETS[:1], short)
    assert made[0].nfe == sum(evaluations)
    assert made[0].recipe == short


def test_kept_inversions_are_read_and_torn_ones_made_again(
    model, encoder, images, tmp_path, evaluations
):
    kept = InversionCache(tmp_path / "inversions")
    chosen = recipe("null-text", guidance_scale=4.0)
    asks = [model, encoder, images, SOURCES, TARGETS, chosen]
    first = edit(*asks, kept=kept)
    files = sorted(kept.folder.iterdir())
    assert len(files) == 2

    def again():
        evaluations.clear()
        for a, b in zip(first, edit(*asks, kept=kept), strict=True):
            np.testing.assert_allclose(a.image, b.image, atol=1e-4)
            assert a.nfe == b.nfe
        return sum(evaluations)

    cheap = again()
    whole = files[0].read_bytes()
    for damaged in (whole[:-5], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        files[0].write_bytes(damaged)
        assert again() > cheap
        assert again() == cheap
    other = edit(model, encoder, images, SOURCES, SOURCES[::-1], chosen, kept=kept)
    assert len(sorted(kept.folder.iterdir())) == 2 and len(other) == 2


@pytest.mark.parametrize(
    "changes",
    [{"steps": 6}, {"guidance_scale": 5.0}, {"inner_steps": 4}, {"strength": 0.6}],
)
def test_other_settings_are_other_inversions(model, images, tmp_path, changes):
    kept, chosen = InversionCache(tmp_path), recipe("null-text")
    before = kept.names(model, images, SOURCES, chosen)
    assert set(before).isdisjoint(kept.names(model, images, SOURCES, replace(chosen, **changes)))
    assert set(before).isdisjoint(kept.names(model, images, SOURCES[::-1], chosen))
    assert before == kept.names(model, images, SOURCES, replace(chosen, blend=0.3, name="other"))


def test_every_inversion_has_a_method():
    assert set(METHODS) == {
        "ddim",
        "negative-prompt",
        "null-text",
        "direct",
        "delta",
        "noise",
        *KINDS,
    }
