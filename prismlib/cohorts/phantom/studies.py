"""Which patient and which of the patient's studies a row is, without knowing the cohort's size."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from prismlib.cohorts.phantom.noise import uniforms

BLOCK = 64
Rows = NDArray[np.int64]


def locate(seed: int, split: str, numbers: Rows, leave: tuple[float, ...]) -> tuple[Rows, Rows]:
    """The patient of each row and the place of the study among the patient's, counted from 0.

    Rows come in blocks of 64; inside a block patients take consecutive rows, and a patient is
    numbered by the first of them. `leave[k]` is the chance that a patient with k + 1 studies has
    no further one.
    """
    blocks, where = np.unique(numbers // BLOCK, return_inverse=True)
    if len(blocks) == 1:
        first = _first_rows(seed, split, int(blocks[0]), leave)[None]
    else:
        first = _starts(seed, split, blocks, leave)
    patients = first[where, numbers % BLOCK] + BLOCK * (numbers // BLOCK)
    return patients, numbers - patients


@lru_cache(maxsize=64)
def _first_rows(seed: int, split: str, block: int, leave: tuple[float, ...]) -> Rows:
    return _starts(seed, split, np.array([block]), leave)[0]


def _starts(seed: int, split: str, blocks: Rows, leave: tuple[float, ...]) -> Rows:
    """For each place of each block, (blocks, 64), the place where its patient begins."""
    names = [f"new patient at {place}" for place in range(BLOCK)]
    rolls = uniforms(seed, split, "block", blocks.astype(np.uint64), names)
    chance = np.asarray(leave)
    first = np.zeros((len(blocks), BLOCK), dtype=np.int64)
    for place in range(1, BLOCK):
        studies = place - first[:, place - 1]
        new = rolls[place] < chance[np.minimum(studies, len(chance)) - 1]
        first[:, place] = np.where(new, place, first[:, place - 1])
    return first
