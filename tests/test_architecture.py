"""Imports point one way, importing does nothing, and modules stay the size of one noun."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from prismlib import paths

PACKAGE = paths.root() / "prismlib"
GROUND = ("errors", "memory", "paths", "config", "processes", "progress")
STATIONS = ("cohorts", "captions", "models", "editing", "measures", "report", "runner", "commands")
TOP = ("cli", "__main__")
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 330

# What may stand at the top level of a module: definitions, and nothing that does something.
DEFINITIONS = (
    *(ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.Assign, ast.AnnAssign),
)


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def station(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def height(of: str) -> int:
    """0 for the ground floor, then the stations from left to right, then the command line."""
    if of in ("__init__", *GROUND):
        return 0
    return 1 + (*STATIONS, *TOP).index(of)


def imported(path: Path) -> list[tuple[int, str]]:
    """The lines and stations of every import of ours in a module, lazy ones included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: write imports in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for full in names:
            parts = full.split(".")
            if parts[0] == "prismlib" and len(parts) > 1:
                known = parts[1] in (*GROUND, *STATIONS, *TOP)
                found.append((node.lineno, parts[1] if known else "__init__"))
    return found


def test_every_module_has_a_station():
    assert {station(path) for path in MODULES} <= {"__init__", *GROUND, *STATIONS, *TOP}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_point_to_the_left(path):
    own = station(path)
    for line, other in imported(path):
        assert height(other) <= height(own), f"{name(path)}:{line}: {own} imports {other}"


def test_a_wrong_import_would_be_seen(tmp_path, monkeypatch):
    wrong = tmp_path / "prismlib" / "cohorts" / "x.py"
    wrong.parent.mkdir(parents=True)
    wrong.write_text("def f():\n    from prismlib.measures import effect\n")
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "prismlib")
    with pytest.raises(AssertionError, match=r"cohorts/x.py:2: cohorts imports measures"):
        test_imports_point_to_the_left(wrong)


def is_plain(node: ast.stmt) -> bool:
    if isinstance(node, DEFINITIONS):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)  # a docstring
    if isinstance(node, ast.If):  # typing alone, and `python -m`
        return ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
    return False


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_holds_definitions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{name(path)} lacks a docstring"
    for node in tree.body:
        assert is_plain(node), f"{name(path)}:{node.lineno}: runs at import"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_one_noun(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    assert path.stem not in ("utils", "util", "helpers", "misc", "common")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_bare_except_and_no_assert_on_input(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        bare = isinstance(node, ast.ExceptHandler) and node.type is None
        assert not bare, f"{name(path)}:{node.lineno}: bare except"
        assert not isinstance(node, ast.Assert), f"{name(path)}:{node.lineno}: assert"


@pytest.mark.parametrize("module", ["prismlib", "prismlib.cli", "prismlib.config"])
def test_what_every_command_imports_is_light(module):
    code = f"import sys, {module}; print({{'torch', 'pandas', 'numpy'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.root()
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_notebooks_are_not_imported():
    for path in MODULES:
        assert "import notebooks" not in path.read_text(encoding="utf-8")


def names(tree: ast.AST) -> set[str]:
    """Every name and attribute that a module reads or imports."""
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return found | {alias.name for node in imports for alias in node.names}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_test_split_is_opened_by_code_that_reports(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = station(path) in ("report", "runner")
    if name(path) not in ("cohorts/sealed.py", "cohorts/cohort.py") and not allowed:
        assert not names(tree) & {"open_test", "unsealed"}, f"{name(path)} opens the test split"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Cohort"):
            given = {ast.unparse(value) for value in node.args}
            seal = name(path) == "cohorts/sealed.py"
            assert seal or "'test'" not in given, (
                f"{name(path)}:{node.lineno}: opens the test split"
            )
