"""The order in which samples are seen: epoch after epoch, each in an order of its own."""

from functools import lru_cache

import numpy as np


def shuffled(n: int, seed: int, position: int, size: int) -> np.ndarray:
    """Indices (size,) of samples position, position+1, ...: epoch after epoch, each reshuffled."""
    positions = np.arange(position, position + size)
    return np.array([_permutation(n, seed, int(p) // n)[int(p) % n] for p in positions])


@lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n)
