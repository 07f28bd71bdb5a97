"""Edges as paths: the way through a map of gains that collects the most."""

import numpy as np
from numpy.typing import NDArray


def best_path(gain: NDArray[np.floating], reach: int, bend: float = 0.04) -> NDArray[np.int64]:
    """The column in each row of `gain` (rows, columns) along the path of greatest sum.

    A path moves at most `reach` columns a row; each column it moves costs `bend`.
    """
    rows, columns = gain.shape
    total, came_from = gain[0].astype(float), np.zeros(gain.shape, np.int64)
    cost = bend * np.abs(np.arange(-reach, reach + 1))[:, None]
    padded = np.full(columns + 2 * reach, -np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, columns)
    places = np.arange(columns)
    for row in range(1, rows):
        padded[reach : reach + columns] = total
        options = windows - cost
        best = options.argmax(axis=0)
        came_from[row] = np.clip(places + best - reach, 0, columns - 1)
        total = options[best, places] + gain[row]
    path = np.empty(rows, np.int64)
    path[-1] = total.argmax()
    for row in range(rows - 1, 0, -1):
        path[row - 1] = came_from[row, path[row]]
    return path


def edge_strength(slope: NDArray[np.floating], knee: float = 2.0) -> NDArray[np.floating]:
    """Slopes as strengths in [0, 1): 0 if negative, 1/2 at `knee` times the usual positive one."""
    rising = np.clip(slope, 0, None)
    usual = float(np.median(rising[rising > 0])) if (rising > 0).any() else 0.0
    return rising / (rising + knee * usual + 1e-6)
