"""`prism doctor`: what is installed, found and verified, and what each profile still lacks."""

import argparse
import importlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prismlib import __version__, config, paths
from prismlib.errors import PrismError
from prismlib.report import provenance

CHEXPERT_ROOT = "PRISM_CHEXPERT_ROOT"


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `wrong` where it has to be mended before anything runs."""

    what: str
    state: str
    wrong: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command takes none."""


def run(args: argparse.Namespace) -> int:
    """Print every finding; 0 if the embedded cohort can be run, else 1."""
    failed = False
    for title, look in SECTIONS:
        print(title)
        for finding in look():
            print(f"  {'!' if finding.wrong else ' '} {finding.what:24} {finding.state}")
            failed |= finding.wrong
    return int(failed)


def installed() -> Iterator[Finding]:
    """Python, this package and the core packages."""
    yield Finding("python", platform.python_version())
    yield Finding("prismlib", f"{__version__}, commit {provenance.commit() or 'unknown'}")
    for package, version in provenance.versions().items():
        yield Finding(package, version or "not installed; run make", version is None)
    # The two are built for each other; a mixed pair installs well and breaks at import.
    for package in ("torch", "torchvision"):
        problem = _problem(partial(importlib.import_module, package))
        if problem:
            yield Finding(f"import {package}", f"{problem}; make the environment anew", True)


def device() -> Iterator[Finding]:
    """What torch computes on."""
    yield Finding("device", provenance.device())
    yield Finding("writes to", str(paths.output_root()))


def weights() -> Iterator[Finding]:
    """The bundled weights, each file against its SHA-256."""
    yield from _checked("prism-mini", lambda: f"{_verify_weights()} files verified")


def data() -> Iterator[Finding]:
    """The label table that comes with torchxrayvision, and a user's own CheXpert."""
    yield from _checked("CheXpert label table", _verify_labels)
    root = os.environ.get(CHEXPERT_ROOT)
    if not root:
        yield Finding(
            "CheXpert radiographs", f"{CHEXPERT_ROOT} is not set (only chexpert needs it)"
        )
        return
    problem = _problem(lambda: _chexpert_folder(root))
    yield Finding("CheXpert radiographs", problem or f"found in {root}")


def profiles() -> Iterator[Finding]:
    """What each profile lacks."""
    for name in config.profile_names():
        try:
            lacking = list(lacks(config.load_profile(name)))
        except PrismError as error:
            lacking = [str(error)]
        yield Finding(name, "lacks " + "; ".join(lacking) if lacking else "ready")


SECTIONS: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
    ("Installed", installed),
    ("Machine", device),
    ("Weights", weights),
    ("Data", data),
    ("Profiles", profiles),
)


def lacks(profile: config.Profile) -> Iterator[str]:
    """What a profile needs and this machine does not have, as clauses; nothing if it is ready."""
    models = {profile.model, profile.clip, profile.judge}
    if "prism-mini" in models and _problem(_verify_weights):
        yield "whole weights of prism-mini"
    for model in sorted(models - {"prism-mini"}):
        yield from _lacking_model(model)
    if profile.cohort == "chexpert":
        root = os.environ.get(CHEXPERT_ROOT)
        if not root:
            yield f"{CHEXPERT_ROOT}, the folder with CheXpert's train.csv"
        elif _problem(lambda: _chexpert_folder(root)):
            yield f"a train.csv in {root}"
        if not provenance.device().startswith("cuda"):
            yield "a GPU (it runs without one, for weeks)"


def _lacking_model(name: str) -> Iterator[str]:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(name).is_dir():
        return
    try:
        files = ("model_index.json", "config.json")
        if not any(isinstance(try_to_load_from_cache(name, file), str) for file in files):
            yield f"a local copy of {name} (downloaded at first use)"
    except HFValidationError:
        yield f"{name} (a folder that `prism train` makes)"


def _verify_weights() -> int:
    from prismlib.models.weights import verify

    return verify()


def _verify_labels() -> str:
    import yaml

    from prismlib.cohorts.chexpert import bundled_path

    manifest = yaml.safe_load((paths.manifests() / "chexpert_labels.yaml").read_text("utf-8"))
    found, path = paths.sha256(bundled_path()), bundled_path()
    if found != manifest["sha256"]:
        raise PrismError(f"{path} is another file than the one described (SHA-256 {found[:12]}...)")
    return f"{manifest['rows']:,} rows, verified"


def _chexpert_folder(root: str) -> Path:
    from prismlib.cohorts.chexpert import find_folder

    return find_folder(root)


def _checked(what: str, check: Callable[[], str]) -> Iterator[Finding]:
    try:
        yield Finding(what, check())
    except (PrismError, ImportError, OSError) as error:
        yield Finding(what, " ".join(str(error).split()), True)


def _problem(check: Callable[[], object]) -> str | None:
    try:
        check()
    except Exception as error:  # whatever a broken installation raises is what is to be told
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None
