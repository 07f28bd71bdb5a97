"""What made a result: commit, source, device and versions."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from prismlib import paths

PACKAGES = (
    "accelerate",
    "diffusers",
    "ipykernel",
    "jupyterlab",
    "nbclient",
    "nbval",
    "numpy",
    "pandas",
    "papermill",
    "scikit-image",
    "scikit-learn",
    "seaborn",
    "timm",
    "torch",
    "torchvision",
    "torchxrayvision",
    "transformers",
)

# What can change no result of a notebook: everything above the stations, and what only shows.
UNREAD_BY_NOTEBOOKS = (
    "__main__.py",
    "cli.py",
    "commands/",
    "runner/",
    "report/claims.py",
    "report/site.py",
)


@cache
def commit() -> str | None:
    """The checkout's commit, with `+` if tracked files differ; None where git cannot say."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(paths.root()), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    head = git("rev-parse", "HEAD")
    if not head or git("rev-parse", "--show-toplevel") != str(paths.root()):
        return None
    return head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def device() -> str:
    """The accelerator that torch uses here, or the number of CPU cores.

    Does not import torch: a notebook that never needed it ran on the CPU.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}"
    return f"cpu: {platform.machine()}, {cores()} cores"


def cores() -> int:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """The installed versions of the core packages; None for one that is not installed."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def source_hash(package: Path | None = None) -> str:
    """One SHA-256 over every source file of `prismlib` that a notebook's result can depend on."""
    package = package or Path(__file__).resolve().parent.parent
    files = {
        path.relative_to(package).as_posix(): path
        for suffix in ("*.py", "*.mplstyle")
        for path in package.rglob(suffix)
    }
    digest = hashlib.sha256()
    for name in sorted(files):
        if not name.startswith(UNREAD_BY_NOTEBOOKS):
            digest.update(f"{name} {paths.sha256(files[name])}\n".encode())
    return digest.hexdigest()


def weights_hash() -> str | None:
    """The SHA-256 of the list of bundled weights, which holds that of each file; None without."""
    manifest = paths.manifests() / "weights.yaml"
    return paths.sha256(manifest) if manifest.is_file() else None


def folder_hash(folder: Path) -> str:
    """One SHA-256 over the names and contents of every file below a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {paths.sha256(path)}\n".encode())
    return digest.hexdigest()
