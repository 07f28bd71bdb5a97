"""Where things lie in simulated training radiographs: coarse maps, drawn once and kept beside.

A transformer without pretraining finds a thin wire among hundreds of patches only after very many
images, if all that it is told is that there is one. The simulator knows where; a real data set does
not, and trains without.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from prismlib import paths, processes
from prismlib.cohorts.cohort import Cohort
from prismlib.models.data import BLOCK, PROCESSES, TrainingImages, alone_in

Maps = npt.NDArray[np.uint8]

CELLS = 64  # a side; 8 pixels of 512 each
NO_LETTERS = -1
LEGIBLE = 0.1  # of full scale
FILE, UNDONE = "places-2.npy", "places-2.part.npy"  # 1 had whole hearts for large ones
ALONE = 4  # blocks; for fewer, starting processes takes longer than the work


@dataclass(frozen=True)
class Places:
    """For each image and each of `names`, in which cells it lies: bits (n, 64, 64, k // 8 + 1)."""

    names: tuple[str, ...]
    maps: Maps

    def of(
        self, rows: Sequence[int] | np.ndarray, grid: int, shifts: np.ndarray | None = None
    ) -> Tensor:
        """Maps of some images, float (B, k, grid, grid): 1 where any part of it lies.

        `shifts` (B, 2) are the cells by which an image was moved down and to the right.
        """
        shifts = np.zeros((len(rows), 2), dtype=int) if shifts is None else shifts
        moved = [_moved(self.maps[row], *by) for row, by in zip(rows, shifts, strict=True)]
        bits = np.unpackbits(np.stack(moved), axis=-1)
        cells = torch.from_numpy(bits[..., : len(self.names)]).permute(0, 3, 1, 2).float()
        return adaptive_max_pool2d(cells, grid)


@dataclass(frozen=True)
class _Share:
    cohort: Any
    path: Path
    names: tuple[str, ...]
    rows: np.ndarray


def find_places(
    cohort: Cohort,
    data: TrainingImages,
    workers: int = PROCESSES,
    report: Callable[[str], None] = print,
) -> Places | None:
    """The maps of a simulated cohort's findings and device kinds; None where nobody knows them."""
    names = _names(data)
    if not cohort.simulated or not names:
        return None
    path = data.folder / FILE
    with alone_in(data.folder):
        if not path.is_file():
            _draw(cohort, data.folder, names, workers, report)
            (data.folder / UNDONE).rename(path)
    return Places(names, np.load(path, mmap_mode="r"))


def find_letters(cohort: Cohort) -> npt.NDArray[np.int64] | None:
    """First and last row and column of each simulated image's letters, (n, 2, 2); -1 for none.

    Axis 1 is rows, columns; axis 2 is first, last. None where nobody knows them.
    """
    if not cohort.simulated:
        return None
    drawn: Any = cohort
    found = np.full((len(cohort), 2, 2), NO_LETTERS)
    for row in range(len(cohort)):
        where = np.argwhere(drawn.lettering(row) > LEGIBLE)
        if len(where):
            found[row] = np.stack([where.min(axis=0), where.max(axis=0)], axis=1)
    return found


def _moved(maps: Maps, down: int, right: int) -> Maps:
    """Maps (64, 64, bytes) moved by whole cells; nothing comes in over the border."""
    reach = max(abs(down), abs(right))
    wide = np.pad(maps, ((reach, reach), (reach, reach), (0, 0)))
    return wide[reach - down : reach - down + CELLS, reach - right : reach - right + CELLS]


def _names(data: TrainingImages) -> tuple[str, ...]:
    """What a table tells of, without the prefixes of its columns."""
    columns = [str(name) for name in data.table.filter(regex="^(device|severity):")]
    return tuple(name.split(":", 1)[1] for name in columns)


def _draw(
    cohort: Cohort,
    folder: Path,
    names: tuple[str, ...],
    workers: int,
    report: Callable[[str], None],
) -> None:
    """Draw what is not drawn yet: a map whose last bit is not set, as none of a thing's is."""
    path, shape = folder / UNDONE, (len(cohort), CELLS, CELLS, len(names) // 8 + 1)
    if not path.is_file():
        with paths.written_whole(path) as temporary:
            open_memmap(temporary, "w+", np.uint8, shape).flush()
    left = np.flatnonzero(np.load(path, mmap_mode="r")[:, -1, -1, -1] & 1 == 0)
    shares = [_Share(cohort, path, names, left[s : s + BLOCK]) for s in range(0, len(left), BLOCK)]
    done = len(cohort) - len(left)
    for count in processes.results(_fill, shares, workers if len(shares) > ALONE else 1):
        done += count
        if done == len(cohort) or done // BLOCK % ALONE == 0:
            report(f"{cohort.name}: where things lie in {done} of {len(cohort)} images")


def _fill(share: _Share) -> int:
    maps = np.load(share.path, mmap_mode="r+")
    for row in share.rows:
        maps[row] = coarse(share.cohort.masks(int(row)), share.names)
        maps.flush()
        maps[row, -1, -1, -1] |= 1
    maps.flush()
    return len(share.rows)


def coarse(masks: dict[str, np.ndarray], names: Sequence[str]) -> Maps:
    """Masks, bool (512, 512), of the things named, as bits (64, 64, k // 8 + 1); the last is 0."""
    stack = np.stack([masks[name] for name in names], axis=-1)
    side = stack.shape[0] // CELLS
    cells = stack.reshape(CELLS, side, CELLS, side, -1).any(axis=(1, 3))
    spare = 8 - len(names) % 8
    return np.packbits(np.pad(cells, ((0, 0), (0, 0), (0, spare))), axis=-1)
