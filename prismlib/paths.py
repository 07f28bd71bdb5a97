"""Where things lie, and how a file is written so that nobody ever sees half of it."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def root() -> Path:
    """The checkout: the folder that holds `prismlib/`, `notebooks/` and `data_manifests/`."""
    return Path(__file__).resolve().parent.parent


def output_root() -> Path:
    """Where `figures/` and `runs/` are written: the checkout, or `PRISM_OUTPUT` if that is set."""
    return Path(os.environ.get("PRISM_OUTPUT") or root()).resolve()


def figures(profile: str) -> Path:
    """The folder of a profile's tables, figures, claims and report."""
    return output_root() / "figures" / profile


def runs(profile: str) -> Path:
    """The folder of a profile's executed notebooks, caches and `run.json`."""
    return output_root() / "runs" / profile


def notebooks() -> Path:
    """The folder of the numbered notebooks."""
    return root() / "notebooks"


def manifests() -> Path:
    """The folder of the data manifests, profiles and expected claims."""
    return root() / "data_manifests"


def checkpoints() -> Path:
    """The folder of the weights that ship inside the package."""
    return Path(__file__).resolve().parent / "checkpoints"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` if the block ends well.

    If the block raises, the temporary file is removed and what stood at `path` stays.
    The temporary name keeps the suffix, so that savers which choose a format by it work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
