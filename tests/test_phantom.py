"""The simulator: the same subject always, interventions that change what they name and no more."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib.cohorts.labels import ATTRIBUTES
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.cohorts.phantom.render import Scene
from prismlib.cohorts.phantom.scm import (
    DEVICE_KINDS,
    FINDINGS,
    intervene,
    report_labels,
    sample_subject,
)
from prismlib.errors import UsageError

names = st.sampled_from([*FINDINGS, "Support Devices", *DEVICE_KINDS])
numbers = st.integers(0, 10_000)


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


@given(number=numbers, name=names)
@settings(deadline=None, max_examples=60)
def test_do_of_what_is_already_so_changes_nothing(number: int, name: str) -> None:
    subject = sample_subject(0, "train", number)
    if name in FINDINGS:
        value = float(subject.severity[name] > 0)
    elif name == "Support Devices":
        value = float(bool(subject.devices))
    else:
        value = float(name in subject.devices)
    assert intervene(subject, {name: value}) == subject


@given(number=numbers, finding=st.sampled_from(FINDINGS), kind=st.sampled_from(DEVICE_KINDS))
@settings(deadline=None, max_examples=60)
def test_interventions_on_findings_and_devices_commute(number, finding, kind) -> None:
    subject = sample_subject(0, "train", number)
    one = intervene(intervene(subject, {finding: 1}), {kind: 1})
    other = intervene(intervene(subject, {kind: 1}), {finding: 1})
    assert one == other
    assert one.devices >= subject.devices and one.severity[finding] > 0


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


def test_labels_are_consistent_with_what_is_drawn() -> None:
    for number in range(300):
        subject = sample_subject(1, "train", number)
        labels = report_labels(subject)
        for finding in FINDINGS:
            assert labels[finding] != 1 or subject.severity[finding] > 0
            assert labels[finding] != 0 or subject.severity[finding] == 0
        if labels["No Finding"] == 1:
            assert subject.no_finding
        assert (labels["Support Devices"] == 1) == bool(subject.devices)


def test_rates_and_confounding_are_near_chexperts() -> None:
    table = PhantomCohort("train", 4000).table
    positive = {name: (table[name] == 1).mean() for name in ATTRIBUTES}
    assert positive["Pleural Effusion"] == pytest.approx(0.40, abs=0.05)
    assert positive["Cardiomegaly"] == pytest.approx(0.12, abs=0.03)
    assert positive["Support Devices"] == pytest.approx(0.52, abs=0.06)
    odds = odds_ratio(table["Pleural Effusion"] == 1, table["Support Devices"] == 1)
    assert 1.4 < odds < 2.6


@pytest.mark.parametrize(("spurious", "low", "high"), [(0.5, 0.7, 1.45), (0.9, 30, 200)])
def test_spurious_strength_ties_lines_to_effusion(spurious, low, high) -> None:
    subjects = [sample_subject(0, "train", n, spurious) for n in range(3000)]
    effusion = np.array([s.severity["Pleural Effusion"] > 0 for s in subjects])
    lines = np.array([bool(s.devices - {"pacemaker"}) for s in subjects])
    assert low < odds_ratio(effusion, lines) < high


def odds_ratio(one, other) -> float:
    counts = pd.crosstab(np.asarray(one), np.asarray(other)).to_numpy()
    return counts[0, 0] * counts[1, 1] / (counts[0, 1] * counts[1, 0])


@pytest.mark.parametrize(
    "intervention",
    [{"Pneumonja": 0}, {"Pleural Effusion": 2}, {"pacemaker": 0.5}, {"No Finding": 0}],
)
def test_senseless_interventions_are_refused(intervention) -> None:
    with pytest.raises(UsageError):
        intervene(sample_subject(0, "train", 0), intervention)
