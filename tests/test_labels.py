"""Label tables are read as they are, refused in one line, and made 0/1 as a policy says."""

import gzip

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib import paths
from prismlib.cohorts import chexpert
from prismlib.cohorts.labels import (
    ATTRIBUTES,
    LABELS,
    POLICIES,
    binarize,
    frontal,
    in_picture,
    read_table,
)
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.errors import UsageError

RAW = st.sampled_from([1.0, 0.0, -1.0, np.nan])
PATH = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"


def table(values, column="Edema"):
    return pd.DataFrame({column: values})


@given(st.lists(RAW, min_size=1))
@settings(deadline=None)
def test_policies_differ_where_labels_are_uncertain_and_nowhere_else(values):
    raw = table(values)
    zeros, ones, ignored = (binarize(raw, policy, ["Edema"])["Edema"] for policy in POLICIES)
    uncertain = raw["Edema"] == -1
    assert (zeros[uncertain] == 0).all() and (ones[uncertain] == 1).all()
    assert ignored[uncertain].isna().all() and not ignored[~uncertain].isna().any()
    assert (zeros[~uncertain] == ones[~uncertain]).all()
    assert (zeros[~uncertain] == (raw["Edema"][~uncertain] == 1)).all()


def test_binarize_refuses_an_unknown_policy():
    with pytest.raises(UsageError, match="u-zeros, u-ones, u-ignore"):
        binarize(table([1.0]), "u-maybe", ["Edema"])


def test_binarize_leaves_the_table_alone():
    raw = table([-1.0, np.nan])
    binarize(raw, "u-ones", ["Edema"])
    assert raw["Edema"].isna().tolist() == [False, True] and raw["Edema"][0] == -1


def test_bundled_labels_are_what_the_manifest_says(real_labels):
    manifest = yaml.safe_load((paths.manifests() / "chexpert_labels.yaml").read_text())
    assert paths.sha256(chexpert.bundled_path()) == manifest["sha256"]
    assert len(real_labels) == manifest["rows"]
    assert list(real_labels.columns) == [*manifest["columns"], "Patient", "Study"]
    assert [c for c in manifest["columns"] if c in LABELS] == list(LABELS)
    assert real_labels["Patient"].nunique() == manifest["patients"]
    rows = frontal(real_labels)
    assert len(rows) == manifest["frontal_rows"]
    assert rows["Patient"].nunique() == manifest["frontal_patients"]


def test_read_labels_takes_patient_and_study_from_the_path(chexpert_root):
    labels = chexpert.read_labels(chexpert_root / "train.csv")
    first = labels.iloc[0]
    assert (first["Patient"], first["Study"]) == ("patient00001", "study1")
    assert all(labels[label].dtype == np.float64 for label in LABELS)


def test_gzip_and_a_byte_order_mark_are_no_matter(tmp_path, chexpert_root):
    plain = (chexpert_root / "train.csv").read_bytes()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "misnamed.csv").write_bytes(gzip.compress(plain))
    (tmp_path / "marked.csv").write_bytes(b"\xef\xbb\xbf" + plain)
    expected = chexpert.read_labels(chexpert_root / "train.csv")
    for name in ("a.csv.gz", "misnamed.csv", "marked.csv"):
        pd.testing.assert_frame_equal(chexpert.read_labels(tmp_path / name), expected)


def test_a_table_may_name_its_patients_in_a_column(tmp_path):
    (tmp_path / "x.csv").write_text("subject_id,study_id,Edema\n10,1,1\n11,2,\n")
    assert read_table(tmp_path / "x.csv")["Patient"].tolist() == ["10", "11"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"a,b\n1,2\n", "none of CheXpert's 14 label columns"),
        (b"Path,Edema\n", "no rows"),
        (f"Path,Edema\n{PATH},1\n{PATH},2\n".encode(), "row 2, 'Edema' is"),
        (f"Path,Edema\n{PATH},yes\n".encode(), "row 1, 'Edema' is 'yes'"),
        (f"Path,Edema\n{PATH},1\nnowhere.jpg,1\n".encode(), "row 2 names no patient"),
        (b"Edema\n1\n", "whose image"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "not a CSV"),
        (gzip.compress(b"Path,Edema\n" * 50)[:25], "not a"),
        (b'Path,Edema\n"a,b\n', "not a CSV"),
    ],
)  # fmt: skip
def test_what_is_no_label_table_is_refused_in_one_line(tmp_path, content, message):
    file = tmp_path / "labels.csv"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_table(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="is a folder"):
        read_table(tmp_path)


def test_read_labels_wants_all_of_chexperts_columns(tmp_path, chexpert_root):
    table = pd.read_csv(chexpert_root / "train.csv")
    table.drop(columns=["Fracture"]).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(UsageError, match="'Fracture'"):
        chexpert.read_labels(tmp_path / "x.csv")
    table["Frontal/Lateral"] = "sideways"
    table.to_csv(tmp_path / "y.csv", index=False)
    with pytest.raises(UsageError, match="expected Frontal or Lateral"):
        chexpert.read_labels(tmp_path / "y.csv")


def test_the_attributes_stand_in_the_papers_order():
    assert ATTRIBUTES == ("Pleural Effusion", "Cardiomegaly", "No Finding", "Support Devices")
    assert set(ATTRIBUTES) <= set(LABELS) and len(LABELS) == 14


def test_what_is_in_the_picture_is_the_truth_where_it_is_known():
    cohort = PhantomCohort("train", 400)
    for index in range(0, 400, 40):
        subject = cohort.subject(index)
        seen = {name: in_picture(cohort.table, name)[index] for name in ATTRIBUTES}
        assert seen["Support Devices"] == bool(subject.devices)
        assert seen["No Finding"] == subject.no_finding
        assert seen["Pleural Effusion"] == (subject.severity["Pleural Effusion"] > 0)
    reported = cohort.table["Pleural Effusion"] == 1
    assert 0 < (in_picture(cohort.table, "Pleural Effusion") != reported).mean() < 0.3
    plain = cohort.table[["Path", *LABELS]]
    pd.testing.assert_series_equal(in_picture(plain, "Pleural Effusion"), reported)
