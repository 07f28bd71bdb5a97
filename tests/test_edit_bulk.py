"""`prism edit` in bulk: batches, processes, kills, failures, two at once, masks."""

import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from radiograph_files import drawn
from test_training_processes import launcher

from prismlib import paths
from prismlib.cli import main
from prismlib.cohorts.radiographs import read_radiograph, read_region
from prismlib.commands import edit_engine, edit_results
from prismlib.commands.edit_bulk import LOCK
from prismlib.errors import UsageError

SOURCE, TARGET = "chest x-ray with support devices", "chest x-ray without support devices"
PROMPTS = ["--source", SOURCE, "--target", TARGET]


def pictures(folder, n):
    """PNGs that differ, a-0.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for index in range(n):
        values = np.roll(drawn(96, 80), 7 * index, axis=1)
        Image.fromarray(values).save(folder / f"a-{index}.png")
        found.append(folder / f"a-{index}.png")
    return found


@pytest.fixture
def images(tmp_path):
    return pictures(tmp_path / "in", 5)


def run(*words):
    return main(["edit", *map(str, words)])


def records(folder):
    return {
        path.stem: json.loads(path.read_text())
        for path in sorted(folder.glob("*.json"))
        if ".failed" not in path.name
    }


def failures(folder):
    with (folder / "failures.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_requests_are_edited_in_batches_of_one_recipe(engine, tmp_path, images, capsys):
    rows = ["image,source,target,recipe"]
    rows += [
        f"{image},{SOURCE},{TARGET},{('fast', 'paper')[k % 2]}" for k, image in enumerate(images)
    ]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    out = tmp_path / "out"
    assert run("--table", tmp_path / "t.csv", "--out", out, "--batch-size", 2) == 0
    assert engine.sizes == [2, 2, 1]
    assert [recipe for *_, recipe in engine.asked] == ["fast"] * 2 + ["paper"] * 2 + ["fast"]
    assert len(records(out)) == 5 and capsys.readouterr().out.count("passed") == 5
    assert leftovers(out) == [] and not (out / "failures.csv").exists()


def test_a_finished_run_resumed_does_nothing_and_an_unfinished_one_the_rest(
    engine, tmp_path, images
):
    out = tmp_path / "out"
    words = [*images, *PROMPTS, "--out", out, "--resume"]
    assert run(*words) == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    engine.asked.clear()
    assert run(*words) == 0
    assert engine.asked == [] and {path: path.read_bytes() for path in out.iterdir()} == before
    (out / "a-3.json").unlink()
    (out / ".a-3-abcdefgh.json").write_text("torn")
    assert run(*words) == 0
    assert len(engine.asked) == 1 and leftovers(out) == []
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_request_is_done_only_if_all_its_files_stand_from_one_edit(engine, tmp_path, images):
    out = tmp_path / "out"
    assert run(images[0], *PROMPTS, "--out", out) == 0
    (out / "a-0_counterfactual.png").unlink()
    assert run(images[0], *PROMPTS, "--out", out, "--resume") == 0
    assert (out / "a-0_counterfactual.png").exists() and len(engine.asked) == 2


def test_an_overwriting_run_that_is_cut_off_leaves_no_json_of_the_earlier_one(
    engine, tmp_path, images, monkeypatch
):
    out, words = tmp_path / "out", [images[0], *PROMPTS, "--out", tmp_path / "out"]
    assert run(*words) == 0
    with monkeypatch.context() as patch:
        patch.setattr(edit_results, "_write_difference", lambda *_: 1 / 0)
        assert run(*words, "--recipe", "paper", "--overwrite") == 1
    assert not (out / "a-0.json").exists()
    assert run(*words, "--resume") == 0 and records(out)["a-0"]["recipe"]["name"] == "fast"


def test_a_failure_told_before_is_forgotten_when_the_request_stands(engine, tmp_path, images):
    out = tmp_path / "out"
    assert run(images[0], *PROMPTS, "--out", out) == 0
    (out / "a-0.failed.json").write_text('{"image": "a-0.png", "reason": "killed before"}')
    assert run(images[0], *PROMPTS, "--out", out, "--resume") == 0
    assert not (out / "a-0.failed.json").exists()


@pytest.mark.parametrize("words", [["--resume", "--overwrite"], ["--seed", "-1"]])
def test_senseless_options_are_refused(engine, tmp_path, images, capsys, words):
    assert run(images[0], *PROMPTS, "--out", tmp_path / "out", *words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "other",
    [
        ["--recipe", "paper"],
        ["--target", "chest x-ray of the patient"],
        ["--seed", "1"],
    ],
)
def test_what_stands_from_other_settings_is_not_taken_for_done(
    engine, tmp_path, images, capsys, other
):
    out = tmp_path / "out"
    assert run(images[0], *PROMPTS, "--out", out) == 0
    assert run(images[0], *PROMPTS, *other, "--out", out, "--resume") == 2
    assert "stands from another request or other settings" in capsys.readouterr().err
    assert run(images[0], *PROMPTS, *other, "--out", out, "--overwrite") == 0


def test_what_cannot_be_done_is_recorded_and_the_rest_goes_on(engine, tmp_path, images, capsys):
    bad = tmp_path / "in" / "bad.png"
    bad.write_bytes(b"no picture")
    rows = ["image,source,target,recipe"]
    rows += [f"{image},{SOURCE},{TARGET},fast" for image in (images[0], bad, images[1])]
    rows += [f"{images[2]},{SOURCE},{' '.join(['severe effusion'] * 60)},fast"]
    rows += [
        f"{images[3]},{SOURCE},{TARGET},fats",
        f"{tmp_path / 'gone.png'},{SOURCE},{TARGET},fast",
    ]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    out = tmp_path / "out"
    words = ["--table", tmp_path / "t.csv", "--out", out, "--keep-going"]
    assert run(*words) == 1
    assert set(records(out)) == {"a-0", "a-1"}
    told = {Path(row["image"]).name: row["reason"] for row in failures(out)}
    assert set(told) == {"bad.png", "a-2.png", "a-3.png", "gone.png"}
    for name, words_of_reason in {
        "bad.png": "text file", "a-2.png": "tokens", "a-3.png": "fast", "gone.png": "no such file"
    }.items():  # fmt: skip
        assert words_of_reason in told[name], told[name]
        assert "\n" not in told[name]
    assert capsys.readouterr().out.count("NOT DONE") == 4
    Image.fromarray(drawn(96, 80)).save(bad)
    assert run(*words, "--resume") == 1
    assert len(engine.asked) == 3 and len(failures(out)) == 3
    assert not (out / "bad.failed.json").exists()


def test_without_keep_going_nothing_is_begun(engine, tmp_path, images, capsys):
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    assert run(images[0], tmp_path / "in" / "bad.png", *PROMPTS, "--out", out) == 2
    assert engine.asked == [] and not out.exists()


def test_a_batch_that_is_too_large_is_done_one_by_one(engine, tmp_path, images):
    engine.breaks = True
    out = tmp_path / "out"
    assert run(*images, *PROMPTS, "--out", out, "--batch-size", 3) == 0
    assert engine.sizes == [3, 1, 1, 1, 2, 1, 1] and len(records(out)) == 5


def test_two_runs_in_one_folder_are_refused(engine, tmp_path, images, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with (out / LOCK).open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert run(*images, *PROMPTS, "--out", out) == 2
    assert "another run is writing into it" in capsys.readouterr().err
    assert engine.asked == []
    assert run(*images, *PROMPTS, "--out", out) == 0


def test_a_full_disk_stops_the_run_and_loses_nothing(engine, tmp_path, images, monkeypatch, capsys):
    out, true, left = tmp_path / "out", Image.Image.save, [2]

    def full(self, *args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        true(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", full)
    words = [*images, *PROMPTS, "--out", out, "--resume", "--keep-going", "--batch-size", 2]
    assert run(*words) == 1
    assert "No space left" in capsys.readouterr().err
    assert len(records(out)) < 5 and leftovers(out) == []
    monkeypatch.undo()
    monkeypatch.setattr(edit_engine, "load_engine", lambda name, device: engine.engine)
    assert run(*words) == 0
    assert len(records(out)) == 5


def same(one, other):
    a, b = (np.asarray(Image.open(path)).astype(int) for path in (one, other))
    return np.abs(a - b).max() <= 1


def test_the_batch_size_does_not_matter(tiny_prism, tmp_path, images):
    outs = []
    for size in (1, 2):
        outs.append(tmp_path / f"out-{size}")
        words = ["--model", tiny_prism, "--out", outs[-1], "--batch-size", size]
        assert run(*images[:3], *PROMPTS, *words, "--recipe", "virtual") == 0
    first, second = map(records, outs)
    for name, record in first.items():
        assert record["s_clip"] == pytest.approx(second[name]["s_clip"], abs=1e-2)
        assert record["l1"] == pytest.approx(second[name]["l1"], rel=1e-3)
        assert record["request_sha256"] == second[name]["request_sha256"]
        assert same(*(out / f"{name}_counterfactual.png" for out in outs))


def test_no_mask_and_no_table_is_replaced(engine, tmp_path, images, capsys):
    mask, table = images[0].parent / "a-0.mask.png", tmp_path / "out" / "failures.csv"
    Image.fromarray(np.full((96, 80), 255, np.uint8)).save(mask)
    mask.rename(images[0].parent / "a-0_difference.png")
    words = ["--mask", images[0].parent / "a-0_difference.png", "--recipe", "inpainting"]
    where = ["--out", images[0].parent, "--overwrite"]
    assert run(images[0], *PROMPTS, *words, *where) == 2
    assert "is an input" in capsys.readouterr().err
    table.parent.mkdir()
    table.write_text(f"image,source,target\n{images[0]},a,b\n")
    before = table.read_bytes()
    assert run("--table", table, "--out", table.parent, "--overwrite") == 2
    assert "is --table and would be replaced" in capsys.readouterr().err
    assert table.read_bytes() == before


def test_masks_say_where_the_image_may_change(tiny_prism, tmp_path, images, capsys):
    mask = np.zeros((96, 80), np.uint8)
    mask[:, :30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = [images[0], *PROMPTS, "--model", tiny_prism, "--recipe", "radedit"]
    assert run(*words, "--out", tmp_path / "without") == 2
    assert "got no mask for the recipe 'radedit'" in capsys.readouterr().err
    fast = [images[0], *PROMPTS, "--model", tiny_prism, "--out", tmp_path / "none"]
    assert run(*fast, "--mask", tmp_path / "mask.png") == 2
    assert "which takes none" in capsys.readouterr().err
    out = tmp_path / "out"
    assert run(*words, "--mask", tmp_path / "mask.png", "--out", out) == 0
    assert records(out)["a-0"]["recipe"]["mask"] == "given"
    Image.fromarray(mask[:70]).save(tmp_path / "small.png")
    assert run(*words, "--mask", tmp_path / "small.png", "--out", tmp_path / "no") == 2
    assert "got a mask of 80x70, expected 80x96" in capsys.readouterr().err


def test_a_mask_lies_where_the_radiograph_does(tmp_path, images):
    mask = np.zeros((96, 80), np.uint8)
    mask[0, 0] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    radiograph = read_radiograph(images[0])
    region = read_region(tmp_path / "mask.png", radiograph)
    top, left, *_ = radiograph.box
    assert region.shape == (512, 512) and region[top, left]
    assert region.sum() <= 7 * 7 and not region[:, :left].any()
    with pytest.raises(UsageError):
        read_region(tmp_path / "gone.png", radiograph)


def test_kept_inversions_serve_another_target(tiny_prism, tmp_path, images):
    kept = tmp_path / "kept"
    for number, target in enumerate((TARGET, "chest x-ray with no finding")):
        words = ["--model", tiny_prism, "--inversions", kept, "--out", tmp_path / str(number)]
        words += ["--recipe", "paper"]
        assert run(images[0], "--source", SOURCE, "--target", target, *words) == 0
    assert len(list(kept.iterdir())) == 1


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.slow
def test_killed_in_mid_batch_it_goes_on_and_repeats_nothing(tiny_prism, tmp_path):
    images, out = pictures(tmp_path / "in", 12), tmp_path / "out"
    command = [sys.executable, "-m", "prismlib", "edit", *map(str, images), *PROMPTS,
               "--model", str(tiny_prism), "--out", str(out), "--batch-size", "2",
               "--recipe", "paper", "--resume"]  # fmt: skip
    running = subprocess.Popen(command, env=environment(), cwd=paths.root(),
                               stdout=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 600
    while len(list(out.glob("a-*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    stood = {path: path.stat().st_mtime_ns for path in out.glob("a-*.json")}
    assert 3 <= len(stood) < 12
    for path in stood:
        json.loads(path.read_text())
    again = subprocess.run(command, env=environment(), cwd=paths.root(), capture_output=True,
                           text=True)  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert len(records(out)) == 12 and leftovers(out) == []
    assert {path: path.stat().st_mtime_ns for path in stood} == stood


@pytest.mark.slow
def test_two_processes_share_the_requests(tiny_prism, tmp_path):
    images, out, alone = pictures(tmp_path / "in", 5), tmp_path / "out", tmp_path / "alone"
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    words = ["edit", *map(str, images), str(tmp_path / "in" / "bad.png"), *PROMPTS,
             "--model", str(tiny_prism), "--batch-size", "2", "--keep-going"]  # fmt: skip
    done = subprocess.run([*launcher(2), *words, "--out", str(out)], env=environment(),
                          cwd=paths.root(), capture_output=True, text=True)  # fmt: skip
    assert done.returncode != 0 and "NOT DONE" in done.stdout, done.stderr[-2000:]
    assert len(records(out)) == 5 and len(failures(out)) == 1 and leftovers(out) == []
    assert main([*words, "--out", str(alone)]) == 1
    for name in records(alone):
        assert same(*(folder / f"{name}_counterfactual.png" for folder in (out, alone)))
