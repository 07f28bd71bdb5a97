"""Realism in closed form: a shift is a shift, white noise is flat, a sine is one frequency."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from prismlib.errors import UsageError
from prismlib.measures import realism

SIZE = 64


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def noise(rng, n=40, size=SIZE, scale=0.1):
    return 0.5 + scale * rng.standard_normal((n, size, size))


def test_a_shifted_histogram_is_its_shift_away(rng):
    greys = rng.integers(0, 200, (6, SIZE, SIZE)) / 255
    assert realism.grey_distance(greys, greys) == 0
    assert realism.grey_distance(greys, greys + 30 / 255) == pytest.approx(30 / 255)
    assert realism.grey_distance(greys + 30 / 255, greys) == pytest.approx(30 / 255)


def test_the_grey_distance_is_that_of_the_sorted_pixels(rng):
    one = rng.beta(2, 3, (3, SIZE, SIZE))
    other = rng.beta(3, 2, (3, SIZE, SIZE))
    expected = np.abs(np.sort(one.ravel()) - np.sort(other.ravel())).mean()
    assert realism.grey_distance(one, other) == pytest.approx(expected, abs=1e-3)


def test_each_histogram_counts_its_own_image(rng):
    images = np.stack([np.zeros((8, 8)), np.ones((8, 8)), np.full((8, 8), 100 / 255)])
    shares = realism.grey_histogram(images)
    assert shares.shape == (3, 256) and np.allclose(shares.sum(axis=1), 1)
    assert list(shares.argmax(axis=1)) == [0, 255, 100]


def test_white_noise_lies_flat_at_its_variance(rng):
    power = realism.power_spectrum(noise(rng, scale=0.1)).mean(axis=0)
    assert power.shape == (SIZE // 2 - 1,)
    assert power[4:] == pytest.approx(-2, abs=0.06)


def test_a_sine_is_all_at_its_frequency():
    columns = np.arange(SIZE) / SIZE
    wave = np.broadcast_to(0.5 + 0.3 * np.sin(2 * np.pi * 9 * columns), (1, SIZE, SIZE))
    power = realism.power_spectrum(wave)[0]
    assert power.argmax() + 1 == 9
    assert power[8] - np.delete(power, [7, 8, 9]).max() > 3, "the taper keeps it there"


def test_the_power_distance_is_that_of_the_scale(rng):
    """Half the amplitude is a quarter of the power at every frequency: log10(4) away."""
    one = noise(rng)
    assert realism.power_distance(one, 0.5 + (one - 0.5) / 2) == pytest.approx(np.log10(4))
    assert realism.power_distance(one, one) == 0


def test_blur_lowers_fine_power_and_leaves_coarse_power(rng):
    sharp = noise(rng, n=12)
    blurred = np.stack([ndimage.gaussian_filter(image, 0.7, mode="wrap") for image in sharp])
    change = realism.traits(blurred).mean() - realism.traits(sharp).mean()
    assert change["fine_power"] < -0.8 and abs(change["coarse_power"]) < 0.1


def test_traits_of_pictures_that_are_plain_to_see():
    half = np.zeros((1, SIZE, SIZE))
    half[:, :, SIZE // 2 :] = 1
    row = realism.traits(half).iloc[0]
    assert row["mean_grey"] == row["contrast"] == 0.5
    assert row["entropy"] == pytest.approx(1)
    assert row["dark_share"] == row["saturated_share"] == row["dark_border"] == 0.5
    assert row["symmetry"] == pytest.approx(-1)


def test_equalised_images_cannot_be_told_apart_by_grey_level(rng):
    one, other = noise(rng, scale=0.02), noise(rng, scale=0.2)
    assert realism.grey_distance(one, other) > 0.1
    one, other = realism.equalised(one), realism.equalised(other)
    assert realism.grey_distance(one, other) == pytest.approx(0, abs=1e-6)
    labels = np.repeat([0, 1], len(one))
    means = realism.traits(np.concatenate([one, other]))["mean_grey"].round(6)
    assert roc_auc_score(labels, means) == 0.5


def test_equalising_keeps_the_order_of_the_pixels(rng):
    image = noise(rng, n=1)
    order = np.argsort(image.ravel())
    assert np.all(np.diff(realism.equalised(image).ravel()[order]) > 0)


@pytest.mark.parametrize("shape", [(0, 8, 8), (8, 8), (1, 3, 8, 8)])
def test_what_is_no_set_of_images_is_refused(shape):
    with pytest.raises(UsageError, match="expected"):
        realism.grey_histogram(np.zeros(shape))


def test_a_spectrum_asks_for_squares():
    with pytest.raises(UsageError, match="expected squares"):
        realism.power_spectrum(np.zeros((1, 8, 9)))
