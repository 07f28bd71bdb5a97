"""Training images: every subject is rendered or read once, then lies in a memory-mapped file."""

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from numpy.lib.format import open_memmap

from prismlib import paths, processes
from prismlib.cohorts.cohort import Cohort
from prismlib.models.clip import resized

Bytes = npt.NDArray[np.uint8]

SIDE = 512
BLOCK = 16  # subjects that one process does before it says so
PROCESSES = 2
SHARES = 16  # for each process; it reports after each
_ALONE = 4 * BLOCK  # for fewer, starting processes takes longer than the work


@dataclass(frozen=True)
class TrainingImages:
    """Images as bytes (n, 512, 512), 255 for 1.0, beside their label table; `key` names them."""

    images: Bytes
    table: pd.DataFrame
    key: str
    folder: Path

    def __len__(self) -> int:
        return len(self.images)

    def at(self, size: int) -> Bytes:
        """The same images at (n, size, size), made once and kept beside."""
        if size == SIDE:
            return self.images
        path = self.folder / f"images_{size}.npy"
        with alone_in(self.folder):
            if not path.is_file():
                with paths.written_whole(path) as temporary:
                    self._reduce(temporary, size)
        return np.load(path, mmap_mode="r")

    def _reduce(self, path: Path, size: int) -> None:
        small = open_memmap(path, "w+", np.uint8, (len(self), size, size))
        for start in range(0, len(self), 64):
            part = as_floats(self.images[start : start + 64])
            small[start : start + 64] = as_bytes(resized(part, size)[:, 0].numpy())
        small.flush()


def as_floats(images: Bytes) -> torch.Tensor:
    """Bytes (B, H, W) as float (B, 1, H, W) in [0, 1]."""
    return torch.from_numpy(images.astype(np.float32)).unsqueeze(1) / 255


def as_bytes(images: npt.NDArray[np.float32]) -> Bytes:
    """Floats in [0, 1] rounded to bytes."""
    return (np.clip(images, 0, 1) * 255 + 0.5).astype(np.uint8)


def cache_folder() -> Path:
    """Where training images, latents and embeddings are kept."""
    return paths.output_root() / "runs" / "training" / "cache"


def prepare_images(
    cohort: Cohort,
    cache: Path | None = None,
    workers: int = PROCESSES,
    report: Callable[[str], None] = print,
) -> TrainingImages:
    """All images of a cohort, in a folder named by what is in them.

    The name comes from the table and from two images, so another cohort, or the same one drawn
    otherwise, goes into another folder. A killed preparation goes on where it stood; of two at the
    same time one waits for the other.
    """
    key = content_key(cohort)
    folder = (cache or cache_folder()) / key
    whole = folder / "images.npy"
    with alone_in(folder):
        if not whole.is_file():
            _prepare(cohort, folder, workers, report)
            (folder / "images.part.npy").rename(whole)
    return TrainingImages(np.load(whole, mmap_mode="r"), cohort.table, key, folder)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process fills this folder of the cache; the lock dies with its holder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def content_key(cohort: Cohort) -> str:
    """A short name for the content of a cohort: of its table, and of two of its images."""
    digest = hashlib.sha256(json.dumps([cohort.name, len(cohort)]).encode())
    digest.update(pd.util.hash_pandas_object(cohort.table.astype(str)).to_numpy().tobytes())
    for index in sorted({0, len(cohort) // 2}):
        digest.update(as_bytes(cohort.image(index)).tobytes())
    return f"{cohort.name}-{len(cohort)}-{digest.hexdigest()[:12]}"


@dataclass(frozen=True)
class _Share:
    """Blocks of a cohort's images that one process prepares."""

    cohort: Cohort
    folder: Path
    blocks: list[int]


def _prepare(cohort: Cohort, folder: Path, workers: int, report: Callable[[str], None]) -> None:
    blocks = -(-len(cohort) // BLOCK)
    _allocate(folder / "images.part.npy", np.uint8, (len(cohort), SIDE, SIDE))
    _allocate(folder / "done.npy", np.bool_, (blocks,))
    pending = np.flatnonzero(~np.load(folder / "done.npy"))
    left = min(len(cohort), len(pending) * BLOCK)
    report(f"{cohort.name}: {left} of {len(cohort)} images to prepare")
    workers = workers if left > _ALONE else 1
    parts = np.array_split(pending, min(len(pending), SHARES * workers)) if left else []
    shares = [_Share(cohort, folder, part.tolist()) for part in parts]
    started, done = time.monotonic(), 0
    for count in processes.results(_fill, shares, workers):
        done += count
        rate = done / (time.monotonic() - started)
        report(f"{done} of {left} images  {rate:.1f} images/s  {(left - done) / rate:.0f} s left")


def _allocate(path: Path, kind: type, shape: tuple[int, ...]) -> None:
    if path.is_file() and np.load(path, mmap_mode="r").shape == shape:
        return
    with paths.written_whole(path) as temporary:
        open_memmap(temporary, "w+", kind, shape).flush()


def _fill(share: _Share) -> int:
    """Render blocks, each on the disk before it is marked as done; how many images they hold."""
    cohort, folder = share.cohort, share.folder
    images = np.load(folder / "images.part.npy", mmap_mode="r+")
    done = np.load(folder / "done.npy", mmap_mode="r+")
    count = 0
    for block in share.blocks:
        rows = range(block * BLOCK, min(len(cohort), (block + 1) * BLOCK))
        for index in rows:
            images[index] = as_bytes(cohort.image(index))
        images.flush()
        done[block] = True
        done.flush()
        count += len(rows)
    return count
