"""The runner with throw-away notebooks, and the faults that happen to it."""

import json
import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from prismlib import paths
from prismlib.errors import PrismError, UsageError
from prismlib.report import provenance
from prismlib.report.artefacts import Artefact
from prismlib.runner import kernel, plan, record
from prismlib.runner.pace import Pace, span
from prismlib.runner.reproduction import Request, reproduce

PARAMETERS = 'profile = "quick"\nseed = 0\nn_images = 2\n'
TABLE = """
import pandas as pd
from prismlib.report.artefacts import Report
report = Report.open("{stem}", profile, seed)
report.save_table(pd.DataFrame({{"n": [n_images]}}), "table_{stem}", simulated=True)
"""

# The command line with the notebooks of a test, as another process would run it.
COMMAND = """
import signal
import sys
from pathlib import Path
from prismlib import cli, paths
# Where tests run in the background, an ignored Ctrl-C would be inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
from prismlib.report import provenance
provenance.source_hash = provenance.weights_hash = lambda: "frozen"
folder = Path(sys.argv.pop(1))
paths.notebooks = lambda: folder
sys.exit(cli.main())
"""


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    # Source and weights may be edited while tests run; test_the_key_... holds that they count.
    for name in ("source_hash", "weights_hash"):
        monkeypatch.setattr(provenance, name, lambda: "frozen")
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path / "out"))
    return tmp_path / "out"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "notebooks"
    made.mkdir()
    return made


def write(folder: Path, stem: str, *cells: str, parameters: str = PARAMETERS) -> Path:
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    notebook = new_notebook(
        cells=[new_markdown_cell("# A test"), tagged, *map(new_code_cell, cells)],
        metadata={"kernelspec": {"name": "elsewhere", "display_name": "x", "language": "python"}},
    )
    nbformat.write(notebook, folder / f"{stem}.ipynb")
    return folder / f"{stem}.ipynb"


def write_table(folder: Path, stem: str, *more: str) -> Path:
    return write(folder, stem, TABLE.format(stem=stem), *more)


def run(folder: Path, **request) -> str:
    screen = StringIO()
    reproduce(Request(**request), folder, screen)
    return screen.getvalue()


def command(folder: Path, *arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=paths.root(),
        **options,
    )


def wait_for(condition, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def left_behind(output: Path) -> list[str]:
    """Files that are neither artefacts nor records: halves, temporaries, unfinished notebooks."""
    return [
        path.name
        for path in output.rglob("*")
        if path.is_file() and path.name.startswith(".") and path.name != ".lock"
    ]


def test_a_run_leaves_everything_that_the_contract_names(folder, output):
    write_table(folder, "01_a")
    write(folder, "02_b", "import sys, os; print(sys.executable); print(os.getcwd())")
    said = run(folder)
    assert "[1/2] 01_a  done in" in said and "[2/2] 02_b  cell 0 of 3" in said
    figures, runs = output / "figures" / "quick", output / "runs" / "quick"
    assert {path.name for path in figures.iterdir()} == {
        *("table_01_a.csv", "table_01_a.json", "claims.csv", "claims.json", "index.html")
    }
    told = json.loads((runs / "run.json").read_text())
    assert told["status"] == "finished"
    assert list(told["notebooks"]) == ["01_a", "02_b"]
    assert told["versions"]["papermill"]
    # The kernel is this interpreter, whatever the notebook's metadata asks for.
    done = nbformat.read(runs / "02_b.ipynb", as_version=4)
    assert done.cells[-1].outputs[0].text.split() == [sys.executable, str(folder)]
    assert left_behind(output) == []


def test_finished_notebooks_are_kept_until_something_changes(folder, output):
    write_table(folder, "01_a")
    write(folder, "02_b")
    run(folder)
    again = run(folder)
    assert again.count("finished before, kept") == 2

    write(folder, "02_b", "1 + 1")
    changed = run(folder)
    assert "[1/2] 01_a  finished before" in changed and "[2/2] 02_b  done" in changed

    (output / "figures" / "quick" / "table_01_a.csv").write_text("n,dom")  # torn
    torn = run(folder)
    assert "[1/2] 01_a  done" in torn and "[2/2] 02_b  finished before" in torn


def test_settings_reach_the_notebook_and_make_another_result(folder, output):
    write_table(folder, "01_a")
    write(folder, "02_b", "n_images")
    table = output / "figures" / "quick" / "table_01_a.csv"
    run(folder, only=("01_a",), settings={"n_images": 9})
    assert table.read_text() == "n,domain\n9,SIMULATED\n"
    assert not (output / "runs" / "quick" / "02_b.ipynb").exists()
    assert "done" in run(folder, only=("1",))
    assert table.read_text() == "n,domain\n2,SIMULATED\n"


def test_fresh_runs_again_what_was_finished(folder):
    write(folder, "01_a")
    run(folder)
    assert "done in" in run(folder, fresh=True)


def test_an_artefact_that_is_no_longer_made_goes(folder, output):
    write_table(folder, "01_a")
    run(folder)
    write(folder, "01_a", TABLE.format(stem="01_a").replace("table_01_a", "table_new"))
    run(folder)
    tables = sorted(path.name for path in (output / "figures" / "quick").glob("table_*"))
    assert tables == ["table_new.csv", "table_new.json"]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1 + 1", "raise ValueError('no\\nway')"], "failed in code cell 4: ValueError: no way"),
        (["import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"], "its kernel died"),
        (["import os\nos._exit(0)"], "its kernel died"),
        (["import sys\nsys.exit(0)", "1 + 1"], "failed in code cell 3: SystemExit"),
    ],
)
def test_a_notebook_that_does_not_end_well_is_not_done(folder, output, cells, message):
    write(folder, "01_a")
    write(folder, "02_b", *cells)
    with pytest.raises(PrismError, match=message) as caught:
        run(folder)
    assert "\n" not in str(caught.value)
    assert "02_b" in str(caught.value)
    runs = output / "runs" / "quick"
    assert not (runs / "02_b.ipynb").exists()
    assert nbformat.read(runs / "02_b.unfinished.ipynb", as_version=4).cells
    told = json.loads((runs / "run.json").read_text())
    assert told["status"] == "failed" and list(told["notebooks"]) == ["01_a"]

    write(folder, "02_b", "1 + 1")
    said = run(folder)
    assert "01_a  finished before" in said and "02_b  done" in said
    assert not (runs / "02_b.unfinished.ipynb").exists()


def test_papermills_word_is_not_taken(tmp_path):
    notebook = new_notebook(cells=[new_code_cell("1", execution_count=1), new_code_cell("2")])
    notebook.metadata["papermill"] = {"exception": None}
    for cell in notebook.cells:
        cell.metadata["papermill"] = {"status": "completed"}
    nbformat.write(notebook, tmp_path / "x.ipynb")
    assert kernel.whats_missing(tmp_path / "x.ipynb") == (
        "ended before code cell 2 of 2 was executed"
    )
    (tmp_path / "x.ipynb").write_text((tmp_path / "x.ipynb").read_text()[:80])
    assert "torn" in kernel.whats_missing(tmp_path / "x.ipynb")


def test_a_killed_runner_goes_on_with_the_notebook_it_was_in(folder, output, tmp_path):
    flag, pid = tmp_path / "go", tmp_path / "kernel.pid"
    write(folder, "01_a")
    write(
        folder,
        "02_b",
        "import os, pathlib, time\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        f"while not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.05)",
    )
    write(folder, "03_c")
    runner = command(folder, "reproduce")
    wait_for(lambda: pid.exists() and pid.read_text())
    runner.send_signal(signal.SIGKILL)
    runner.communicate()
    runs = output / "runs" / "quick"
    assert not (runs / "02_b.ipynb").exists()
    assert list(record.load_finished("quick")) == ["01_a"]
    wait_for(lambda: not alive(int(pid.read_text())))  # the kernel does not outlive it

    flag.touch()
    said = run(folder)
    assert "01_a  finished before" in said
    assert "02_b  done" in said and "03_c  done" in said
    assert left_behind(output) == []


def alive(pid: int) -> bool:
    """Whether a process runs (one that is dead and not yet reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_at_once_do_not_clash_and_ctrl_c_is_one_line(folder, output, tmp_path):
    began = tmp_path / "began"
    write(
        folder,
        "01_a",
        f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\ntime.sleep(600)",
    )
    first = command(folder, "reproduce")
    wait_for(began.exists)
    second = command(folder, "reproduce")
    _, complaint = second.communicate(timeout=180)
    assert second.returncode == 1
    assert complaint.startswith("prism: profile quick is already being run by process")
    assert str(first.pid) in complaint and complaint.count("\n") == 1

    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=180)
    assert first.returncode == 130
    assert said.splitlines()[-1] == "prism: interrupted"
    assert "Traceback" not in said
    assert json.loads((output / "runs" / "quick" / "run.json").read_text())["status"] == (
        "interrupted"
    )


def test_a_full_disk_is_one_line_and_leaves_nothing_half(folder, output):
    write(folder, "01_a")
    write(folder, "02_b", "print('x' * 2_000_000)")
    script = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
    runner = subprocess.run(
        [sys.executable, "-c", script + COMMAND, str(folder), "reproduce"],
        capture_output=True,
        text=True,
        cwd=paths.root(),
    )
    assert runner.returncode == 1
    assert "File too large" in runner.stderr.splitlines()[-1]
    assert "Traceback" not in runner.stderr
    assert list(record.load_finished("quick")) == ["01_a"]
    assert left_behind(output) == []


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"profile": "quik"}, "did you mean quick"),
        ({"settings": {"n_image": 3}}, "no selected notebook has it: did you mean n_images"),
        ({"settings": {"n_images": "many"}}, "n_images is 'many' .str.; expected int"),
        ({"settings": {"profile": "full"}}, "chosen with --profile"),
        ({"only": ("02",)}, "no notebook '02'"),
        ({"only": ("01_b",)}, "did you mean 01_a"),
    ],
)
def test_what_is_misspelt_is_refused_before_anything_is_written(folder, output, request_, message):
    write(folder, "01_a")
    with pytest.raises(UsageError, match=message):
        run(folder, **request_)
    assert not output.exists()


def test_a_profile_cannot_set_what_the_notebook_does_not_have(folder, output):
    write(folder, "01_a", parameters='profile = "quick"\nseeds = 1\nseed = 0')
    write(folder, "02_b", parameters='profile = "quick"')
    with pytest.raises(UsageError, match=r"02_b.ipynb: the cell tagged `parameters` lacks 'seed'"):
        run(folder)
    assert not output.exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("n = len([1])", "more than names with literal values"),
        ("import os", "more than names with literal values"),
        ("n = (", "more than names with literal values"),
    ],
)
def test_parameters_are_literal(folder, source, message):
    path = write(folder, "01_a", parameters=PARAMETERS + source)
    with pytest.raises(UsageError, match=message):
        plan.read_parameters(path)


def test_a_torn_notebook_and_a_torn_record_are_one_line(folder, output):
    path = write(folder, "01_a")
    run(folder)
    record.path("quick").write_text('{"notebooks": {"01_a"')
    with pytest.raises(PrismError, match="--fresh"):
        run(folder)
    assert "done" in run(folder, fresh=True)
    path.write_text(path.read_text()[:100])
    with pytest.raises(UsageError, match=r"01_a.ipynb is not a notebook"):
        run(folder)


def test_outputs_and_identifiers_do_not_change_the_key(folder, monkeypatch):
    from prismlib.config import load_profile

    profile = load_profile("quick")
    path = write(folder, "01_a", "1 + 1")
    (before,) = plan.plan(profile, folder)
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell{number}"
        if cell.cell_type == "code":
            cell.execution_count = number
    nbformat.write(notebook, path)
    assert plan.plan(profile, folder) == [before]
    judge = folder / "judge"
    judge.mkdir()
    monkeypatch.setenv("PRISM_JUDGE", str(judge))
    (after,) = plan.plan(load_profile("quick"), folder)
    (judge / "model.safetensors").write_text("trained")
    (trained,) = plan.plan(load_profile("quick"), folder)
    assert len({before.key, after.key, trained.key}) == 3


def test_the_key_counts_source_weights_parameters_and_notebook(folder, monkeypatch):
    from prismlib.config import load_profile

    profile = load_profile("quick")
    write(folder, "01_a")
    keys = {plan.plan(profile, folder)[0].key}
    for name in ("source_hash", "weights_hash"):
        with monkeypatch.context() as patch:
            patch.setattr(provenance, name, lambda: "edited")
            keys.add(plan.plan(profile, folder)[0].key)
    keys.add(plan.plan(profile, folder, settings={"n_images": 3})[0].key)
    write(folder, "01_a", "1 + 1")
    keys.add(plan.plan(profile, folder)[0].key)
    assert len(keys) == 5


def test_an_output_that_cannot_be_written_is_one_line(folder, output):
    write(folder, "01_a")
    output.write_text("a file where a folder is to be")
    with pytest.raises(PrismError, match=r"Not a directory|File exists"):
        run(folder)


def test_a_sidecar_names_the_notebook_and_profile(folder, output):
    write_table(folder, "01_a")
    run(folder)
    made = Artefact.read(output / "figures" / "quick" / "table_01_a.json")
    assert (made.notebook, made.profile, made.simulated) == ("01_a", "quick", True)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pace(before: dict[str, float]) -> tuple[Pace, Clock, StringIO]:
    clock, screen = Clock(), StringIO()
    return Pace(["01_a", "02_b", "03_c"], before, screen, clock), clock, screen


def test_what_is_left_comes_from_what_is_known():
    watch, clock, _ = pace({"01_a": 10, "02_b": 20, "03_c": 30})
    watch.start("01_a", 4)
    assert watch.left() == 60
    clock.now = 4
    assert watch.left() == 56
    watch.end()
    watch.start("03_c", 4)
    assert watch.left() == 30
    watch.end()


def test_without_history_the_cells_tell():
    watch, clock, _ = pace({})
    watch.start("01_a", 4)
    assert watch.left() is None
    assert "not known yet" in watch.line()
    clock.now = 6
    watch.at(3)  # two cells in six seconds, two to go, and two notebooks like this one
    assert watch.left() == pytest.approx(6 + 12 + 12)
    clock.now = 10
    assert watch.end() == 10
    watch.start("02_b", 1)
    assert watch.left() == pytest.approx(10 + 10)
    watch.end()


def test_a_log_gets_plain_lines():
    watch, clock, screen = pace({"01_a": 100})
    watch.start("01_a", 3)
    for cell in (1, 2, 3):
        clock.now += 4
        watch.at(cell)
    watch.end()
    said = screen.getvalue()
    assert "\r" not in said and "\033" not in said
    assert [line.split("  ")[1] for line in said.splitlines()] == [
        "cell 0 of 3",
        "cell 2 of 3",
        "done in 12 s",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (365, "6 min 5 s"), (7800, "2 h 10 min")],
)
def test_spans(seconds, text):
    assert span(seconds) == text


def test_the_environment_is_given_back(monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", "/somewhere")
    with kernel.own_interpreter():
        assert os.environ["JUPYTER_PATH"].endswith(os.pathsep + "/somewhere")
    assert os.environ["JUPYTER_PATH"] == "/somewhere"
