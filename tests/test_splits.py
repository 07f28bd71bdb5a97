"""The paper's split is rebuilt to the image; ours keeps patients apart; cohorts open on it."""

import itertools

import numpy as np
import pandas as pd
import pytest
import yaml
from chexpert_folder import make_chexpert
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib import paths
from prismlib.cohorts import cohort, splits
from prismlib.cohorts.chexpert import CheXpertCohort, find_folder
from prismlib.config import load_profile
from prismlib.errors import UsageError

# Patients of one to four images each.
SIZES = st.lists(st.integers(1, 4), min_size=8, max_size=40)


def fabricate(sizes):
    patients = [f"patient{i:05d}" for i, size in enumerate(sizes) for _ in range(size)]
    return pd.DataFrame({"Patient": patients, "Study": "study1", "Edema": 1.0})


def test_the_real_tables_splits_have_the_manifests_sizes(real_labels):
    sizes = yaml.safe_load((paths.manifests() / "chexpert_labels.yaml").read_text())["split_images"]
    assert splits.paper_split(real_labels).value_counts().to_dict() == sizes["paper"]
    assert splits.patient_split(real_labels).value_counts().to_dict() == sizes["patient"]


def test_the_papers_split_leaks_and_the_one_by_patient_does_not(real_labels):
    leaking = splits.patient_overlap(real_labels, splits.paper_split(real_labels))
    assert leaking.images == 28655 and round(100 * leaking.image_share, 1) == 78.2
    tight = splits.patient_overlap(real_labels, splits.patient_split(real_labels))
    assert (tight.shared_images, tight.shared_groups) == (0, 0)


@settings(deadline=None, max_examples=40)
@given(sizes=SIZES, order=st.randoms(use_true_random=False), seed=st.integers(0, 99))
def test_patient_split_keeps_patients_apart_in_any_order(sizes, order, seed):
    table = fabricate(sizes)
    split = splits.judges_split(table, splits.patient_split(table, seed), seed)
    assert set(split) == {"train", "judges", "validation", "test"}
    assert (table.groupby(split)["Patient"].nunique().sum()) == len(sizes)
    rows = list(range(len(table)))
    order.shuffle(rows)
    shuffled = splits.patient_split(table.iloc[rows], seed)
    pd.testing.assert_series_equal(shuffled.sort_index(), splits.patient_split(table, seed))


def test_splits_are_of_frontal_rows_and_keep_their_index():
    table = fabricate([2] * 10).assign(**{"Frontal/Lateral": ["Frontal", "Lateral"] * 10})
    for split in (splits.paper_split(table), splits.patient_split(table)):
        assert split.index.tolist() == list(range(0, 20, 2))


def test_too_few_to_split_is_said():
    with pytest.raises(UsageError, match="at least 3"):
        splits.paper_split(fabricate([1, 1]))


def test_overlap_counts_images_and_patients():
    table = pd.DataFrame({"Patient": list("aabbc"), "Study": list("12111")})
    split = pd.Series(["train", "test", "train", "test", "test"])
    by_patient = splits.patient_overlap(table, split)
    assert by_patient == splits.Overlap(images=3, shared_images=2, groups=3, shared_groups=2)
    by_study = splits.patient_overlap(table, split, level="Study")
    assert by_study == splits.Overlap(images=3, shared_images=1, groups=3, shared_groups=1)


def test_chexpert_cohorts_share_no_patient_whatever_the_seed(chexpert_root):
    cohorts = [
        CheXpertCohort(chexpert_root, split, seed=seed) for seed, split in enumerate(cohort.SPLITS)
    ]
    for one, other in itertools.combinations(cohorts, 2):
        assert not set(one.table["Patient"]) & set(other.table["Patient"])
    frontal = pd.read_csv(chexpert_root / "train.csv")["Frontal/Lateral"].eq("Frontal").sum()
    assert sum(map(len, cohorts)) == frontal
    assert all((c.table["Frontal/Lateral"] == "Frontal").all() for c in cohorts)


def test_a_larger_draw_begins_with_the_smaller_one(chexpert_root):
    few, more = (CheXpertCohort(chexpert_root, "train", n, seed=3).table for n in (4, 9))
    assert few["Path"].tolist() == more["Path"].tolist()[:4] and len(more) == 9
    assert more.index.equals(pd.RangeIndex(9))
    other = CheXpertCohort(chexpert_root, "train", 9, seed=4).table
    assert other["Path"].tolist() != more["Path"].tolist()


def test_more_images_than_there_are_is_refused(chexpert_root):
    with pytest.raises(UsageError, match="1000 images asked"):
        CheXpertCohort(chexpert_root, "test", 1000)
    with pytest.raises(UsageError, match="0 images asked"):
        CheXpertCohort(chexpert_root, "test", 0)


@pytest.mark.parametrize("name", ["CheXpert-v1.0-small", "CheXpert-v1.0"])
def test_images_are_read_from_either_layout_and_from_the_parent(tmp_path, name):
    folder = make_chexpert(tmp_path, name)
    assert find_folder(tmp_path) == find_folder(folder) == folder
    opened = CheXpertCohort(tmp_path, "test", 2)
    image = opened.image(0)
    assert image.shape == (512, 512) and image.dtype == np.float32
    assert 0 <= image.min() < image.max() <= 1
    assert not np.array_equal(image, opened.image(1))
    assert opened.truth(0, {"Support Devices": 0.0}) is None
    assert (opened.name, opened.simulated) == ("chexpert", False)


def test_open_cohort_of_the_chexpert_profile(chexpert_root, monkeypatch):
    profile = load_profile("chexpert")
    monkeypatch.delenv(cohort.ROOT_VARIABLE, raising=False)
    with pytest.raises(UsageError, match="PRISM_CHEXPERT_ROOT is not set"):
        cohort.open_cohort(profile, "train")
    monkeypatch.setenv(cohort.ROOT_VARIABLE, str(chexpert_root))
    assert len(cohort.open_cohort(profile, "development", n=3)) == 3
    with pytest.raises(UsageError, match="split 'validation'"):
        cohort.open_cohort(profile, "validation")


@pytest.mark.parametrize("missing", ["nowhere", "."])
def test_a_folder_without_chexpert_is_refused(tmp_path, missing):
    with pytest.raises(UsageError, match=r"train\.csv"):
        find_folder(tmp_path / missing)
