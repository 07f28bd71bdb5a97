"""Where networks run."""

import ctypes
from functools import lru_cache

import torch

# mallopt's parameters (malloc.h) and the values that keep freed memory in the process.
_MALLOPT = ((-4, 0), (-1, 2**31 - 1), (-2, 64 << 20))  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD


def best_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for; if none, a GPU where there is one, else the CPU."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
    if chosen.type == "cpu":
        keep_freed_memory()
    return chosen


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let glibc keep what tensors free instead of giving it back; whether it could be told so.

    Each large tensor is otherwise mapped and unmapped anew, and touching fresh pages costs more
    than the arithmetic where pages are slow, as on virtual machines: a training step of the
    autoencoder ran 5 to 20 times slower there. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    accepted = [mallopt(parameter, value) for parameter, value in _MALLOPT]
    return accepted == [1, 1, 1]
