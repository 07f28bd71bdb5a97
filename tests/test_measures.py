"""Measures by hand arithmetic, against second implementations, and by their properties."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.functional.image import structural_similarity_index_measure

from prismlib.errors import UsageError
from prismlib.measures import (
    agreement,
    alignment,
    classification,
    effect,
    localisation,
    preservation,
)

images = arrays.arrays(np.float32, (6, 5), elements=st.floats(0, 1, width=32))
scores = arrays.arrays(float, 9, elements=st.floats(0, 1))


def radiograph_like(seed: int) -> np.ndarray:
    """Smooth structure with noise, (96, 96) in [0, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:96, 0:96] / 96
    smooth = 0.5 + 0.3 * np.sin(7 * rows + rng.uniform(0, 6)) * np.cos(5 * columns)
    return np.clip(smooth + rng.normal(0, 0.05, (96, 96)), 0, 1).astype(np.float32)


def test_l1_by_hand():
    a = np.array([[0.0, 0.5], [1.0, 0.25]], dtype=np.float32)
    b = np.array([[0.5, 0.5], [0.0, 0.75]], dtype=np.float32)
    assert preservation.l1(a, b) == pytest.approx((0.5 + 0 + 1 + 0.5) / 4)
    mask = np.array([[True, True], [False, False]])
    assert preservation.l1(a, b, mask) == pytest.approx(0.25)
    assert math.isnan(preservation.l1(a, b, np.zeros((2, 2), bool)))


@given(images, images, images)
def test_l1_is_a_distance(a, b, c):
    assert preservation.l1(a, a) == 0
    assert preservation.l1(a, b) == preservation.l1(b, a)
    assert preservation.l1(a, c) <= preservation.l1(a, b) + preservation.l1(b, c) + 1e-9


def test_psnr_and_ssim_agree_with_second_implementations():
    for seed in range(3):
        a = radiograph_like(seed)
        b = np.clip(a + np.random.default_rng(seed + 9).normal(0, 0.03, a.shape), 0, 1)
        b = b.astype(np.float32)
        assert preservation.psnr(a, b) == pytest.approx(
            peak_signal_noise_ratio(a, b, data_range=1), abs=1e-4
        )
        theirs = structural_similarity_index_measure(
            torch.tensor(a)[None, None], torch.tensor(b)[None, None], sigma=1.5, data_range=1.0
        )
        assert preservation.ssim(a, b) == pytest.approx(float(theirs), abs=2e-3)


def test_identical_images():
    a = radiograph_like(0)
    assert preservation.psnr(a, a) == math.inf
    assert preservation.ssim(a, a) == pytest.approx(1)


def test_images_of_two_sizes_are_refused():
    for measure in (preservation.l1, preservation.psnr, preservation.ssim, preservation.ms_ssim):
        with pytest.raises(UsageError, match="one shape"):
            measure(np.zeros((32, 32), np.float32), np.zeros((32, 1), np.float32))
    with pytest.raises(UsageError, match="mask"):
        preservation.l1(np.zeros((4, 4)), np.zeros((4, 4)), np.ones((2, 2), bool))


def test_images_that_the_window_does_not_fit_are_refused():
    small = np.zeros((10, 32), np.float32)
    for measure, least in ((preservation.ssim, 11), (preservation.ms_ssim, 161)):
        with pytest.raises(UsageError, match=f"at least {least}"):
            measure(small, small)


def ms_ssim_by_the_book(a, b):
    """Wang, Simoncelli and Bovik (2003): contrast at five scales, luminance at the last."""
    c1, c2, product = 0.01**2, 0.03**2, 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            a, b = (x.reshape(len(x) // 2, 2, -1, 2).mean(axis=(1, 3)) for x in (a, b))
        blurred = [gaussian_filter(x, 1.5, truncate=3.5) for x in (a, b, a * a, b * b, a * b)]
        mu, nu, aa, bb, ab = (x[5:-5, 5:-5] for x in blurred)
        contrast = (2 * (ab - mu * nu) + c2) / (aa - mu**2 + bb - nu**2 + c2)
        luminance = (2 * mu * nu + c1) / (mu**2 + nu**2 + c1)
        product *= (contrast * luminance if scale == 4 else contrast).mean() ** weight
    return product


def test_ms_ssim_agrees_with_a_second_implementation():
    for noise in (0.01, 0.1):
        a = np.kron(radiograph_like(1), np.ones((2, 2)))
        b = np.clip(a + np.random.default_rng(3).normal(0, noise, a.shape), 0, 1)
        assert preservation.ms_ssim(a, b) == pytest.approx(ms_ssim_by_the_book(a, b), abs=2e-4)
    assert preservation.ms_ssim(a, a) == pytest.approx(1)
    assert preservation.ms_ssim(a, b) < preservation.ms_ssim(a, (a + b) / 2) < 1


def truth_case():
    """A bright device of 0.4 above its ground in the left half; the autoencoder is 0.02 off."""
    mask = np.zeros((8, 8), bool)
    mask[:, :4] = True
    truth = np.full((8, 8), 0.3, np.float32)
    factual = truth + 0.4 * mask
    return factual, factual + 0.02, SimpleNamespace(image=truth, mask=mask)


def test_error_to_truth_of_the_controls():
    factual, autoencoded, truth = truth_case()
    assert preservation.error_to_truth(factual, factual, autoencoded, truth) == (1.0, 0.0)
    assert preservation.error_to_truth(truth.image, factual, autoencoded, truth) == (0.0, 0.0)
    inside, outside = preservation.error_to_truth(autoencoded, factual, autoencoded, truth)
    assert inside == pytest.approx(0.42 / 0.4, abs=1e-5)
    assert outside == pytest.approx(1)


def test_error_to_truth_by_hand():
    factual, autoencoded, truth = truth_case()
    edited = truth.image + np.where(truth.mask, 0.1, -0.01).astype(np.float32)
    inside, outside = preservation.error_to_truth(edited, factual, autoencoded, truth)
    assert inside == pytest.approx(0.1 / 0.4, abs=1e-5)
    assert outside == pytest.approx(0.01 / 0.02, abs=1e-4)


def test_error_to_truth_is_unknown_where_nothing_changes():
    factual, autoencoded, _truth = truth_case()
    unchanged = SimpleNamespace(image=factual, mask=np.zeros((8, 8), bool))
    inside, outside = preservation.error_to_truth(factual, factual, autoencoded, unchanged)
    assert math.isnan(inside) and outside == 0


def test_cpg_by_hand_counts_wrong_directions_and_signed_does_not():
    before, after = [0.9, 0.8, 0.3], [0.1, 0.2, 0.7]
    assert effect.cpg(before, after) == pytest.approx((0.8 + 0.6 + 0.4) / 3)
    assert effect.signed_cpg(before, after, target=0) == pytest.approx((0.8 + 0.6 - 0.4) / 3)
    assert effect.signed_cpg(before, after, target=1) == pytest.approx(-1 / 3)


@given(scores, scores)
def test_signed_gain_never_exceeds_the_published_one(before, after):
    published = effect.cpg(before, after)
    removed = effect.signed_cpg(before, after, 0)
    assert abs(removed) <= published + 1e-12
    assert removed == pytest.approx(-effect.signed_cpg(before, after, 1))
    assert effect.cpg(before, before) == 0 == effect.flip_rate(before, before)


def test_flip_rate_by_hand():
    before, after = [0.9, 0.8, 0.5, 0.2, 0.1], [0.1, 0.6, 0.49, 0.3, 0.9]
    assert effect.flip_rate(before, after) == pytest.approx(3 / 5)
    # Towards "absent" only the three that were called present can flip; two of them do.
    assert effect.flip_rate(before, after, target=0) == pytest.approx(2 / 3)
    assert effect.flip_rate(before, after, target=1) == pytest.approx(1 / 2)
    assert np.isnan(effect.flips(before, after, target=0)[3:]).all()
    assert math.isnan(effect.flip_rate([0.1, 0.2], [0.9, 0.9], target=0))


def test_an_image_without_a_score_neither_flips_nor_fails_to():
    assert np.isnan(effect.flips([np.nan, 0.9, 0.9], [0.1, np.nan, 0.1])).tolist() == [
        True, True, False,
    ]  # fmt: skip
    assert effect.flip_rate([np.nan, 0.9], [0.9, 0.1]) == 1
    with pytest.raises(UsageError, match="target"):
        effect.flips([0.1], [0.2], target=2)


def test_a_threshold_moves_who_can_flip():
    before, after = [0.4, 0.3, 0.1], [0.2, 0.28, 0.05]
    assert math.isnan(effect.flip_rate(before, after, target=0))
    assert effect.flip_rate(before, after, threshold=0.25, target=0) == pytest.approx(1 / 2)


def test_the_largest_logit_shift_keeps_neither_sign_nor_place():
    before = np.zeros((2, 4))
    after = np.array([[0.1, -0.2, 0, 0], [0, 0, -3.0, 2.5]])
    assert effect.max_abs_logit_shift(before, after) == 3.0


def test_scores_that_cannot_be_compared_are_refused():
    with pytest.raises(UsageError):
        effect.cpg([0.1], [0.1, 0.2])
    with pytest.raises(UsageError):
        effect.cpg([], [])
    with pytest.raises(UsageError):
        effect.signed_cpg([0.1], [0.2], target=-1)


def test_average_precision_by_hand_and_at_its_ends():
    # Ranked by |difference|: hit, miss, hit -> AP = 1/2 * 1 + 1/2 * 2/3
    difference = np.array([[-0.9, 0.5], [0.4, 0.1]], dtype=np.float32)
    mask = np.array([[True, False], [True, False]])
    assert localisation.average_precision(difference, mask) == pytest.approx(0.5 + 1 / 3)
    assert localisation.average_precision(mask.astype(np.float32), mask) == 1
    assert localisation.average_precision(np.zeros((2, 2), np.float32), mask) == mask.mean()
    assert math.isnan(localisation.average_precision(difference, np.zeros((2, 2), bool)))


def test_iou_by_hand_and_its_threshold():
    difference = np.array([[-0.9, 0.2], [0.04, 0.0]], dtype=np.float32)
    mask = np.array([[True, False], [True, False]])
    # Two pixels are marked, as the mask has two: one hit of three in the union.
    assert localisation.iou(difference, mask) == pytest.approx(1 / 3)
    assert localisation.iou(difference, mask, 0.5) == pytest.approx(1 / 2)
    assert localisation.iou(difference, mask, 0.03) == pytest.approx(2 / 3)
    assert localisation.iou(np.zeros((2, 2), np.float32), mask) == 0
    assert math.isnan(localisation.iou(difference, np.zeros((2, 2), bool)))
    for faulty in ((difference, mask, 0.0), (difference, mask, math.nan), (difference[:1], mask)):
        with pytest.raises(UsageError):
            localisation.iou(*faulty)


@given(st.floats(0.06, 1), st.floats(0, 0.04), st.booleans())
def test_a_clean_edit_of_the_whole_mask_is_found_whatever_its_sign_and_strength(size, noise, dark):
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3:7] = True
    difference = np.where(mask, -size if dark else size, noise).astype(np.float32)
    assert localisation.iou(difference, mask) == 1 == localisation.iou(difference, mask, 0.05)
    assert localisation.iou(difference / 100, mask) == 1
    assert localisation.iou(difference / 100, mask, 0.05) == 0
    assert localisation.iou(difference, ~mask, 0.05) == 0


@given(st.floats(-0.5, 1.5), st.floats(-0.3, 0.3), st.integers(0, 99))
def test_contrast_kept_is_what_is_left_whatever_the_brightness(share, shift, seed):
    rng = np.random.default_rng(seed)
    without, feature = rng.random((6, 5)), rng.random((6, 5))
    where = rng.random((6, 5)) > 0.3
    where[0, :2] = True
    image = without + share * feature + shift
    image[~where] = 9.0
    kept = preservation.contrast_kept(image, without, without + feature, where)
    assert kept == pytest.approx(share, abs=1e-6)


def test_contrast_of_nothing_is_unknown():
    same = np.zeros((4, 4), np.float32)
    assert math.isnan(preservation.contrast_kept(same, same, same, np.ones((4, 4), bool)))


def test_caption_gain_sees_distance_where_s_clip_sees_direction_alone():
    before, towards = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    small, large = before + 0.01 * (towards - before), before + 0.9 * (towards - before)
    scores = [float(alignment.s_clip(before, after, before, towards)) for after in (small, large)]
    gains = [float(alignment.caption_gain(before, after, towards)) for after in (small, large)]
    assert scores == pytest.approx([1.0, 1.0], abs=1e-5)
    assert 0 < gains[0] < 0.05 < 0.9 < gains[1] < 1


def test_the_editing_score_sees_the_end_and_the_direction_the_way():
    before, after = torch.tensor([[3.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    text_before, text_after = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    # Cosine of (3, 4) and (0, 2).
    assert float(alignment.editing_score(after, text_after)) == pytest.approx(0.8)
    # Equation 1: (0, 4) against (-1, 2). Of unit length: (-0.4, 0.8) against (-1, 1).
    given = (before, after, text_before, text_after)
    assert float(alignment.s_clip(*given)) == pytest.approx(2 / 5**0.5)
    assert float(alignment.directional_similarity(*given)) == pytest.approx(3 / 10**0.5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.floats(0.1, 10))
def test_directional_similarity_knows_no_lengths_and_is_equation_1_of_unit_vectors(seed, scale):
    before, after, source, target = torch.randn(
        4, 3, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    found = alignment.directional_similarity(before, after, source, target)
    scaled = alignment.directional_similarity(scale * before, after, source, scale * target)
    assert torch.allclose(found, scaled)
    units = [x / x.norm(dim=-1, keepdim=True) for x in (before, after, source, target)]
    assert torch.allclose(found, alignment.s_clip(*units))
    still = alignment.directional_similarity(before, scale * before, source, target)
    assert (still == 0).all(), "a change of length alone is no direction"


def test_the_filter_passes_at_its_threshold_and_never_what_is_unknown():
    scores = [0.1, 0.0999, -0.5, 0.7, float("nan")]
    assert alignment.passes(scores).tolist() == [True, False, False, True, False]
    assert alignment.passes(scores, threshold=-0.5).tolist() == [True, True, True, True, False]


def test_performance_by_hand():
    labels = [1, 1, 0, 0, 0, np.nan]
    seeds = [[0.9, 0.4, 0.1, 0.6, 0.2, 0.9], [0.9, 0.8, 0.1, 0.2, 0.3, 0.0]]
    result = classification.performance("Cardiomegaly", labels, seeds, list("abcdef"))
    assert (result.n_test, result.seeds) == (5, 2)
    assert result.accuracy == pytest.approx((3 / 5 + 5 / 5) / 2)
    assert result.majority_accuracy == pytest.approx(3 / 5)
    assert result.balanced_accuracy == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)
    assert result.auc == pytest.approx((5 / 6 + 1) / 2)
    assert result.accuracy_low <= result.accuracy <= result.accuracy_high
    assert math.isnan(classification.performance("a", [1, 1], [[0.2, 0.9]], ["x", "y"]).auc)


def test_a_gain_is_paired():
    labels, patients = [1, 0, 1, 0], list("abcd")
    before, after = [[0.9, 0.9, 0.1, 0.1]], [[0.9, 0.1, 0.1, 0.1]]
    gain, low, high = classification.paired_gain(labels, before, after, patients)
    assert gain == pytest.approx(1 / 4)
    assert 0 <= low <= gain <= high
    assert classification.paired_gain(labels, after, after, patients) == (0.0, 0.0, 0.0)


def test_performance_refuses_what_does_not_fit():
    with pytest.raises(UsageError):
        classification.performance("a", [1, 0], [[0.1, 0.2, 0.3]], ["x", "y"])
    with pytest.raises(UsageError):
        classification.performance("a", [np.nan], [[0.1]], ["x"])


def test_agreement_by_closed_form():
    truth = np.arange(10.0)
    assert agreement.r_squared(truth, 3 - 2 * truth) == pytest.approx(1)
    noisy = truth + np.where(np.arange(10) % 2, 1.0, -1.0)
    assert agreement.r_squared(truth, noisy) == pytest.approx(np.corrcoef(truth, noisy)[0, 1] ** 2)
    assert math.isnan(agreement.r_squared([1, 2, np.nan], [1, 2, 3]))
    assert math.isnan(agreement.r_squared([1, 1, 1], [1, 2, 3]))
    assert agreement.least_detectable_change([3, -3, 3, np.nan]) == pytest.approx(1.96 * 3)
    assert math.isnan(agreement.least_detectable_change([np.nan]))
