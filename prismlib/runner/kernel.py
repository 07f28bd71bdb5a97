"""Executes one notebook in a kernel of its own, and believes only what it can see."""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import nbformat

from prismlib import paths
from prismlib.errors import PrismError
from prismlib.runner.plan import Step

KERNEL = "python3"
PATIENCE = 600  # seconds for a kernel on a busy machine to start, or to deliver its last output

CellCallback = Callable[[int], None]


@contextmanager
def own_interpreter() -> Iterator[None]:
    """Within this block the kernel `python3` is this very interpreter, whatever is registered.

    The kernel sees this checkout's package, none of the user's IPython settings, and absolute
    paths in the project's variables, since notebooks run in a folder of their own.
    """
    with tempfile.TemporaryDirectory(prefix="prism-kernel-") as folder:
        spec = Path(folder) / "kernels" / KERNEL / "kernel.json"
        spec.parent.mkdir(parents=True)
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        content = {"argv": command, "display_name": "Python 3", "language": "python"}
        spec.write_text(json.dumps(content), encoding="utf-8")
        variables = {
            "JUPYTER_PATH": _prepended("JUPYTER_PATH", folder),
            "JUPYTER_RUNTIME_DIR": str(Path(folder) / "runtime"),
            "IPYTHONDIR": str(Path(folder) / "ipython"),
            "PYTHONPATH": _prepended("PYTHONPATH", str(paths.root())),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        for name in ("PRISM_OUTPUT", "PRISM_CHEXPERT_ROOT"):
            if os.environ.get(name):
                variables[name] = str(Path(os.environ[name]).resolve())
        with _environment(variables), _quiet("papermill", "asyncio"):
            yield


def execute(step: Step, output: Path, on_cell: CellCallback = lambda index: None) -> None:
    """Execute a notebook through papermill into `output`; `PrismError` unless all of it ran.

    While it runs, and after a failure, what ran so far lies beside it as `<stem>.unfinished.ipynb`,
    and what the kernel's process itself wrote (a crash in native code, say) in `.unfinished.log`.
    `output` itself appears only whole. `on_cell` gets each code cell's number, from 1.
    """
    unfinished, log = (output.with_suffix(f".unfinished{end}") for end in (".ipynb", ".log"))
    output.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as handle:
        problem = _run(step, unfinished, on_cell, handle) or whats_missing(unfinished)
    if problem:
        raise PrismError(f"{step.stem} {problem}; what ran so far is in {_shown(unfinished)}")
    unfinished.replace(output)
    log.unlink()


def _run(step: Step, output: Path, on_cell: CellCallback, log: TextIO) -> str | None:
    """Run papermill; give what went wrong, or None if it says that nothing did."""
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from papermill.execute import execute_notebook

    at = 0

    def started(cell: object, cell_index: int) -> None:
        nonlocal at
        at += 1
        on_cell(at)

    try:
        execute_notebook(
            _unbraced(step.path),
            _unbraced(output),
            parameters=dict(step.parameters),
            kernel_name=KERNEL,
            language="python",
            cwd=str(step.path.parent),
            progress_bar=False,
            start_timeout=PATIENCE,
            iopub_timeout=PATIENCE,
            kernel_manager_class=_manager(log),
            on_cell_execute=started,
        )
    except PapermillExecutionError as error:
        return f"failed in code cell {at}: {error.ename}: {_line(error.evalue)}"
    except DeadKernelError:
        return f"stopped in code cell {at}: its kernel died (was it killed, or out of memory?)"
    except RuntimeError as error:
        return f"could not be run: {_line(error)}"
    return None


def whats_missing(path: Path) -> str | None:
    """What shows that an executed notebook did not run in full; None if every cell did.

    papermill's own metadata is not read: it calls a notebook with a killed kernel completed.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises what its many parsers raise
        return f"left a torn file ({_line(error)[:200]})"
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    for number, cell in enumerate(code, start=1):
        if cell.execution_count is None:
            return f"ended before code cell {number} of {len(code)} was executed"
        for made in cell.outputs:
            if made.output_type == "error":
                return f"failed in code cell {number}: {made.ename}: {_line(made.evalue)}"
    return None


def _manager(log: TextIO) -> type:
    """A kernel manager whose kernels write to a log, not among our own lines."""
    from jupyter_client.manager import AsyncKernelManager

    class LoggedKernelManager(AsyncKernelManager):
        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            await super().start_kernel(stdout=log, stderr=log, **options)

    return LoggedKernelManager


def count_code_cells(path: Path) -> int:
    """How many code cells a notebook has once papermill has added one for the parameters."""
    cells = nbformat.read(path, as_version=4).cells
    return 1 + sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in cells)


def _prepended(name: str, value: str) -> str:
    return os.pathsep.join(filter(None, (value, os.environ.get(name))))


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Keep libraries' logs off the terminal: what matters in them is raised, and told by us.

    After Ctrl-C they stay quiet, since asyncio goes on to tell of every task that it had to drop.
    """
    logs = {log: log.disabled for log in map(logging.getLogger, names)}
    for log in logs:
        log.disabled = True
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        _restore(logs)
        raise
    else:
        _restore(logs)


def _restore(logs: Mapping[logging.Logger, bool]) -> None:
    for log, disabled in logs.items():
        log.disabled = disabled


def _unbraced(path: Path) -> str:
    """A path that papermill, which formats its paths, leaves as it is."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _line(text: object) -> str:
    return " ".join(str(text).split())


def _shown(path: Path) -> str:
    base = paths.output_root()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)
