"""The heart's width against the thorax's."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from prismlib.measures.signs.paths import best_path, edge_strength
from prismlib.measures.signs.thorax import DOME, Image, Thorax, find_thorax, relief

FINGER = 0.03  # of the thorax's width: how far the left dome lies below the right one
ABOVE = 0.08  # of the width: how far the right dome lies above the left lung's outer floor
FURTHEST_RIGHT, LEFT_OVER_RIGHT = 0.62, 1.05  # of half a thorax; of the reach to the right
HIDDEN_RIGHT, HIDDEN_LEFT = 0.20, 0.10  # of the width: higher fluid hides a border of the heart


def cardiothoracic_ratio(image: Image) -> float:
    """The heart's greatest width over the inner thorax's; above 0.5 the heart counts as enlarged.

    Each border of the heart is the path down the picture along which brightness falls most on the
    way outwards, down to the row of the right dome: the left dome lies a finger lower, and the
    heart is widest above it. NaN where fluid hides a border, or if the two do not look like a
    heart's, which reaches further to the left.
    """
    thorax = find_thorax(image)
    return float("nan") if thorax is None else heart_ratio(image, thorax)


def heart_ratio(image: Image, thorax: Thorax) -> float:
    """The cardiothoracic ratio in a thorax that was found."""
    row = _lowest_row(thorax)
    slope = ndimage.gaussian_filter1d(relief(image), 1.2, axis=1, order=1)
    right = _reach(slope, thorax, -1, row)
    left = _reach(slope, thorax, 1, row + FINGER * thorax.width)
    half = thorax.width / 2
    if not right <= FURTHEST_RIGHT * half or not left >= LEFT_OVER_RIGHT * right:
        return float("nan")
    return (right + left) / thorax.width


def _lowest_row(thorax: Thorax) -> float:
    """The row of the right dome; of the left less a finger, where the right one is hidden."""
    right = thorax.floor(-1, *DOME)
    left = thorax.floor(1, 0.75, 0.85) - ABOVE * thorax.width
    fluid = [b - level for b, level in zip(thorax.bases, thorax.levels, strict=True)]
    if fluid[0] > HIDDEN_RIGHT * thorax.width or fluid[1] > HIDDEN_LEFT * thorax.width:
        return float("nan")
    return max(right, left)


def _reach(slope: NDArray[np.floating], thorax: Thorax, side: int, row: float) -> float:
    """How far the heart reaches from the midline above a row, in pixels; NaN if nowhere."""
    half, middle = thorax.width / 4, thorax.midline / 2
    if not np.isfinite(row):
        return float("nan")
    first, last = int(max(0, row / 2 - 0.5 * half * 2)), int(row / 2)
    away = np.arange(0.06 * half, (0.6 if side < 0 else 0.96) * half)
    columns = np.clip(np.rint(middle + side * away).astype(int), 0, slope.shape[1] - 1)
    if last - first < 20:
        return float("nan")
    falling = edge_strength(-side * slope[first:last][:, columns], 5)
    path = best_path(falling, reach=1, bend=0.03)
    return float(2 * away[path].max())
