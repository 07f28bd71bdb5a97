"""`prism cohort make`: a folder that reads as CheXpert does, resumable, and never foreign."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from prismlib.cohorts.chexpert import CheXpertCohort, read_labels
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.commands import cohort_folder
from prismlib.commands.cohort import parse_intervention, parse_spurious
from prismlib.commands.cohort_folder import Recipe, make, slug
from prismlib.errors import UsageError

REMOVE = {"Support Devices": 0.0}
RECIPE = Recipe(3, 5, "train", "natural", (REMOVE,), masks=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("cohort") / "out"
    make(RECIPE, made)
    return made


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_it_reads_as_chexpert_does(folder):
    table = read_labels(folder / "train.csv")
    ours = PhantomCohort("train", 3, seed=5).table
    assert list(table["Patient"]) == list(ours["Patient"])
    pd.testing.assert_series_equal(table["Pleural Effusion"], ours["Pleural Effusion"])
    assert set(table["domain"]) == {"SIMULATED"}
    for path in table["Path"]:
        assert (folder / path.split("/", 1)[1]).is_file()


def test_the_chexpert_cohort_opens_it(tmp_path):
    make(Recipe(6, 0, "train", "natural", (), masks=False), tmp_path)
    found = 0
    for split in ("train", "development", "test", "judges"):
        try:
            cohort = CheXpertCohort(tmp_path, split)
        except UsageError:
            continue
        found += len(cohort)
        assert all(cohort.image(index).shape == (512, 512) for index in range(len(cohort)))
    assert found == 6


def test_pictures_are_the_cohorts_own(folder):
    cohort = PhantomCohort("train", 3, seed=5)
    pairs = pd.read_csv(folder / "counterfactuals.csv")
    assert len(pairs) == 3
    for index, row in pairs.iterrows():
        factual, other, mask = (
            np.asarray(Image.open(folder / row[name].split("/", 1)[1])).astype(np.float32) / 255
            for name in ("Path", "Counterfactual", "Mask")
        )
        truth = cohort.truth(index, REMOVE)
        assert np.abs(factual - cohort.image(index)).max() <= 0.5 / 255 + 1e-6
        assert np.abs(other - truth.image).max() <= 0.5 / 255 + 1e-6
        assert np.array_equal(mask > 0.5, truth.mask)
        assert row["Intervention"] == "Support Devices=0"


def test_every_picture_says_that_it_is_simulated(folder):
    pictures = list(folder.rglob("*.png"))
    assert len(pictures) == 3 * (1 + 2 + len(PhantomCohort("train", 1).masks(0)))
    assert all("SIMULATED" in Image.open(path).text["Description"] for path in pictures)


def test_resuming_makes_what_one_go_makes(folder, tmp_path, monkeypatch):
    whole = contents(folder)
    write, left = cohort_folder._write_png, [7]

    def dying(pixels, path):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write(pixels, path)

    monkeypatch.setattr(cohort_folder, "_write_png", dying)
    with pytest.raises(KeyboardInterrupt):
        make(RECIPE, tmp_path)
    assert not (tmp_path / "train.csv").exists()
    monkeypatch.setattr(cohort_folder, "_write_png", write)
    make(RECIPE, tmp_path)
    assert contents(tmp_path) == whole


def test_a_finished_folder_is_left_as_it_is(folder, monkeypatch):
    before = contents(folder)
    monkeypatch.setattr(cohort_folder, "_write_png", None)
    make(RECIPE, folder)
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["notes.txt", "cohort.json"])
def test_a_foreign_folder_is_refused_and_untouched(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="other files"):
        make(RECIPE, tmp_path)
    assert contents(tmp_path).keys() == {(tmp_path / name).relative_to(tmp_path)}


def test_another_recipe_is_refused(folder):
    other = Recipe(**{**RECIPE.__dict__, "seed": 6})
    with pytest.raises(UsageError, match="a cohort with seed 5, not 6"):
        make(other, folder)


@pytest.mark.parametrize(
    "change",
    [
        {"n": 0},
        {"split": "trian"},
        {"spurious": 3.0},
        {"interventions": ({"Support Device": 0.0},)},
        {"interventions": ({"Support Devices": 2.0},)},
    ],
)
def test_what_means_nothing_is_refused_before_anything_is_written(tmp_path, change):
    with pytest.raises(UsageError):
        make(Recipe(**{**RECIPE.__dict__, **change}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(UsageError, match="is a file"):
        make(RECIPE, tmp_path / "x")


def test_arguments_are_read():
    assert parse_intervention("Support Devices=0") == REMOVE
    assert parse_intervention("pacemaker=1, Cardiomegaly=0.5") == {
        "pacemaker": 1.0,
        "Cardiomegaly": 0.5,
    }
    assert slug({"central_line": 1.0, "Cardiomegaly": 0.5}) == "do-central-line-1-cardiomegaly-0.5"
    assert parse_spurious("0.9") == 0.9 and parse_spurious("natural") == "natural"
    for text in ("Support Devices", "=1", "pacemaker=on", ""):
        with pytest.raises(UsageError, match="expected NAME=VALUE"):
            parse_intervention(text)


def test_the_record_says_how_it_was_made(folder):
    record = json.loads((folder / "cohort.json").read_text())
    assert record["domain"] == "SIMULATED"
    assert (record["n"], record["seed"], record["interventions"]) == (3, 5, [REMOVE])
