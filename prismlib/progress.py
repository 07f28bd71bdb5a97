"""One way to show that work goes on."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], description: str, total: int | None = None) -> "tqdm[T]":
    """Iterate with a bar on a terminal; silent where nobody watches (logs, notebooks in CI)."""
    return tqdm(items, desc=description, total=total, disable=not sys.stderr.isatty(), leave=False)
