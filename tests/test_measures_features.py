"""Measures that look through a network: by closed form, and on networks made for the purpose."""

import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib.errors import UsageError
from prismlib.measures import distribution, extractors, identity, perceptual
from prismlib.models.classifiers import Classifier


def gaussian(seed, n, mean, scale):
    """Features (n, D) whose sample mean and covariance are exactly `mean` and diag(scale^2)."""
    rows = np.random.default_rng(seed).normal(size=(n, len(mean)))
    rows -= rows.mean(axis=0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return torch.tensor(rows * np.array(scale) + np.array(mean))


def test_fid_of_two_gaussians_by_closed_form():
    first, second = gaussian(0, 60, [0, 1, 2], [1, 2, 3]), gaussian(1, 80, [1, 1, 0], [2, 2, 1])
    # Squared distance of the means, and of the deviations where the covariances commute.
    assert distribution.fid(first, second) == pytest.approx((1 + 4) + (1 + 0 + 4), abs=1e-6)
    assert distribution.fid(first, first) == pytest.approx(0, abs=1e-6)
    assert distribution.fid(first, second) == pytest.approx(distribution.fid(second, first))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_a_shift_of_all_features_adds_its_squared_length_to_the_fid(seed, shift):
    rows = torch.tensor(np.random.default_rng(seed).normal(size=(30, 4)))
    moved = rows + torch.tensor(shift, dtype=torch.float64)
    assert distribution.fid(rows, moved) == pytest.approx(np.dot(shift, shift), abs=1e-4)


def test_fid_of_fewer_images_than_features_stays_near_zero_for_a_set_and_itself():
    rows = torch.tensor(np.random.default_rng(0).normal(size=(20, 64)))
    spread = float(rows.var(0).sum())
    assert abs(distribution.fid(rows, rows)) < 1e-3 * spread


def mmd_by_the_book(x, y):
    """Binkowski et al. (2018): means of the kernel over pairs of different rows."""
    kernel = [(a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
    n, m = len(x), len(y)
    within = [(k.sum() - np.trace(k)) / (s * (s - 1)) for k, s in zip(kernel, (n, m), strict=False)]
    return sum(within) - 2 * kernel[2].mean()


def test_kid_agrees_with_a_second_implementation():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), rng.normal(0.4, 1.2, size=(40, 6))
    found = distribution.kid(torch.tensor(x), torch.tensor(y))
    assert found == pytest.approx(mmd_by_the_book(x, y), rel=1e-6)


def test_kid_of_sets_that_do_not_differ_scatters_around_zero():
    rng = np.random.default_rng(0)
    draws = [torch.tensor(rng.normal(size=(2, 40, 6))) for _ in range(60)]
    same = np.array([distribution.kid(*pair) for pair in draws])
    other = np.array([distribution.kid(a, b + 0.5) for a, b in draws])
    assert abs(same.mean()) < 3 * same.std() / np.sqrt(len(same))
    assert 0.2 < (same < 0).mean() < 0.8
    assert other.mean() > 5 * same.std()


def test_kid_of_unequal_sets_depends_on_the_generator_alone_and_leaves_torchs_stream():
    rng = np.random.default_rng(0)
    x, y = torch.tensor(rng.normal(size=(40, 6))), torch.tensor(rng.normal(1, 1, size=(25, 6)))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = distribution.kid(x, y, np.random.default_rng(1))
    assert torch.rand(1) == expected
    assert distribution.kid(x, y, np.random.default_rng(1)) == first
    assert first == pytest.approx(mmd_by_the_book(x.numpy(), y.numpy()), rel=0.2)


def test_sets_too_small_or_of_two_networks():
    one, two = torch.ones(1, 3), torch.rand(2, 3)
    assert math.isnan(distribution.fid(one, two)) and math.isnan(distribution.kid(two, one))
    for distance in (distribution.fid, distribution.kid):
        with pytest.raises(UsageError):
            distance(two, torch.rand(2, 4))


def films(seed, n, level=0.5):
    rng = np.random.default_rng(seed)
    return torch.tensor(np.clip(rng.normal(level, 0.1, (n, 1, 8, 8)), 0, 1), dtype=torch.float32)


def test_a_set_stands_beside_its_own_halves():
    both = {
        "mean": lambda images: images.mean((2, 3)),
        "corner": lambda images: images[:, 0, :2, 0],
    }
    rows = distribution.set_distances(films(0, 60), films(1, 40, 0.7), both)
    assert [row.extractor for row in rows] == ["mean", "corner"]
    for row in rows:
        assert (row.n_reference, row.n_generated, row.n_halves) == (60, 40, 30)
        assert row.fid > 10 * row.fid_halves > 0
        assert row.kid > 3 * row.kid_halves > 0
    alike = distribution.set_distances(films(0, 60), films(2, 60), both)
    assert all(row.fid < 3 * row.fid_halves for row in alike)


def test_no_patient_stands_in_both_halves():
    patients = [f"patient{number // 3}" for number in range(30)]
    for seed in range(5):
        first, second = distribution._halves(30, patients, np.random.default_rng(seed))
        assert sorted([*first, *second]) == list(range(30))
        assert not {patients[row] for row in first} & {patients[row] for row in second}
    with pytest.raises(UsageError, match="2 patients for 3"):
        distribution._halves(3, ["a", "b"], np.random.default_rng(0))


def test_what_an_extractor_gives_is_checked_and_does_not_depend_on_the_batch():
    images = films(0, 7)
    whole = extractors.features(images, lambda part: part.mean((2, 3)))
    parts = extractors.features(images, lambda part: part.mean((2, 3)), batch_size=2)
    assert whole.shape == (7, 1) and whole.dtype == torch.float64 and torch.equal(whole, parts)
    with pytest.raises(UsageError, match="N above 0"):
        extractors.features(images[:0], lambda part: part)
    with pytest.raises(UsageError, match="the extractor gave"):
        extractors.features(images, lambda part: part.mean())
    with pytest.raises(UsageError, match="the extractor gave"):
        extractors.features(images, lambda part: part)


@pytest.fixture(scope="module")
def classifier():
    """An untrained grey network of timm's, 64 pixels a side."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", in_chans=1, num_classes=4)
    model.pretrained_cfg["input_size"] = (1, 64, 64)
    return Classifier(model)


def test_a_classifiers_features_are_what_its_last_layer_reads(classifier):
    images = torch.rand(3, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    found = extractors.features(images, extractors.classifier_features(classifier))
    assert torch.allclose(
        classifier.model.get_classifier()(found.float()), classifier.logits(images), atol=1e-5
    )


def test_a_classifiers_stages_grow_coarser(classifier):
    with torch.no_grad():
        maps = extractors.classifier_stages(classifier)(torch.rand(2, 1, 96, 96))
    sizes = [stage.shape[-1] for stage in maps]
    assert len(sizes) > 2 and sizes == sorted(sizes, reverse=True) and sizes[0] == 32


def test_clip_features_have_unit_length():
    encoder = SimpleNamespace(embed_images=lambda images: images.flatten(1)[:, :2] * 7)
    found = extractors.clip_features(encoder)(films(0, 3))
    assert torch.allclose(found.norm(dim=1), torch.ones(3))


def test_perceptual_distance_by_hand():
    def stages(images):
        level = images.mean((2, 3), keepdim=True)
        fine = torch.cat([level, 1 - level], 1).expand(-1, -1, 2, 2)
        return [fine, 5 * level.expand(-1, 3, 1, 1)]

    black, white = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    # Fine stage: (0, 1) against (1, 0), squared length 2; coarse: no length against a unit vector.
    found = perceptual.perceptual_distance(black, white, stages)
    assert found.tolist() == pytest.approx([(2 + 1) / 2])


def test_perceptual_distance_on_a_network(classifier):
    stages = extractors.classifier_stages(classifier)
    a, b = torch.rand(2, 2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    near, far = (perceptual.perceptual_distance(a, a + s * (b - a), stages) for s in (0.05, 1.0))
    assert perceptual.perceptual_distance(a, a, stages).tolist() == [0, 0]
    assert ((near > 0) & (near < far) & (far < 4)).all()
    assert torch.allclose(far, perceptual.perceptual_distance(b, a, stages))
    with pytest.raises(UsageError, match="one shape"):
        perceptual.perceptual_distance(a, b[:1], stages)


def test_same_patient_by_hand():
    factual, edited = [[1, 0], [3, 4], [0, 0]], [[2, 0], [4, 3], [1, 1]]
    assert identity.same_patient(factual, edited) == pytest.approx([1, 0.96, np.nan], nan_ok=True)
    with pytest.raises(UsageError, match="one shape"):
        identity.same_patient([[1, 0]], [1, 0])


def test_strangers_are_pairs_of_two_patients():
    embeddings, patients = [[1, 0], [0, 1], [1, 1], [-1, 0]], ["a", "a", "b", "c"]
    half = 0.5**0.5
    assert sorted(identity.strangers(embeddings, patients)) == pytest.approx(
        sorted([half, -1, half, 0, -half])
    )
    with pytest.raises(UsageError):
        identity.strangers(embeddings, ["a"])


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.floats(0, 0.99))
def test_a_verifier_lets_no_more_strangers_pass_than_it_may(impostors, false_matches):
    threshold = identity.verifier_threshold(impostors, false_matches)
    assert np.mean(np.array(impostors) > threshold) <= false_matches
    assert threshold in impostors


def test_verification_by_hand():
    found = identity.verify([0.9, 0.8, 0.3, 0.7, np.nan], 0.7)
    assert (found.n, found.share) == (4, 0.5)
    assert found.low < 0.5 < found.high
    assert math.isnan(identity.verify([], 0.5).share)
    assert math.isnan(identity.verify([0.5], identity.verifier_threshold([])).share)
    with pytest.raises(UsageError):
        identity.verifier_threshold([0.1], 1.0)
