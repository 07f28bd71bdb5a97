"""The simulator: the same subject always, interventions that change what they name and no more."""

import numpy as np
import pandas as pd
import pytest

from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.cohorts.phantom.render import Scene
from prismlib.cohorts.phantom.scm import intervene, sample_subject


def subject_with(attribute: str, minimum: float = 0.3):
    """The first training subject with that finding, or with more than one device kind."""
    for number in range(500):
        subject = sample_subject(3, "train", number)
        if attribute == "Support Devices" and len(subject.devices) > 1:
            return subject
        if subject.severity.get(attribute, 0) > minimum:
            return subject
    raise AssertionError(f"no subject with {attribute}")


def test_a_subject_does_not_depend_on_cohort_size_or_order() -> None:
    small, large = PhantomCohort("train", 3, seed=5), PhantomCohort("train", 8, seed=5)
    pd.testing.assert_frame_equal(small.table, large.table.head(3))
    backwards = [large.image(index) for index in (2, 0)]
    np.testing.assert_array_equal(backwards[1], small.image(0))
    np.testing.assert_array_equal(backwards[0], small.image(2))


def test_image_has_the_promised_form() -> None:
    image = PhantomCohort("development", 1).image(0)
    assert image.shape == (512, 512) and image.dtype == np.float32
    assert 0 <= image.min() < 0.1 and 0.9 < image.max() <= 1
    assert image.std() > 0.15


def test_splits_share_no_patient_and_no_picture() -> None:
    cohorts = [PhantomCohort(split, 20) for split in ("train", "development", "test", "judges")]
    patients = [set(cohort.table["Patient"]) for cohort in cohorts]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 80
    assert np.abs(cohorts[0].image(0) - cohorts[2].image(0)).mean() > 0.01


@pytest.mark.parametrize(
    ("attribute", "share"),
    [("Pleural Effusion", 0.7), ("Cardiomegaly", 0.65), ("Support Devices", 0.7)],
)
def test_the_change_lies_in_the_mask_and_the_noise_is_shared(attribute: str, share: float) -> None:
    subject = subject_with(attribute)
    scene = Scene.of(subject)
    truth = scene.truth(subject, {attribute: 0})
    change = np.abs(truth.image - scene.image(subject))
    assert 0.001 < truth.mask.mean() < 0.4
    assert change[truth.mask].sum() / change.sum() > share
    far = change[~truth.mask]
    assert far.mean() < 0.006, "noise or window moved with the intervention"
    assert change[truth.mask].mean() > 20 * far.mean()


def test_removing_a_device_darkens_and_removing_fluid_darkens() -> None:
    for attribute in ("Support Devices", "Pleural Effusion", "Cardiomegaly"):
        subject = subject_with(attribute)
        scene = Scene.of(subject)
        truth = scene.truth(subject, {attribute: 0})
        assert (truth.image - scene.image(subject))[truth.mask].mean() < -0.01


def test_cardiothoracic_ratio_rises_with_severity() -> None:
    subject = sample_subject(0, "train", 4)
    scene = Scene.of(subject)
    ratios = [
        scene.cardiothoracic_ratio(intervene(subject, {"Cardiomegaly": severity}))
        for severity in (0, 0.1, 0.5, 0.9)
    ]
    assert ratios == sorted(ratios) and ratios[3] - ratios[0] > 0.12
