"""How the C library treats freed memory."""

import ctypes
from functools import lru_cache

# mallopt's parameters (malloc.h) and the values that keep freed memory in the process.
_MALLOPT = ((-4, 0), (-1, 2**31 - 1), (-2, 64 << 20))  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let glibc keep what arrays free instead of giving it back; whether it could be told so.

    Each large array is otherwise mapped and unmapped anew, and touching fresh pages costs more
    than the arithmetic where pages are slow, as on virtual machines: a training step of the
    autoencoder ran 5 to 20 times slower there. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    accepted = [mallopt(parameter, value) for parameter, value in _MALLOPT]
    return accepted == [1, 1, 1]
