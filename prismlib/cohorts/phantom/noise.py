"""Exogenous noise: one number for each unit and named mechanism, whoever asks and in any order.

A unit (a study or a patient) and a mechanism's name are hashed with the finaliser of SplitMix64
(Steele, Lea and Flood 2014); no generator is built, so a cohort's labels are drawn in one go.
Pictures draw many numbers for each mechanism, from `Subject.stream`.
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Words = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seed: int, split: str, level: str, units: Words, names: Sequence[str]) -> Array:
    """Uniform numbers in (0, 1), shape (names, units); `level` keeps patients and studies apart."""
    key = _mix(np.array([seed & (2**64 - 1), zlib.crc32(split.encode())], dtype=np.uint64))
    base = _mix(units * _STEP + (key[0] ^ _mix(key[1:] + _word(level))))
    words = _mix(base[None, :] ^ _words(tuple(names))[:, None])
    return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


@lru_cache
def _words(names: tuple[str, ...]) -> Words:
    return _mix(np.array([_word(name) for name in names]) * _STEP)


def _word(name: str) -> np.uint64:
    return np.uint64(zlib.crc32(name.encode()))


def _mix(words: Words) -> Words:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
