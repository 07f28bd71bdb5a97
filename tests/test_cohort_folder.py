"""`prism cohort make`: a folder that reads as CheXpert does, resumable, and never foreign."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from prismlib import paths
from prismlib.cli import main
from prismlib.cohorts import sealed
from prismlib.cohorts.chexpert import COLUMNS, CheXpertCohort, read_labels
from prismlib.cohorts.phantom.cohort import MOST, PhantomCohort
from prismlib.cohorts.phantom.scm import intervene, total
from prismlib.commands import cohort_folder, cohort_pictures
from prismlib.commands.cohort import parse_intervention, parse_spurious
from prismlib.commands.cohort_folder import make
from prismlib.commands.cohort_pictures import Recipe, slug
from prismlib.errors import PrismError, UsageError

REMOVE = {"Support Devices": 0.0}
RECIPE = Recipe(3, 5, "train", "natural", (REMOVE,), masks=True)
EVERYTHING = replace(
    RECIPE, n=2, interventions=({"Cardiomegaly": 1.0},), total=True, clean=True, latents=True
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("cohort") / "out"
    make(RECIPE, made)
    return made


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    made = tmp_path_factory.mktemp("cohort") / "out"
    make(EVERYTHING, made)
    return made


def pixels(folder, listed):
    with Image.open(folder / listed.split("/", 1)[1]) as image:
        return np.asarray(image).astype(np.float32) / 255


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_it_reads_as_chexpert_does(folder):
    table = read_labels(folder / "train.csv")
    ours = PhantomCohort("train", 3, seed=5).table
    assert list(table["Patient"]) == list(ours["Patient"])
    assert list(table.columns[:19]) == list(COLUMNS)
    studies = ours["Path"].str.extract(r"(study\d+)")[0]
    assert list(table["Study"]) == list(studies)
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
        files = (row[name] for name in ("Path", "Counterfactual", "Mask"))
        factual, other, mask = (pixels(folder, file) for file in files)
        truth = cohort.truth(index, REMOVE)
        assert np.abs(factual - cohort.image(index)).max() <= 0.5 / 255 + 1e-6
        assert np.abs(other - truth.image).max() <= 0.5 / 255 + 1e-6
        assert np.array_equal(mask > 0.5, truth.mask)
        assert row["Intervention"] == "Support Devices=0"


def test_every_picture_says_that_it_is_simulated(folder):
    pictures = list(folder.rglob("*.png"))
    cohort = PhantomCohort("train", 3, seed=5)
    masks = [mask for index in range(3) for mask in cohort.masks(index).values() if mask.any()]
    assert len(pictures) == 3 * (1 + 2) + len(masks)
    assert all("SIMULATED" in Image.open(path).text["Description"] for path in pictures)


def test_resuming_makes_what_one_go_makes(folder, tmp_path, monkeypatch):
    whole = contents(folder)
    write, left = cohort_pictures.write_png, [14]

    def dying(pixels, path):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write(pixels, path)

    monkeypatch.setattr(cohort_pictures, "write_png", dying)
    with pytest.raises(KeyboardInterrupt):
        make(RECIPE, tmp_path)
    assert not (tmp_path / "train.csv").exists()
    monkeypatch.setattr(cohort_pictures, "write_png", write)
    make(RECIPE, tmp_path)
    assert contents(tmp_path) == whole


def test_a_finished_folder_is_left_as_it_is(folder, monkeypatch):
    before = contents(folder)
    monkeypatch.setattr(cohort_pictures, "write_png", None)
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
        {"n": MOST + 1},
        {"interventions": (), "total": True},
        {"interventions": (REMOVE, {"Support Devices": 0})},
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


def test_several_studies_of_a_patient_lie_in_one_folder(tmp_path):
    table = PhantomCohort("train", 40, seed=0).table
    files = [path.as_posix() for path in cohort_folder._images(replace(RECIPE, n=40, seed=0))]
    assert len(set(files)) == 40 > table["Patient"].nunique()
    assert [file.split("/")[1] for file in files] == list(table["Patient"])


def test_bytes_do_not_depend_on_processes_or_on_the_cohorts_size(folder, tmp_path):
    make(RECIPE, tmp_path / "two", workers=2)
    assert contents(tmp_path / "two") == contents(folder)
    make(replace(RECIPE, n=2), tmp_path / "fewer")
    whole, part = contents(folder), contents(tmp_path / "fewer")
    assert all(whole[file] == part[file] for file in part if file.parts[0] == "train")
    few, all_rows = (at.joinpath("train.csv").read_bytes() for at in (tmp_path / "fewer", folder))
    assert all_rows.startswith(few) and len(few) < len(all_rows)


def test_tables_written_in_chunks_are_the_same(everything, monkeypatch):
    before = contents(everything)
    monkeypatch.setattr(cohort_folder, "CHUNK", 1)
    make(EVERYTHING, everything)
    assert contents(everything) == before


def test_fifty_thousand_rows_are_never_in_memory_at_once(monkeypatch):
    largest = []
    drawn = cohort_folder.sample
    monkeypatch.setattr(cohort_folder, "sample", lambda *a: largest.append(len(a[2])) or drawn(*a))
    assert sum(1 for _ in cohort_folder._images(replace(RECIPE, n=50_000))) == 50_000
    assert max(largest) == cohort_folder.CHUNK


def test_total_counterfactuals_stand_apart_from_direct_ones(everything):
    cohort = PhantomCohort("train", 2, seed=5)
    rows = pd.read_csv(everything / "counterfactuals.csv")
    assert rows["Form"].tolist() == ["direct", "total"] * 2
    for number, row in rows.iterrows():
        subject, scene = cohort.subject(number // 2), cohort.scene(number // 2)
        change = {"direct": intervene, "total": total}[row["Form"]]
        other = change(subject, {"Cardiomegaly": 1.0})
        assert np.abs(pixels(everything, row["Counterfactual"]) - scene.image(other)).max() < 0.003
        mask = pixels(everything, row["Mask"]) > 0.5
        assert np.array_equal(mask, scene.changed(subject, other))
        assert row["Cardiomegaly"] == 1 and row["Changed"] == (other != subject)
        assert row["Support Devices"] == bool(other.devices)


def test_clean_pictures_have_no_noise(everything):
    cohort = PhantomCohort("train", 2, seed=5)
    for listed in read_labels(everything / "train.csv")["Path"]:
        clean = pixels(everything, listed.replace(".png", ".clean.png"))
        noise = pixels(everything, listed) - clean
        assert 0.0005 < noise.std() < 0.1
    expected = cohort.scene(1).image(cohort.subject(1), noise=False)
    assert np.abs(clean - expected).max() < 0.003


def test_latents_are_of_every_picture(everything):
    table = pd.read_csv(everything / "latents.csv", keep_default_na=False)
    assert table["Form"].tolist() == ["factual", "direct", "total"] * 2
    measured = PhantomCohort("train", 2, seed=5).latents(1)
    row = table.iloc[3]
    for name, value in measured.items():
        assert float(row[name]) == pytest.approx(value, abs=1e-4), name
    enlarged = table["ctr"].astype(float)
    assert enlarged[1] >= enlarged[0] and enlarged[4] >= enlarged[3]
    assert max(enlarged[1] - enlarged[0], enlarged[4] - enlarged[3]) > 0.01


def test_masks_are_of_what_is_there(everything):
    cohort = PhantomCohort("train", 2, seed=5)
    table = pd.read_csv(everything / "masks.csv")
    paths_by_row = read_labels(everything / "train.csv")["Path"]
    for index, path in enumerate(paths_by_row):
        own = table[table["Path"] == path].set_index("Structure")["Mask"]
        there = {name: mask for name, mask in cohort.masks(index).items() if mask.any()}
        assert set(own.index) == set(there)
        for name, mask in there.items():
            assert np.array_equal(pixels(everything, own[name]) > 0.5, mask)


def test_a_full_disk_is_one_line_and_the_rest_is_written_later(tmp_path, monkeypatch, capsys):
    write = cohort_pictures.write_png

    def full(pixels, path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(cohort_pictures, "write_png", full)
    command = ["cohort", "make", "--n", "1", "--out", str(tmp_path / "out")]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "No space left on device" in said and "same command" in said
    monkeypatch.setattr(cohort_pictures, "write_png", write)
    assert main(command) == 0
    assert (tmp_path / "out" / "train.csv").is_file()


def test_the_test_split_is_made_only_as_it_was_sealed(tmp_path, monkeypatch):
    monkeypatch.setattr(sealed, "sealed_list_hash", lambda _: "0" * 64)
    with pytest.raises(PrismError, match="frozen"):
        make(replace(RECIPE, split="test"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def heeding_interrupts():
    """What is started in the background of a shell inherits that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_process_and_goes_on(tmp_path, how):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "prismlib", "cohort", "make", "--n", "14", "--workers", "2"]
    command += ["--out", str(out)]
    running = subprocess.Popen(
        command,
        cwd=paths.root(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heeding_interrupts,
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("train/*/*/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    if how == signal.SIGINT:
        os.killpg(running.pid, how)  # as a terminal does
    else:
        running.kill()
    _, said = running.communicate(timeout=60)
    assert running.returncode == (130 if how == signal.SIGINT else -how)
    if how == signal.SIGINT:
        assert said == "prism: interrupted\n"
    while time.monotonic() < deadline:
        try:
            os.killpg(running.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("a worker outlived its parent")
    assert not (out / "train.csv").exists()
    written = len(list(out.glob("train/*/*/*.json")))
    make(Recipe(14, 0, "train", "natural"), out)
    assert 0 < written < len(read_labels(out / "train.csv")) == 14


def test_arguments_are_read():
    assert parse_intervention("Support Devices=0") == REMOVE
    assert parse_intervention("pacemaker=1, Cardiomegaly=0.5") == {
        "pacemaker": 1.0,
        "Cardiomegaly": 0.5,
    }
    assert slug(REMOVE, "total") == "total-support-devices-0"
    assert slug({"central_line": 1.0, "Cardiomegaly": 0.5}) == "do-central-line-1-cardiomegaly-0.5"
    assert parse_spurious("0.9") == 0.9 and parse_spurious("natural") == "natural"
    for text in ("Support Devices", "=1", "pacemaker=on", ""):
        with pytest.raises(UsageError, match="expected NAME=VALUE"):
            parse_intervention(text)


def test_the_record_says_how_it_was_made(folder):
    record = json.loads((folder / "cohort.json").read_text())
    assert record["domain"] == "SIMULATED"
    assert (record["n"], record["seed"], record["interventions"]) == (3, 5, [REMOVE])
