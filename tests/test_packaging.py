"""The packages named in pyproject.toml, the lock and environment.yml are the same ones."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from prismlib import __version__, paths

LOCKED = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^\s;\\]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((paths.root() / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def requirements(project):
    listed = project["dependencies"] + project["optional-dependencies"]["test"]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in listed}


@pytest.fixture(scope="module")
def lock():
    return (paths.root() / "requirements.lock").read_text()


@pytest.fixture(scope="module")
def conda():
    return yaml.safe_load((paths.root() / "environment.yml").read_text())


def test_conda_users_get_the_same_direct_dependencies(conda, requirements, project):
    assert conda["channels"] == ["conda-forge"]
    (piped,) = (entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    listed = {canonicalize_name(Requirement(line).name): Requirement(line) for line in piped}
    assert {n: r.specifier for n, r in listed.items()} == {
        n: r.specifier for n, r in requirements.items()
    }
    assert f"python{project['requires-python']}" in conda["dependencies"]


def test_the_lock_pins_every_direct_dependency_within_its_range(lock, requirements):
    pinned: dict[str, set[str]] = {}
    for found in LOCKED.finditer(lock):
        pinned.setdefault(canonicalize_name(found["name"]), set()).add(found["version"])
    assert set(requirements) <= set(pinned), set(requirements) - set(pinned)
    for name, requirement in requirements.items():
        assert all(requirement.specifier.contains(v) for v in pinned[name]), name


def test_every_locked_package_has_hashes_and_nothing_has_an_address(lock):
    entries = [entry for entry in re.split(r"\n(?=\w)", lock) if LOCKED.match(entry)]
    assert len(entries) > 100
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock and " @ " not in lock
    assert not re.search(r"^-", lock, re.MULTILINE)


def test_torch_and_torchvision_are_the_ordinary_builds(lock):
    pins = [found.groups() for found in LOCKED.finditer(lock)]
    assert not [pin for pin in pins if "+" in pin[1]]
    assert [name for name, _ in pins if name.startswith("torch")].count("torch") == 1
    assert [name for name, _ in pins].count("torchvision") == 1


def test_the_version_and_the_citation_agree(project):
    citation = yaml.safe_load((paths.root() / "CITATION.cff").read_text())
    assert citation["version"] == project["version"] == __version__
    assert citation["license"] == project["license"] == "MIT"
    assert citation["references"][0]["title"].startswith("PRISM:")


def test_make_does_what_the_contract_says():
    makefile = (paths.root() / "Makefile").read_text()
    for target in ("reproduce", "test", "lab", "lock", "lint"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "PROFILE ?= quick" in makefile and "--require-hashes" in makefile
    runner = paths.root() / ".ci" / "run"
    assert runner.stat().st_mode & 0o111 and "set -euo pipefail" in runner.read_text()
