"""What `Report` leaves behind: whole files, sidecars that tell the truth, SIMULATED on the face."""

import json

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib import paths
from prismlib.errors import PrismError
from prismlib.report import provenance
from prismlib.report.artefacts import Artefact, Report, read_artefacts

matplotlib.use("agg")
from matplotlib.figure import Figure


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    return tmp_path


@pytest.fixture
def report():
    return Report.open("04_device_removal", "quick", 7)


def draw() -> Figure:
    fig = Figure(figsize=(2, 2))
    fig.subplots().plot([0, 1], [1, 0])
    return fig


def test_a_table_lands_under_prism_output_with_its_sidecar(report, output):
    path = report.save_table(pd.DataFrame({"a": [1, 2]}), "table_2", simulated=False)
    assert path == output / "figures" / "quick" / "table_2.csv"
    assert path.read_text() == "a\n1\n2\n"
    sidecar = Artefact.read(path.with_suffix(".json"))
    assert (sidecar.notebook, sidecar.profile, sidecar.seed) == ("04_device_removal", "quick", 7)
    assert sidecar.files == {"table_2.csv": paths.sha256(path)}
    assert sidecar.is_table and not sidecar.simulated


@settings(max_examples=30)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5))
def test_numbers_survive_the_table(values):
    report = Report.open("01_x", "quick", 0)
    path = report.save_table(pd.DataFrame({"v": values}), "table_v", simulated=True)
    back = pd.read_csv(path)
    np.testing.assert_allclose(back["v"], values, rtol=1e-9, atol=1e-300)
    assert list(back.columns) == ["v", "domain"]
    assert set(back["domain"]) == {"SIMULATED"}


def test_nothing_but_the_artefacts_is_left(report, output):
    report.save_table(pd.DataFrame({"a": [1]}), "table_a", simulated=True)
    report.save_figure(draw(), "fig_3", simulated=True)
    names = sorted(path.name for path in (output / "figures" / "quick").iterdir())
    assert names == ["fig_3.json", "fig_3.pdf", "fig_3.png", "table_a.csv", "table_a.json"]


def test_the_stamp_is_on_the_picture_once(report):
    fig = draw()
    plain = report.save_figure(fig, "fig_a", simulated=False).read_bytes()
    stamped = report.save_figure(fig, "fig_a", simulated=True).read_bytes()
    assert plain != stamped
    assert [text.get_text() for text in fig.texts] == ["SIMULATED"]
    assert report.save_figure(fig, "fig_a", simulated=True).read_bytes() == stamped
    assert len(fig.texts) == 1


def test_the_stamp_lies_outside_the_axes(report):
    fig = draw()
    report.save_figure(fig, "fig_a", simulated=True)
    fig.canvas.draw()
    stamp, axes = fig.texts[0].get_window_extent(), fig.axes[0].get_tightbbox()
    assert stamp.y0 >= axes.y1


def test_the_same_figure_is_the_same_bytes(report):
    first = report.save_figure(draw(), "fig_a", simulated=False)
    before = first.read_bytes(), first.with_suffix(".pdf").read_bytes()
    again = report.save_figure(draw(), "fig_a", simulated=False)
    assert (again.read_bytes(), again.with_suffix(".pdf").read_bytes()) == before


def test_inputs_are_hashed_and_named_without_absolute_paths(report, tmp_path):
    (tmp_path / "runs").mkdir()
    file = tmp_path / "runs" / "cache.npz"
    file.write_bytes(b"abc")
    report.uses(file)
    report.uses("prism-mini", sha256="f" * 64)
    report.uses(paths.root() / "pyproject.toml")
    path = report.save_table(pd.DataFrame({"a": [1]}), "table_a", simulated=False)
    assert Artefact.read(path.with_suffix(".json")).inputs == {
        "prism-mini": "f" * 64,
        "pyproject.toml": paths.sha256(paths.root() / "pyproject.toml"),
        "runs/cache.npz": paths.sha256(file),
    }


def test_a_folder_is_hashed_by_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    first = provenance.folder_hash(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = provenance.folder_hash(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, provenance.folder_hash(tmp_path)}) == 3


@pytest.mark.parametrize("name", ["fig_1", "table", "table_A", "table_../x", "tables_1", "table_"])
def test_a_name_outside_the_contract_is_refused(report, name, output):
    with pytest.raises(PrismError, match="cannot be an artefact's name"):
        report.save_table(pd.DataFrame({"a": [1]}), name, simulated=False)
    assert not (output / "figures").exists()


def test_an_index_that_would_be_lost_is_refused(report):
    with pytest.raises(PrismError, match="reset_index"):
        report.save_table(pd.DataFrame({"a": [1]}, index=["x"]), "table_a", simulated=False)


def test_what_is_neither_file_nor_hashed_is_refused(report):
    with pytest.raises(PrismError, match="no file"):
        report.uses("nowhere/at/all.csv")


def test_a_failed_save_leaves_what_stood_there(report, monkeypatch, output):
    path = report.save_table(pd.DataFrame({"a": [1]}), "table_a", simulated=False)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError):
        report.save_table(pd.DataFrame({"a": [2]}), "table_a", simulated=False)
    assert path.read_text() == "a\n1\n"
    assert len(list(path.parent.iterdir())) == 2


def test_missing_and_torn_files_are_seen(report):
    path = report.save_figure(draw(), "fig_a", simulated=False)
    (artefact,) = read_artefacts(path.parent)
    assert artefact.missing(path.parent) == []
    path.write_bytes(path.read_bytes()[:50])
    path.with_suffix(".pdf").unlink()
    assert artefact.missing(path.parent) == ["fig_a.png", "fig_a.pdf"]


def test_a_torn_sidecar_is_one_line(report):
    path = report.save_table(pd.DataFrame({"a": [1]}), "table_a", simulated=False)
    sidecar = path.with_suffix(".json")
    sidecar.write_text(sidecar.read_text()[:40])
    with pytest.raises(PrismError, match="is not a sidecar"):
        read_artefacts(path.parent)
    sidecar.write_text(json.dumps({"name": "table_a"}))
    with pytest.raises(PrismError, match="is not a sidecar"):
        read_artefacts(path.parent)


def test_the_source_hash_sees_what_notebooks_read_and_nothing_else(tmp_path):
    (tmp_path / "editing").mkdir()
    (tmp_path / "commands").mkdir()
    (tmp_path / "editing" / "a.py").write_text("x = 1")
    (tmp_path / "commands" / "b.py").write_text("x = 1")
    before = provenance.source_hash(tmp_path)
    (tmp_path / "commands" / "b.py").write_text("x = 2")
    assert provenance.source_hash(tmp_path) == before
    (tmp_path / "editing" / "a.py").write_text("x = 2")
    assert provenance.source_hash(tmp_path) != before
