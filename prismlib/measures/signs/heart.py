"""The heart's width against the thorax's."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from prismlib.measures.signs.paths import best_path, edge_strength
from prismlib.measures.signs.thorax import DOME, Image, Thorax, find_thorax, relief

# the usual border of the heart, upwards from its lowest row, all in widths of the thorax: how far
# above, and how far inside the reach at the lowest row on the patient's right and left
ABOVE = (0.0, 0.05, 0.10, 0.16, 0.21, 0.30, 0.38)
INSIDE = {-1: (0.01, 0.0, 0.0, 0.0, 0.01, 0.05, 0.06), 1: (0.0, 0.01, 0.03, 0.07, 0.11, 0.17, 0.21)}
FROM_RECESS, FROM_OUTER_FLOOR, FROM_DOME = -0.135, -0.05, 0.03  # where the left border ends
FINGER, TALL = 0.03, 0.36  # how much higher the right border ends; the part that is followed
FURTHEST_RIGHT, LEFT_OVER_RIGHT = 0.62, 1.05  # of half a thorax; of the reach to the right
LOWER, USUAL = 0.25, 0.48  # an enlarged heart reaches lower: by this share of what exceeds it
HIDING, MIDDLE = 0.3, (0.45, 0.75)  # widths of fluid that hide a border; half widths it is read at
SEEN = 0.02  # the share of the left border's rows that must lie above such fluid


def cardiothoracic_ratio(image: Image) -> float:
    """The heart's greatest width over the inner thorax's; above 0.5 the heart counts as enlarged.

    Each border of the heart is the path down the picture along which brightness falls most on the
    way outwards, of the usual shape where little is seen of it; it ends above the dome. NaN where
    fluid hides a border, or if the two do not look like a heart's, which reaches further to the
    left.
    """
    thorax = find_thorax(image)
    return float("nan") if thorax is None else heart_ratio(image, thorax)


def heart_ratio(image: Image, thorax: Thorax) -> float:
    """The cardiothoracic ratio in a thorax that was found."""
    slope = ndimage.gaussian_filter1d(relief(image), 1.2, axis=1, order=1)
    row, half = _lowest_row(thorax), thorax.width / 2
    right, _ = _reach(slope, thorax, -1, row - FINGER * thorax.width)
    left, _ = _reach(slope, thorax, 1, row)
    lower = np.clip(LOWER * ((right + left) / thorax.width - USUAL), -0.02, 0.03)
    left, seen = _reach(slope, thorax, 1, row + lower * thorax.width)
    if seen < SEEN:
        return float("nan")
    if not right <= FURTHEST_RIGHT * half or not left >= LEFT_OVER_RIGHT * right:
        return float("nan")
    return (right + left) / thorax.width


def _lowest_row(thorax: Thorax) -> float:
    """Where the left border ends: by the recess, and by the floors that fluid does not lift."""
    rows = [thorax.bases[1] + FROM_RECESS * thorax.width]
    if thorax.sharp[1]:
        rows.append(thorax.floor(1, 0.75, 0.85) + FROM_OUTER_FLOOR * thorax.width)
    if thorax.sharp[0]:
        rows.append(thorax.floor(-1, *DOME) + FROM_DOME * thorax.width)
    return float(np.nanmean(rows))


def _reach(
    slope: NDArray[np.floating], thorax: Thorax, side: int, row: float
) -> tuple[float, float]:
    """How far the heart reaches from the midline (pixels), and the share of rows it is seen in."""
    width, last = thorax.width / 2, int(min(row / 2, len(slope)))
    rows = np.arange(max(0, last - round(TALL * width)), last)
    if len(rows) < 20:
        return float("nan"), 0.0
    inside = width * np.interp((last - rows) / width, ABOVE, INSIDE[side])
    ends = np.arange(0.03 * width, (0.32 if side < 0 else 0.48) * width)
    away = np.maximum(ends - inside[:, None], 0.02 * width)
    columns = np.rint(thorax.midline / 2 + side * away).astype(int)
    falling = -side * slope[rows[:, None], np.clip(columns, 0, slope.shape[1] - 1)]
    high = thorax.bases[1] - thorax.levels[1] > HIDING * thorax.width and side > 0
    under = 2 * rows > (thorax.floor(side, *MIDDLE) if high else np.inf)
    strength = edge_strength(falling, 5) * ~under[:, None]
    path = best_path(strength, reach=1, bend=0.05)
    steps = np.arange(len(rows))
    return float(2 * away[steps, path].max()), float((~under).mean())
