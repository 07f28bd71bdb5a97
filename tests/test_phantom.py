"""The simulator: the same subject always, interventions that change what they name and no more."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from prismlib.cohorts.phantom.anatomy import sample_anatomy
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.cohorts.phantom.latents import latent_measures
from prismlib.cohorts.phantom.render import Scene
from prismlib.cohorts.phantom.scm import intervene, sample_subject
from prismlib.cohorts.phantom.subject import DEVICE_KINDS, FINDINGS


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
    assert sum(map(len, patients)) == len(set.union(*patients)) > 10
    assert np.abs(cohorts[0].image(0) - cohorts[2].image(0)).mean() > 0.01


ATTRIBUTES = ("No Finding", "Support Devices", *FINDINGS, *DEVICE_KINDS)


def switched(subject, name: str) -> dict[str, float]:
    """The intervention that changes whether `name` is there."""
    if name == "No Finding":
        return {name: 1}
    if name == "Support Devices":
        return {name: float(not subject.devices)}
    if name in FINDINGS:
        return {name: float(subject.severity[name] == 0)}
    return {name: float(name not in subject.devices)}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_change_lies_within_8_mm_of_its_footprint(name: str) -> None:
    """Scatter is not local; still 95% of every pair's absolute difference lies near."""
    shares = []
    for number in range(40, 43):
        subject = sample_subject(7, "train", number)
        scene = Scene.of(subject)
        truth = scene.truth(subject, switched(subject, name))
        change = np.abs(truth.image - scene.image(subject))
        away = ndimage.distance_transform_edt(~truth.mask) * scene.anatomy.frame.mm_per_pixel
        if truth.mask.sum() > 50:  # a device beside the film leaves nothing but scatter
            shares.append(change[away <= 8].sum() / change.sum())
            assert change[away > 8].max() < 0.12, "far away something moved, or noise was redrawn"
    assert not shares or (np.mean(shares) > 0.95 and min(shares) > 0.94)


@given(number=st.integers(0, 5000), name=st.sampled_from(ATTRIBUTES[1:]))
@settings(deadline=None, max_examples=6)
def test_do_of_what_is_already_so_gives_the_same_picture(number: int, name: str) -> None:
    subject = sample_subject(0, "train", number)
    scene = Scene.of(subject)
    (value,) = switched(subject, name).values()
    truth = scene.truth(subject, {name: 1 - value})
    np.testing.assert_array_equal(truth.image, scene.image(subject))
    assert not truth.mask.any()


def test_there_and_back_is_the_same_picture() -> None:
    subject = sample_subject(0, "train", 9)
    scene = Scene.of(subject)
    for name in ("Pleural Effusion", "Cardiomegaly", "pacemaker"):
        there = intervene(subject, switched(subject, name))
        back = intervene(there, switched(there, name))
        np.testing.assert_array_equal(scene.image(back), scene.image(subject))


def test_interventions_commute_in_the_picture() -> None:
    subject = sample_subject(0, "train", 11)
    scene = Scene.of(subject)
    one = intervene(intervene(subject, {"Edema": 0.6}), {"chest_drain": 1})
    other = intervene(intervene(subject, {"chest_drain": 1}), {"Edema": 0.6})
    np.testing.assert_array_equal(scene.image(one), scene.image(other))


def test_removing_a_device_darkens_and_removing_fluid_darkens() -> None:
    for attribute in ("Support Devices", "Pleural Effusion", "Cardiomegaly"):
        subject = subject_with(attribute)
        scene = Scene.of(subject)
        truth = scene.truth(subject, {attribute: 0})
        assert (truth.image - scene.image(subject))[truth.mask].mean() < -0.005


def test_noise_is_shared_and_the_clean_render_is_its_mean() -> None:
    subject = sample_subject(0, "train", 3)
    scene = Scene.of(subject)
    noisy, clean = scene.image(subject), scene.image(subject, noise=False)
    difference = (noisy - clean)[scene.lung > 0.5]
    assert 0.001 < difference.std() < 0.03 and abs(difference.mean()) < 0.001
    other = intervene(subject, switched(subject, "pacemaker"))
    far = ~ndimage.binary_dilation(scene.changed(subject, other), iterations=40)
    same = (scene.image(other) - scene.image(other, noise=False)) - (noisy - clean)
    assert np.abs(same[far]).max() < 1e-3


def test_latent_measures_follow_severity() -> None:
    subject = sample_subject(0, "train", 4)
    subject = replace(subject, side={**subject.side, "Pleural Effusion": "right"})
    scene = Scene.of(subject)
    steps = [
        intervene(subject, {"Cardiomegaly": v, "Pleural Effusion": v}) for v in (0, 0.1, 0.5, 0.9)
    ]
    found = [latent_measures(scene, step) for step in steps]
    for name in ("ctr", "effusion_volume_right_ml", "costophrenic_angle_right"):
        values = [measures[name] for measures in found]
        assert values == sorted(values) and values[-1] > values[0]
    assert found[3]["ctr"] - found[0]["ctr"] > 0.12
    assert found[3]["effusion_volume_right_ml"] > 500
    assert len({measures["effusion_volume_left_ml"] for measures in found}) == 1


def test_masks_name_every_organ_finding_and_device() -> None:
    subject = subject_with("Support Devices")
    masks = Scene.of(subject).masks(subject)
    assert {*FINDINGS, *DEVICE_KINDS, "heart", "right_lung", "left_lung", "ribs"} <= set(masks)
    for kind in DEVICE_KINDS:
        assert masks[kind].any() == (kind in subject.devices)
    for finding in FINDINGS:
        assert masks[finding].any() == (subject.severity[finding] > 0)
    assert not (masks["right_lung"] & masks["left_lung"]).any()


def test_an_enlarged_heart_lies_where_it_reaches_beyond_its_own_size() -> None:
    subject = subject_with("Support Devices")
    scene = Scene.of(subject)
    whole, last = scene.masks(replace(subject, severity=dict.fromkeys(FINDINGS, 0.0)))["heart"], 0
    for severity in (0.2, 0.5, 0.9):
        large = intervene(subject, {"Enlarged Cardiomediastinum": 0, "Cardiomegaly": severity})
        masks = scene.masks(large)
        assert np.array_equal(masks["Cardiomegaly"], masks["heart"] & ~whole)
        assert masks["Cardiomegaly"].sum() > last
        last = masks["Cardiomegaly"].sum()


def test_studies_of_a_patient_share_the_patient_and_not_the_film() -> None:
    first, second = sample_subject(0, "train", 0), sample_subject(0, "train", 1)
    same = replace(second, patient=first.patient, habitus=first.habitus, male=first.male)
    shapes = [sample_anatomy(subject) for subject in (first, same, second)]
    assert shapes[0].knob != pytest.approx(shapes[2].knob) or first.patient == second.patient
    assert shapes[0].half_thorax == shapes[1].half_thorax
    assert shapes[0].frame != shapes[1].frame
