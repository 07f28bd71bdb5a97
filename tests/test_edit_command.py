"""`prism edit` as a user types it: what is refused, what is written, what is said."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image
from radiograph_files import drawn, needs_real, real_radiographs, save_black_png, save_dicom

from prismlib import paths
from prismlib.cli import main
from prismlib.cohorts.labels import ATTRIBUTES
from prismlib.cohorts.radiographs import read_radiograph, to_original
from prismlib.commands import edit_engine, edit_results
from prismlib.errors import UsageError

SOURCE, TARGET = "chest x-ray with support devices", "chest x-ray without support devices"
PROMPTS = ["--source", SOURCE, "--target", TARGET]
LONG = " ".join(["severe pleural effusion"] * 40)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.fromarray(drawn(300, 200)).save(tmp_path / "chest.png")
    return tmp_path / "chest.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"


def edit(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `prism edit`."""
    code = main(["edit", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *words: object) -> str:
    """The one line in which `prism edit` refuses, having written nothing."""
    before = sorted(folder.parent.rglob("*"))
    code, out, err = edit(capsys, *words, "--out", folder)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1 and err.startswith("prism: ")
    assert sorted(folder.parent.rglob("*")) == before
    return err


# What is refused

BAD_IMAGES = {
    "missing.png": (None, "no such file"),
    "empty.png": (b"", "empty file"),
    "text.png": (b"this is no picture\n" * 9, "text file"),
    "torn.jpg": ("torn", "cannot be decoded"),
    "one.png": ("one", "1x1"),
    "large.png": ("large", "30000x30000"),
    "folder.png": ("folder", "folder"),
}


def make_bad(folder: Path, name: str) -> Path:
    path, (content, _) = folder / name, BAD_IMAGES[name]
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "torn":
        Image.fromarray(drawn(300, 200)).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif content == "one":
        Image.fromarray(np.zeros((1, 1), dtype=np.uint8)).save(path)
    elif content == "large":
        save_black_png(path, 30_000, 30_000)
    elif content == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_refused_though_a_good_one_comes_first(
    name: str, image: Path, folder: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = make_bad(image.parent, name)
    message = refused(capsys, folder, image, bad, *PROMPTS)
    assert name in message and BAD_IMAGES[name][1] in message
    assert not engine.asked


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--source", "", "--target", TARGET], "empty source"),
        (["--source", SOURCE, "--target", "  "], "empty target"),
        (["--target", TARGET], "--source"),
        (["--source", SOURCE], "--target"),
        ([*PROMPTS, "--recipe", "slow"], "slow"),
        ([*PROMPTS, "--recipe", "fats"], "fast"),
        ([*PROMPTS, "--model", "sd"], "'sd'"),
        ([*PROMPTS, "--model", "/no/such/folder"], "/no/such/folder"),
        ([*PROMPTS, "--seed", "one"], "one"),
        ([*PROMPTS, "--table", "missing.csv"], "missing.csv"),
        ([*PROMPTS, "--unknown"], "--unknown"),
        (["--source", SOURCE, "--target", LONG], "words"),
    ],
)
def test_bad_words_are_refused(
    words: list[str],
    named: str,
    image: Path,
    folder: Path,
    engine: FakeEngine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert named in refused(capsys, folder, image, *words)
    assert not engine.asked


def test_nothing_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "IMAGE" in refused(capsys, folder)
    assert "without an image" in refused(capsys, folder, *PROMPTS, "--table", "any.csv")


def test_a_folder_that_is_no_model(
    image: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, folder, image, *PROMPTS, "--model", image.parent)
    assert "model_index.json" in message


def test_a_device_that_is_not_there() -> None:
    for device in ("abacus", "cuda:77"):
        with pytest.raises(UsageError, match=device):
            edit_engine.check_device(device)
    edit_engine.check_device("cpu")


def test_out_that_is_a_file(
    image: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is a file" in refused(capsys, image, image, *PROMPTS)
    assert "is a file" in refused(capsys, image / "deeper", image, *PROMPTS)


def test_the_words_past_the_limit_are_named_and_truncate_cuts_them(
    image: Path, folder: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--source", SOURCE, "--target", f"{LONG} zebra"]
    message = refused(capsys, folder, image, *words)
    assert "zebra" in message and "--truncate" in message
    code, _, _ = edit(capsys, image, *words, "--truncate", "--out", folder)
    assert code == 0
    (_, target, _) = engine.asked[0]
    assert LONG.startswith(target) and target != LONG
    engine.engine.model.embed([target])
    with pytest.raises(UsageError):
        kept = len(target.split())
        engine.engine.model.embed([" ".join(LONG.split()[: kept + 1])])
    record = json.loads((folder / "chest.json").read_text())
    assert record["target_prompt"] == target
    assert any("zebra" in note for note in record["notes"])


@pytest.mark.parametrize(
    ("recipe", "share", "said"), [("fast", 1.0, True), ("fast", 0.3, False), ("paper", 1.0, False)]
)
def test_a_change_that_should_be_bounded_and_is_not_is_told(
    image: Path,
    folder: Path,
    engine: FakeEngine,
    capsys: pytest.CaptureFixture[str],
    recipe: str,
    share: float,
    said: bool,
) -> None:
    engine.mask_share = share
    words = ["--source", SOURCE, "--target", TARGET, "--recipe", recipe]
    code, _, _ = edit(capsys, image, *words, "--out", folder)
    record = json.loads((folder / "chest.json").read_text())
    assert code == 0 and record["mask_share"] == share
    assert (record["margin"], record["insisted"]) == (0.3, False)
    assert any("--recipe ungrounded" in note for note in record["notes"]) is said


@pytest.mark.parametrize("name", ["missing.png", "text.png", "large.png", "folder.png"])
def test_the_command_line_itself_refuses_in_one_line(tmp_path: Path, name: str) -> None:
    bad = make_bad(tmp_path, name)
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "prismlib", "edit", bad, *PROMPTS, "--out", tmp_path / "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(paths.root())},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


# What is written


def test_the_three_files_of_a_request(
    image: Path, folder: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = edit(capsys, image, *PROMPTS, "--out", folder, "--seed", "4")
    assert (code, err) == (0, "")
    names = {"chest_counterfactual.png", "chest_difference.png", "chest.json"}
    assert {path.name for path in folder.iterdir()} == names
    written = Image.open(folder / "chest_counterfactual.png")
    assert (written.mode, written.size) == ("L", (200, 300))
    assert "SYNTHETIC" in written.text["Disclaimer"]
    assert written.text["Target prompt"] == TARGET
    difference = Image.open(folder / "chest_difference.png")
    assert "SYNTHETIC" in difference.text["Disclaimer"]

    record = json.loads((folder / "chest.json").read_text())
    assert record["disclaimer"] == "SYNTHETIC, not for clinical use"
    assert (record["source_prompt"], record["target_prompt"]) == (SOURCE, TARGET)
    assert record["input"]["sha256"] == paths.sha256(image)
    assert record["recipe"]["name"] == "fast" and record["recipe"]["s_clip_threshold"] == 0.1
    assert record["passed"] is True and record["s_clip"] == 0.3
    assert record["reconstruction_psnr"] is None  # infinite: JSON has no such number
    assert record["seed"] == 4 and record["nfe"] == 3
    assert set(record["probabilities"]) == set(ATTRIBUTES)
    change = record["probabilities"]["Cardiomegaly"]
    assert change["after"] < change["before"]
    assert {"torch", "diffusers", "prismlib", "python"} <= set(record["versions"])
    for role in ("model", "encoder", "classifier"):
        assert set(record[role]) == {"name", "weights_sha256"}

    assert "passed" in out and "0.300" in out and "NOT PASSED" not in out
    assert "SYNTHETIC" in out


def test_the_counterfactual_is_the_edit_at_the_original_size(
    image: Path, folder: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(capsys, image, *PROMPTS, "--out", folder)
    radiograph = read_radiograph(image)
    expected = radiograph.image.copy()
    expected[256:] *= 0.9
    written = np.asarray(Image.open(folder / "chest_counterfactual.png")) / 255
    assert np.abs(written - to_original(expected, radiograph)).max() <= 0.5 / 255 + 1e-6
    assert np.abs(written - drawn(300, 200) / 255)[:140].max() < 0.05
    assert (drawn(300, 200) / 255 - written)[160:].mean() > 0.02
    region = radiograph.region
    l1 = np.abs(expected - radiograph.image)[region].mean()
    record = json.loads((folder / "chest.json").read_text())
    assert record["l1"] == pytest.approx(l1, rel=1e-4)


def test_an_edit_that_misses_the_threshold_is_written_and_marked(
    image: Path, folder: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.s_clip = 0.05
    code, out, _ = edit(capsys, image, *PROMPTS, "--out", folder, "--recipe", "paper")
    assert code == 0
    assert "NOT PASSED" in out and "0.050 is below 0.1" in out
    record = json.loads((folder / "chest.json").read_text())
    assert record["passed"] is False and record["recipe"]["name"] == "paper"
    assert (folder / "chest_counterfactual.png").exists()


def test_equal_stems_are_numbered_and_earlier_results_kept(
    image: Path, folder: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    save_dicom(image.with_suffix(".dcm"), drawn(300, 200).astype(np.uint16) * 16)
    words = [image, image.with_suffix(".dcm"), image, *PROMPTS]
    assert edit(capsys, *words, "--out", folder)[0] == 0
    stems = {path.stem for path in folder.glob("*.json")}
    assert stems == {"chest", "chest_2", "chest_3"}
    assert json.loads((folder / "chest_2.json").read_text())["input"]["kind"] == "dicom"
    message = refused(capsys, folder, image, *PROMPTS)
    assert "--overwrite" in message and "2 more" in message
    engine.s_clip = 0.7
    assert edit(capsys, image, *PROMPTS, "--out", folder, "--overwrite")[0] == 0
    assert json.loads((folder / "chest.json").read_text())["s_clip"] == 0.7


def test_an_input_is_never_replaced(
    image: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    lure = image.with_name("chest_counterfactual.png")
    lure.write_bytes(image.read_bytes())
    code, _, err = edit(capsys, image, lure, *PROMPTS, "--out", image.parent, "--overwrite")
    assert code == 2 and "is an input" in err
    assert lure.read_bytes() == image.read_bytes()


def test_a_failed_write_leaves_no_half_file(
    image: Path,
    folder: Path,
    engine: FakeEngine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(result: object, provenance: object, path: Path) -> None:
        with paths.written_whole(path) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(edit_results, "_write_difference", full)
    code, _, err = edit(capsys, image, *PROMPTS, "--out", folder)
    assert code == 1 and "No space left" in err and len(err.splitlines()) == 1
    assert {path.name for path in folder.iterdir()} == {"chest_counterfactual.png"}


# Tables of requests


def write_table(folder: Path, text: str) -> Path:
    (folder / "requests.csv").write_text(text, encoding="utf-8")
    return folder / "requests.csv"


def test_a_table_of_requests(
    image: Path,
    folder: Path,
    engine: FakeEngine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir("/")  # paths are relative to the table, not to where one stands
    table = write_table(
        image.parent,
        f'image,source,target,recipe\nchest.png,"{SOURCE}","a, b",paper\n\n{image},x,y,\n',
    )
    code, out, _ = edit(capsys, "--table", table, "--out", folder)
    assert code == 0
    assert engine.asked == [(SOURCE, "a, b", "paper"), ("x", "y", "fast")]
    assert len(list(folder.glob("*.json"))) == 2 and out.count("chest.png") >= 2
    edit(capsys, image, *PROMPTS, "--table", table, "--recipe", "paper", "--out", folder / "b")
    assert [asked[2] for asked in engine.asked[2:]] == ["paper", "paper", "paper"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "none"),
        ("image,source,target\n", "no rows"),
        ("image,source\nchest.png,a\n", "columns"),
        ("image,source,target,recipie\nchest.png,a,b,fast\n", "recipie"),
        ("image,source,target\nchest.png,a,b\nmissing.png,a,b\n", "row 2 (line 3)"),
        ("image,source,target\nchest.png,a,b\n\nchest.png,,b\n", "row 2 (line 4)"),
        ("image,source,target\nchest.png,a,b\n,a,b\n", "row 2"),
        ("image,source,target\nchest.png,a\n", "row 1"),
        ("image,source,target\nchest.png,a,b,c\n", "row 1"),
        ("image,source,target,recipe\nchest.png,a,b,slow\n", "row 1"),
        (f"image,source,target\nchest.png,a,b\nchest.png,a,{LONG}\n", "row 2"),
        ('image,source,target\nchest.png,"a,b\n', "requests.csv"),
    ],
)
def test_a_bad_row_is_named(
    text: str,
    named: str,
    image: Path,
    folder: Path,
    engine: FakeEngine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = write_table(image.parent, text)
    message = refused(capsys, folder, "--table", table)
    assert named in message and "requests.csv" in message
    assert not engine.asked


def test_a_table_that_is_no_text(
    image: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "as a table" in refused(capsys, folder, "--table", image)
    assert "as a table" in refused(capsys, folder, "--table", image.parent)


# The real engine


@needs_real
def test_real_radiographs_through_the_real_engine(
    tiny_prism: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jpeg, other = real_radiographs(2)
    stored = np.asarray(Image.open(jpeg)).astype(np.uint16) * 16
    dicom = save_dicom(tmp_path / "one.dcm", 4095 - stored, PhotometricInterpretation="MONOCHROME1")
    files = [jpeg, other, dicom]  # whose bits differ, so that a recipe that draws noise is no use
    words = ["--model", tiny_prism, "--recipe", "paper", "--out", tmp_path / "out"]
    code, out, _ = edit(capsys, *files, *PROMPTS, *words)
    assert code == 0
    records = {
        path.stem: json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")
    }
    assert set(records) == {jpeg.stem, other.stem, "one"}
    first, second = records[jpeg.stem], records["one"]
    assert second["input"]["photometric"] == "MONOCHROME1"
    for name in ("s_clip", "l1", "reconstruction_psnr"):
        assert first[name] == pytest.approx(second[name], rel=0.05, abs=0.02)
    assert len(first["model"]["weights_sha256"]) == 64
    assert any("trained on is not known" in note for note in first["notes"])
    assert str(tmp_path / "out") in out
