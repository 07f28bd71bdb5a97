"""The test split is the sealed one, opens for reports alone, and every opening is written down."""

import itertools

import numpy as np
import pandas as pd
import pytest
import yaml

from prismlib import paths
from prismlib.cohorts import sealed
from prismlib.cohorts.cohort import ROOT_VARIABLE, open_cohort
from prismlib.cohorts.phantom.cohort import FIRST_PATIENT, MOST, VERSION, PhantomCohort
from prismlib.config import load_profile
from prismlib.errors import PrismError, UsageError


@pytest.fixture
def profile(tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    return load_profile("quick")


@pytest.fixture
def broken_seal(tmp_path, monkeypatch):
    """Gives a function that changes the manifest."""
    content = dict(sealed.read_manifest())

    def change(**values):
        (tmp_path / "manifest.yaml").write_text(yaml.safe_dump({**content, **values}))
        monkeypatch.setattr(sealed, "manifest", lambda: tmp_path / "manifest.yaml")

    return change


def test_the_cohort_is_the_sealed_one():
    sealed.check_list()
    sealed.check_pixels()


def test_the_manifest_describes_the_cohort():
    manifest = sealed.read_manifest()
    assert manifest["version"] == VERSION
    for split, patients in manifest["splits"].items():
        assert patients["first_patient"] == FIRST_PATIENT[split]
        assert patients["last_patient"] == FIRST_PATIENT[split] + MOST - 1
    spans = sorted((s["first_patient"], s["last_patient"]) for s in manifest["splits"].values())
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(spans))
    assert (paths.root() / manifest["card"]).is_file()


def test_nothing_but_open_test_opens_the_test_split(profile):
    with pytest.raises(UsageError, match=r"sealed\.open_test"):
        open_cohort(profile, "test", 3)
    cohort = sealed.open_test(profile, 3, 0, reason="a test of the seal")
    pd.testing.assert_frame_equal(cohort.table, PhantomCohort("test", 3).table)


def test_every_opening_is_written_down(profile):
    sealed.open_test(profile, 3, 0, reason="Table 2, devices")
    sealed.open_test(profile, 5, 1, reason='a "second" look')
    openings = pd.read_csv(paths.runs("quick") / sealed.OPENINGS)
    assert openings["reason"].tolist() == ["Table 2, devices", 'a "second" look']
    assert openings["n"].tolist() == [3, 5] and openings["seed"].tolist() == [0, 1]
    assert openings["sha256"][0] == sealed.list_hash(PhantomCohort("test", 3).table)
    assert openings["sha256"].nunique() == 2 and openings["time"].str.endswith("+00:00").all()


def test_an_opening_that_cannot_be_written_down_is_said(profile, tmp_path):
    (tmp_path / "runs").write_text("a file in the way")
    with pytest.warns(UserWarning, match="not recorded"):
        assert len(sealed.open_test(profile, 2, 0, reason="no place")) == 2


def test_without_a_reason_it_stays_closed(profile):
    with pytest.raises(UsageError, match="no reason"):
        sealed.open_test(profile, 2, 0, reason=" ")
    assert not paths.runs("quick").exists()


@pytest.mark.parametrize("name", sorted(sealed.SEALED_LISTS))
def test_a_changed_list_is_one_line(profile, broken_seal, name):
    broken_seal(**{name: {"sha256": "0" * 64}})
    with pytest.raises(PrismError, match=f"{name} .* frozen") as raised:
        sealed.open_test(profile, 2, 0, reason="a changed list")
    assert "\n" not in str(raised.value) and not paths.runs("quick").exists()


def test_a_list_that_was_never_sealed_is_not_opened(profile):
    known = r"0 \(test_list\) or 1 \(second_list\) or .* or 6 \(seventh_list\)"
    with pytest.raises(UsageError, match=f"seed 7 .* expected {known}"):
        sealed.open_test(profile, 2, 7, reason="another list")


def test_each_list_has_other_subjects():
    cohorts = [PhantomCohort("test", 40, seed=seed) for seed in sealed.SEALED_LISTS.values()]
    kinds = [c for c in cohorts[0].table if str(c).startswith(("device:", "severity:", "Age"))]
    told = [set(each.table[kinds].itertuples(index=False)) for each in cohorts]
    for one, other in itertools.combinations(range(len(cohorts)), 2):
        assert not told[one] & told[other]
        assert np.abs(cohorts[one].image(0) - cohorts[other].image(0)).mean() > 0.01


def test_changed_pixels_ask_for_a_new_version(broken_seal, monkeypatch):
    images = sealed.sealed_images()
    images[3] = images[3][:, ::-1]
    monkeypatch.setattr(sealed, "sealed_images", lambda: images)
    with pytest.raises(PrismError, match=r"test picture 3.* frozen as version 1; bump VERSION"):
        sealed.check_pixels()


def test_block_statistics_see_other_noise_and_a_thin_line_but_not_rounding():
    rng = np.random.default_rng(0)
    image = np.full((512, 512), 0.5, dtype=np.float32)
    noisy = image + rng.normal(0, 0.03, image.shape).astype(np.float32)
    rounded = np.nextafter(noisy, np.float32(1)) + np.float32(1e-5)
    other = image + rng.normal(0, 0.04, image.shape).astype(np.float32)
    line = noisy.copy()
    line[100:300, 200:202] += 0.1
    pack = sealed.packed(noisy)
    same, noise, thin = sealed.pixel_distances([rounded, other, line], [pack] * 3)
    assert same < 0.6 * sealed.TOLERANCE and min(noise, thin) > sealed.TOLERANCE


def test_a_lists_hash_sees_labels_and_not_formats():
    table = PhantomCohort("test", 50).table
    whole = sealed.list_hash(table)
    shaken = table.copy()
    severities = [name for name in table if name.startswith("severity:")]
    shaken[severities] += 1e-12
    assert sealed.list_hash(shaken) == whole
    assert sealed.list_hash(table.astype({"Age": float})) == whole
    for name in ("Edema", "severity:Edema", "device:pacemaker", "Age"):
        assert sealed.list_hash(table.assign(**{name: 0})) != whole, name
    assert sealed.list_hash(table.iloc[::-1]) != whole


def test_chexperts_list_is_recorded_and_compared_with_nothing(
    profile, chexpert_root, monkeypatch, broken_seal
):
    broken_seal(test_list={"sha256": "0" * 64})
    monkeypatch.setenv(ROOT_VARIABLE, str(chexpert_root))
    cohort = sealed.open_test(load_profile("chexpert"), 2, 0, reason="Table 3")
    opening = pd.read_csv(paths.runs("chexpert") / sealed.OPENINGS).iloc[0]
    assert (opening["cohort"], opening["n"]) == ("chexpert", 2)
    assert opening["sha256"] == sealed.list_hash(cohort.table)
