"""Weights on disk: where they lie, whether they are whole, and how they are saved.

The weights that come with the package are listed, file by file, in `data_manifests/weights.yaml`.
They are checked against it before they are used, so that a torn checkout or an altered file is
named instead of giving odd pictures.
"""

import copy
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from prismlib import paths
from prismlib.errors import PrismError, UsageError

BUNDLED = "prism-mini"
PARTS = (
    "pipeline", "base_unet", "clip", "second_clip", "classifier", "biased_classifier",
    "guide_classifier", "reader", "verifier", "measurer", "leaky_classifier", "strict_classifier",
    "ganterfactual", "familiarity", "grounding",
)  # fmt: skip
MANIFEST = "weights.yaml"
SHARD_SIZE = "15MB"

_HEADER = """\
# The weights that come with the package: bytes and SHA-256 of every file, checked at each load.
# Written by `prism train PART --export prism-mini`; see the card in prismlib/checkpoints/.
"""


def bundled_folder() -> Path:
    """The folder of the weights that come with the package."""
    return paths.checkpoints() / BUNDLED


def model_folder(name_or_path: str | Path) -> Path:
    """The folder that holds the parts of a model: the bundled one by its name, or a path."""
    return bundled_folder() if str(name_or_path) == BUNDLED else Path(name_or_path)


def locate(name_or_path: str | Path, part: str) -> Path | None:
    """The folder of one part (one of `PARTS`) of a model.

    `name_or_path` is the bundled model's name or that with one of its parts, as
    `prism-mini/base_unet` (then files are verified), a folder with the part's name inside, or the
    part's own folder. None for `owner/name`, which can only be a
    repository on the hub. Raises UsageError if it is none of these.
    """
    if str(name_or_path) == BUNDLED:
        verify(part)
        return bundled_folder() / part
    owner, _, named = str(name_or_path).partition("/")
    if owner == BUNDLED and named in PARTS:
        verify(named)
        return bundled_folder() / named
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder / part if (folder / part).is_dir() else folder
    if str(name_or_path).count("/") == 1 and not str(name_or_path).startswith(("/", ".", "~")):
        return None
    raise UsageError(
        f"no model {str(name_or_path)!r}; expected {BUNDLED!r}, a folder that exists, or a "
        "repository on the hub as owner/name"
    )


def verify(part: str = "", folder: Path | None = None, manifest: Path | None = None) -> int:
    """Check the bundled files of one part, or all, against the manifest; return how many.

    Raises PrismError naming the first file that is missing, torn (wrong length) or altered.
    """
    folder = folder or bundled_folder()
    entries = {
        name: entry
        for name, entry in _listed(manifest or paths.manifests() / MANIFEST).items()
        if not part or name.startswith(f"{part}/")
    }
    if not entries:
        raise PrismError(
            f"{MANIFEST} lists no files for {part or BUNDLED!r} of {BUNDLED}; train them with "
            f"`prism train ... --export {BUNDLED}` or take a complete checkout"
        )
    for name, entry in entries.items():
        _verify_file(folder / name, entry)
    return len(entries)


def _verify_file(path: Path, entry: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise PrismError(f"{path} is missing; restore it with `git checkout -- {path.name}`")
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise PrismError(
            f"{path} is torn: {size} bytes, expected {entry['bytes']}; restore it from the "
            "repository"
        )
    found = paths.sha256(path)
    if found != entry["sha256"]:
        raise PrismError(
            f"{path} is altered: SHA-256 {found[:12]}..., expected {entry['sha256'][:12]}...; "
            "restore it from the repository"
        )


def _listed(manifest: Path) -> dict[str, dict[str, Any]]:
    if not manifest.is_file():
        raise PrismError(f"{manifest} is missing; bundled weights cannot be verified without it")
    content = yaml.safe_load(manifest.read_text(encoding="utf-8")) or {}
    return dict(content.get(BUNDLED, {}).get("files", {}))


def refresh_manifest(
    trained_on: str, folder: Path | None = None, manifest: Path | None = None
) -> Path:
    """Write the manifest anew from the files that lie in the bundled folder now.

    `trained_on` says whose radiographs the weights have seen (`records.trained_on`).
    """
    folder = folder or bundled_folder()
    manifest = manifest or paths.manifests() / MANIFEST
    files: dict[str, dict[str, Any]] = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": paths.sha256(path),
        }
        for path in weight_files(folder)
        if path.relative_to(folder).parts[0] in PARTS
    }
    content = {
        BUNDLED: {
            "licence": "MIT",
            "trained_on": trained_on,
            "total_bytes": sum(entry["bytes"] for entry in files.values()),
            "parts": _parts(folder),
            "files": files,
        }
    }
    text = _HEADER + yaml.safe_dump(content, sort_keys=False, width=100)
    with paths.written_whole(manifest) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return manifest


def _parts(folder: Path) -> dict[str, dict[str, int]]:
    """Parameters and bytes of every subfolder that holds weights."""
    from safetensors import safe_open

    parts: dict[str, dict[str, int]] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        part = parts.setdefault(
            path.parent.relative_to(folder).as_posix(), {"tensors": 0, "numbers": 0, "bytes": 0}
        )
        part["bytes"] += path.stat().st_size
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                part["tensors"] += 1
                part["numbers"] += file.get_tensor(name).numel()
    return parts


def weight_files(folder: Path) -> list[Path]:
    """Every visible file below `folder`, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and "__pycache__" not in path.parts
    )


def fingerprint(folder: Path) -> str:
    """One SHA-256 over the names and bytes of all files below `folder`."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()} {paths.sha256(path)}\n".encode())
    return digest.hexdigest()


@contextmanager
def written_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder`; put it in `folder`'s place if the block ends well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        old = temporary.with_name(f"{temporary.name}-old")
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def halved(model: torch.nn.Module) -> Any:
    """A copy of a network on the CPU for storing: parameters in float16, statistics as they are."""
    small = copy.deepcopy(model).cpu().eval()
    for parameter in small.parameters():
        parameter.data = parameter.data.half().contiguous()
    return small


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep transformers from drawing bars for files that take milliseconds."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def save_pretrained(model: Any, folder: Path, keep: bool = False) -> None:
    """Save a diffusers or transformers network as float16 safetensors of at most 15 MB each.

    The configuration goes on to say float32: transformers would otherwise compute in the type
    that the numbers are stored in, which a CPU does badly and the other parts do not share.
    With `keep`, other files that lie in the folder already stay.
    """
    with written_folder(folder) as temporary, no_bars():
        if keep and folder.is_dir():
            shutil.copytree(folder, temporary, dirs_exist_ok=True)
        halved(model).save_pretrained(temporary, max_shard_size=SHARD_SIZE)
        config = temporary / "config.json"
        settings = json.loads(config.read_text(encoding="utf-8"))
        for section in (settings, *(v for v in settings.values() if isinstance(v, dict))):
            if "dtype" in section:
                section["dtype"] = "float32"
        settings.pop("_name_or_path", None)
        config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        for path in weight_files(temporary):
            path.chmod(0o644)
