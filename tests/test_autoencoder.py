"""The autoencoder: how images get into its channels, and that it starts as principal components."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation
from sklearn.decomposition import PCA

from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.cohorts.phantom.subject import DEVICE_KINDS
from prismlib.errors import UsageError
from prismlib.models import architectures
from prismlib.models.clip import ImageTextEncoder
from prismlib.models.data import SIDE, prepare_images
from prismlib.models.epochs import shuffled
from prismlib.models.folding import factor_of, fold_of, to_channels, to_images
from prismlib.models.linear_start import linear_start
from prismlib.models.places import find_letters, find_places
from prismlib.models.train_vae import (
    VaeObjective,
    VaeSettings,
    begin,
    settle_latents,
    unrecovered_contrast,
)


def small(**changes) -> AutoencoderKL:
    """prism-mini's in small: squares of 4 pixels, 3 latent channels."""
    sizes = {"in_channels": 16, "out_channels": 16, "latent_channels": 3, "sample_size": 4}
    return architectures.autoencoder(
        {**architectures.AUTOENCODER, "block_out_channels": (32,), **sizes, **changes}
    )


@pytest.fixture(scope="module")
def images():
    """Smooth (B, 1, 32, 32) in [0, 1], of which few components say nearly all."""
    coarse = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic").clamp(0, 1)


def patches(vae, images):
    return to_channels(images, vae).movedim(1, -1).flatten(0, -2)


@given(fold=st.sampled_from([1, 2, 4, 8]), rows=st.integers(1, 3), columns=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_folding_loses_nothing(fold, rows, columns):
    images = torch.rand(2, 1, 8 * rows, 8 * columns)
    vae = small(in_channels=fold**2, out_channels=fold**2)
    seen = to_channels(images, vae)
    assert seen.shape == (2, fold**2, 8 * rows // fold, 8 * columns // fold)
    torch.testing.assert_close(to_images(seen), images)


def test_stable_diffusion_sees_grey_as_rgb_and_its_colours_are_averaged():
    vae = architectures.autoencoder(
        {**architectures.AUTOENCODER, "in_channels": 3, "out_channels": 3}
    )
    images = torch.rand(2, 1, 8, 8)
    seen = to_channels(images, vae)
    assert seen.shape == (2, 3, 8, 8) and fold_of(3) == fold_of(1) == 1
    torch.testing.assert_close(to_images(seen), images)
    torch.testing.assert_close(
        to_images(torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)), torch.full((1, 1, 1, 1), 0.5)
    )


def test_a_latent_is_as_wide_as_its_square_times_the_levels():
    assert factor_of(architectures.autoencoder()) == 16
    two = {"down_block_types": ("DownEncoderBlock2D",) * 2, "block_out_channels": (32, 32)}
    assert factor_of(small(**two, up_block_types=("UpDecoderBlock2D",) * 2)) == 8


def test_it_starts_as_the_principal_components_that_scikit_learn_finds(images):
    vae = small().eval()
    known = patches(vae, images)
    linear_start(vae, known)
    pca = PCA(3).fit(known.double().numpy())
    expected = pca.inverse_transform(pca.transform(known.double().numpy()))
    with torch.no_grad():
        posterior = vae.encode(to_channels(images, vae)).latent_dist
        drawn = patches(vae, to_images(vae.decode(posterior.mode()).sample))
    latents = posterior.mode().movedim(1, -1).flatten(0, -2).numpy()
    assert np.abs(drawn.numpy() - expected).max() < 0.02
    assert np.abs(drawn.numpy() - expected).mean() < 0.002
    shares = pca.explained_variance_**0.25
    np.testing.assert_allclose(latents.std(axis=0), shares / (shares**2).mean() ** 0.5, rtol=0.02)
    np.testing.assert_allclose(np.abs(np.corrcoef(latents.T) - np.eye(3)), 0, atol=0.02)
    assert posterior.std.max() < 0.01  # the posterior is nearly certain


def test_all_of_a_linear_start_can_learn(images):
    vae = small()
    linear_start(vae, patches(vae, images))
    seen = to_channels(images, vae)
    for _ in range(2):  # what a zero holds up learns from the second step on
        error = vae.decode(vae.encode(seen).latent_dist.mean).sample - seen
        vae.zero_grad()
        error.square().mean().backward()
        still = {name for name, p in vae.named_parameters() if not p.grad.abs().sum() > 0}
        with torch.no_grad():
            for parameter in vae.parameters():
                parameter -= 1e-3 * parameter.grad
    assert still <= {"quant_conv.bias"} and error.isfinite().all()


def test_a_linear_start_names_what_it_cannot_do(images):
    two = {"down_block_types": ("DownEncoderBlock2D",) * 2, "block_out_channels": (32, 32)}
    deep = small(**two, up_block_types=("UpDecoderBlock2D",) * 2)
    with pytest.raises(UsageError, match="2 levels; a linear start needs one of one"):
        linear_start(deep, patches(deep, images))
    narrow = small(latent_channels=10)
    with pytest.raises(UsageError, match="10 latent channels; an autoencoder so narrow carries 8"):
        linear_start(narrow, patches(narrow, images))


def test_what_the_image_text_encoder_sees_counts_too():
    clip = ImageTextEncoder.load("prism-mini")
    side, vae = clip.size, small(in_channels=1, out_channels=1)
    targets = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(1)) / 2
    settings = VaeSettings(feature_weight=2.0, crop=SIDE)
    pixels = VaeObjective(vae, None, settings)
    both = VaeObjective(vae, None, settings, clip=clip)
    batch = {"images": targets, "noise": torch.zeros(2, 3, side, side)}
    with torch.no_grad():
        latents = vae.encode(to_channels(targets, vae)).latent_dist.mean
        made = to_images(vae.decode(latents).sample).clamp(0, 1)
    seen = zip(clip.patch_features(made), clip.patch_features(targets), strict=True)
    unlike = sum((a - b).square().mean().item() for a, b in seen)
    loss = both(batch)
    assert unlike > 0.01
    assert loss.item() - pixels(batch).item() == pytest.approx(2 * unlike, rel=1e-3)
    loss.backward()
    assert vae.decoder.conv_out.weight.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in clip.model.parameters())


def test_an_encoder_of_whole_pictures_is_not_shown_crops():
    with pytest.raises(UsageError, match="crop is 128; with feature_weight it is 512"):
        VaeSettings(feature_weight=0.2)


@pytest.mark.parametrize(("error", "best"), [("absolute", 0.0), ("squared", 0.25)])
def test_where_a_line_is_uncertain_one_error_draws_none_the_other_its_mean(error, best):
    vae = small(in_channels=1, out_channels=1)
    images = (torch.arange(16.0) % 4 == 0).float().reshape(1, 1, 4, 4)  # a quarter is white
    alike = VaeSettings(error=error, edge_weight=0.0, kl_weight=0.0)
    objective = VaeObjective(vae, None, alike)
    batch = {"images": images, "noise": torch.zeros(1, 3, 4, 4)}
    greys, losses = torch.linspace(0, 1, 21), []
    for grey in greys:
        torch.nn.init.zeros_(vae.decoder.conv_out.weight)
        torch.nn.init.constant_(vae.decoder.conv_out.bias, float(2 * grey - 1))
        losses.append(objective(batch).item())
    assert float(greys[int(np.argmin(losses))]) == pytest.approx(best)


def test_how_far_the_latents_moved_from_those_they_began_as_counts_too(images):
    vae = small()
    linear_start(vae, patches(vae, images))
    plain = VaeObjective(vae, None, VaeSettings(error="squared"))
    held = VaeObjective(vae, None, VaeSettings(error="squared", keep_latents=3.0))
    batch = {"images": images, "noise": torch.zeros(len(images), 3, 8, 8)}
    assert held(batch).item() == plain(batch).item()  # nothing has moved
    with torch.no_grad():
        vae.quant_conv.bias[:3] += 0.1
    assert held(batch).item() - plain(batch).item() == pytest.approx(3 * 0.1**2, rel=1e-3)
    held(batch).backward()
    assert vae.encoder.conv_in.weight.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in held.first_encoder.parameters())


def test_latents_are_not_held_where_nothing_could_move_them_or_they_mean_nothing(images):
    with pytest.raises(UsageError, match="keep_latents with decoder_only"):
        VaeSettings(keep_latents=0.1, decoder_only=True)
    with pytest.raises(UsageError, match="keep_latents goes with --start MODEL or linear=true"):
        begin(small(), None, VaeSettings(keep_latents=0.1, linear=False))


def test_an_encoder_that_is_held_learns_and_its_latents_stay_near(images):
    moved, errors = {}, {}
    for weight in (0.0, 10.0):
        vae = small()
        linear_start(vae, patches(vae, images))
        seen = to_channels(images, vae)
        with torch.no_grad():
            before = vae.encode(seen).latent_dist.mean
        held = VaeSettings(error="squared", keep_latents=weight)
        objective = VaeObjective(vae, None, held)
        batch = {"images": images, "noise": torch.zeros(len(images), 3, 8, 8)}
        optimizer = torch.optim.Adam((p for p in vae.parameters()), lr=1e-3)
        first = plain_error(vae, images)
        for _ in range(40):
            optimizer.zero_grad()
            objective(batch).backward()
            optimizer.step()
        with torch.no_grad():
            moved[weight] = (vae.encode(seen).latent_dist.mean - before).square().mean().item()
        errors[weight] = plain_error(vae, images) / first
        scale = vae.config.scaling_factor
        settle_latents(vae, images, held)
        assert (vae.config.scaling_factor == scale) == (weight > 0)
    assert errors[0.0] < 0.9 and errors[10.0] < 0.95
    assert moved[10.0] < moved[0.0] / 4


@torch.no_grad()
def plain_error(vae, images):
    latents = vae.encode(to_channels(images, vae)).latent_dist.mean
    return (to_images(vae.decode(latents).sample) - images).square().mean().item()


@given(kept=st.floats(0.0, 2.0), bright=st.floats(-0.3, 0.3), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_contrast_is_recovered_whatever_is_broad_or_elsewhere(kept, bright, seed):
    rng = torch.Generator().manual_seed(seed)
    lines = 0.1 * torch.randn(3, 1, 64, 64, generator=rng)
    near = torch.zeros(3, 2, 64, 64)
    near[1, 0, 8:40, 16:48] = 1.5  # the second kind is not in the batch
    asked = 1.5 * (1 - kept) ** 2 / 2
    assert unrecovered_contrast(kept * lines + bright, lines, near).item() == pytest.approx(
        asked, rel=1e-3, abs=1e-6
    )
    far = kept * lines
    far[0] = far[2] = 7.0
    assert unrecovered_contrast(far, lines, near).item() == pytest.approx(asked, rel=1e-3, abs=1e-6)
    assert unrecovered_contrast(far, lines, torch.zeros_like(near)).item() == 0.0


def test_one_contrast_too_high_makes_up_for_one_too_low():
    """That of a batch is asked, not of each line: who does not know a line draws its mean."""
    line = torch.zeros(1, 1, 64, 64)
    line[..., 30:34] = 0.2
    target, near = line.repeat(2, 1, 1, 1), torch.ones(2, 1, 64, 64)
    made = torch.cat([0.5 * line, 1.5 * line])
    assert unrecovered_contrast(made, target, near).item() == pytest.approx(0.0, abs=1e-9)
    assert unrecovered_contrast(0.5 * target, target, near).item() == pytest.approx(0.25)


@torch.no_grad()
def reconstructed(vae, batch):
    posterior = vae.encode(to_channels(batch["images"], vae)).latent_dist
    return to_images(vae.decode(posterior.mean + posterior.std * batch["noise"]).sample)


def test_errors_near_a_device_weigh_more_where_the_simulator_knows_of_one(tmp_path):
    cohort = PhantomCohort("train", 12, seed=0)
    data = prepare_images(cohort, tmp_path, report=str)
    places = find_places(cohort, data, report=str)
    vae = small(in_channels=1, out_channels=1)
    plain = VaeObjective(vae, data, VaeSettings(crop=200))
    near = VaeObjective(vae, data, VaeSettings(crop=200, device_weight=4.0), places=places)
    batches = [it.draw(np.random.default_rng(3), 0, 12) for it in (plain, near)]
    weights = batches[1].pop("weights")
    assert all(torch.equal(batches[0][key], batches[1][key]) for key in batches[0])
    rng = np.random.default_rng(3)
    rows, corners = shuffled(12, 0, 0, 12), rng.integers(0, SIDE - 200 + 1, (12, 2))
    shares = data.table.filter(like="device:").mean()
    for row, (top, left), weight in zip(rows, corners, weights, strict=True):
        inside = np.zeros((200, 200), dtype=bool)
        inside[16:-16, 16:-16] = True  # a device just outside a crop reaches into it
        for kind in DEVICE_KINDS:
            there = cohort.masks(int(row))[kind][top : top + 200, left : left + 200]
            rare = (shares.mean() / shares[f"device:{kind}"]) ** 0.5 if there.any() else 0.0
            assert (weight[0].numpy()[there] >= np.float32(1 + 4 * rare) - 1e-5).all()
            inside &= ~binary_dilation(there, np.ones((3, 3)), iterations=8)
        assert (weight[0].numpy()[inside] == 1).all()
    real = VaeObjective(
        vae, data, VaeSettings(real_share=1.0, device_weight=4.0), data, None, places
    )
    assert (real.draw(np.random.default_rng(0), 0, 4)["weights"] == 1).all()
    ones = {**batches[1], "weights": torch.ones_like(weights)}
    assert near(ones).item() == pytest.approx(plain(batches[1]).item())
    assert near(batches[1] | {"weights": weights}).item() > plain(batches[1]).item()
    sharp = VaeObjective(vae, data, VaeSettings(crop=200, contrast_weight=4.0), places=places)
    batch = sharp.draw(np.random.default_rng(3), 0, 12)
    assert (batch["weights"] == 1).all()
    torch.testing.assert_close(1 + 4 * batch["kinds"].amax(dim=1, keepdim=True), weights)
    lost = unrecovered_contrast(reconstructed(vae, batch), batch["images"], batch["kinds"])
    assert lost > 0 and sharp(batch).item() == pytest.approx(
        plain(batches[1]).item() + 4 * lost.item(), rel=1e-3
    )
    real = VaeObjective(
        vae, data, VaeSettings(real_share=1.0, contrast_weight=4.0), data, None, places
    )
    assert (real.draw(np.random.default_rng(0), 0, 4)["kinds"] == 0).all()


def test_crops_may_lie_over_burned_in_letters(tmp_path):
    cohort = PhantomCohort("train", 40, seed=0)
    data = prepare_images(cohort, tmp_path, report=str)
    letters = find_letters(cohort)
    blank = np.array([not cohort.lettering(row).any() for row in range(40)])
    assert ((letters == -1).all(axis=(1, 2)) == blank).all() and blank.any() and not blank.all()
    vae = small(in_channels=1, out_channels=1)
    over = VaeObjective(vae, data, VaeSettings(crop=128, lettered=1.0), letters=letters)
    some = VaeObjective(vae, data, VaeSettings(crop=128, lettered=0.0), letters=letters)
    rows, rng = shuffled(40, 0, 0, 40), np.random.default_rng(5)
    anywhere = rng.integers(0, SIDE - 128 + 1, (40, 2))
    corners = over._over_letters(np.random.default_rng(1), letters[rows], anywhere)
    assert corners.min() >= 0 and corners.max() <= SIDE - 128
    for row, (top, left), before in zip(rows, corners, anywhere, strict=True):
        if blank[row]:
            assert (top, left) == tuple(before)
        else:
            (first, last), (west, east) = letters[row]
            assert cohort.lettering(row)[first : last + 1, west : east + 1].max() > 0.1
            assert top <= last and top + 128 > first and left <= east and left + 128 > west
    same = some._over_letters(np.random.default_rng(1), letters[rows], anywhere)
    np.testing.assert_array_equal(same, anywhere)
    made = over.draw(np.random.default_rng(5), 0, 40)["images"]
    plain = VaeObjective(vae, data, VaeSettings(crop=128)).draw(np.random.default_rng(5), 0, 40)
    moved = (made != plain["images"]).flatten(1).any(dim=1).numpy()
    assert (moved == ~blank[rows]).mean() > 0.9
