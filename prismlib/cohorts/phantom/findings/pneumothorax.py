"""Pneumothorax: a retracted lung behind its pleural line; supine, a lucent base and deep sulcus."""

import numpy as np
from numpy.typing import NDArray

from prismlib.cohorts.phantom.anatomy import Outline
from prismlib.cohorts.phantom.canvas import Canvas, Map
from prismlib.cohorts.phantom.findings.sign import (
    FREE_AIR,
    Sign,
    make_sign,
    nothing,
    ramp,
    side_name,
    sides_of,
)
from prismlib.cohorts.phantom.findings.thorax import Hemithorax, Thorax
from prismlib.cohorts.phantom.subject import Subject

PLEURA_MM, PLEURA_DEPTH = 1.1, 0.13  # width of the visceral line, its optical depth
LINE_SHOWS_MM = 1.5  # the line is drawn where the lung has left the wall by this much


def draw_pneumothorax(subject: Subject, thorax: Thorax, severity: float) -> Sign:
    """Free air: apical and lateral when upright, basal and anterior when supine.

    A median severity covers about 0.84% of the picture, severity 1 collapses the lung in part. The
    mediastinum stays where it is, so that the truth stays local.
    """
    share, added = nothing(), nothing()
    for side, amount in sides_of(subject, "Pneumothorax", severity):
        half = thorax.half(side)
        rng = subject.stream(f"Pneumothorax {side_name(side)}")
        draw = _basal if subject.supine else _apical
        air, extra = draw(half, amount, rng)
        share += air * half.room
        added += extra
    return make_sign(share, FREE_AIR, added, clears=share)


def _apical(half: Hemithorax, amount: float, rng: np.random.Generator) -> tuple[Map, Map]:
    waves = rng.normal(0, 0.06, 4)
    lung = _retracted(half, amount, waves)
    aerated = Canvas(half.a.frame).polygon(lung).map()
    moved = np.hypot(*(lung - half.outline).T)
    line = _pleural_line(half, lung, moved > LINE_SHOWS_MM)
    denser = 0.25 * ramp(amount, 0.72, 1.2) * aerated * half.lung
    return np.clip(1 - aerated, 0, 1), line * half.lung + denser


def _retracted(half: Hemithorax, amount: float, waves: NDArray[np.floating]) -> Outline:
    """The lung's outline drawn towards its hilum, most at the apex, not along the mediastinum."""
    outline, hilum = half.outline, np.array(half.hilum)
    order, y = np.arange(len(outline)), outline[:, 1]
    apex, recess = np.argmin(y), np.argmax(y)
    down = (y - half.apex_y) / half.height
    beside_mediastinum = np.sqrt(np.clip((hilum[1] - y) / (hilum[1] - half.apex_y), 0, 1))
    beside_wall = (0.12 + 0.88 * (1 - down) ** (2.4 - 1.6 * amount)) * ramp(down, 1.0, 0.75)
    ripple = waves @ np.sin(np.outer(np.arange(2, 6), 3 * down) + 7 * waves[:, None])
    beside_wall *= 1 + ripple * ramp(down, 0.05, 0.6)
    free = np.where(order < apex, beside_mediastinum, np.where(order < recess, beside_wall, 0.0))
    pull = np.clip((0.035 * amount + 0.58 * amount**4) * free, 0, 0.85)[:, None]
    return outline + pull * (hilum - outline)


def _pleural_line(half: Hemithorax, lung: Outline, seen: NDArray[np.bool_]) -> Map:
    canvas = Canvas(half.a.frame)
    for first, last in _runs(seen):
        canvas.curve(lung[first:last], PLEURA_MM)
    return PLEURA_DEPTH * canvas.map(0.35)


def _runs(seen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of the stretches of at least three points that are seen."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]]).astype(int)))
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= 3]


def _basal(half: Hemithorax, amount: float, rng: np.random.Generator) -> tuple[Map, Map]:
    """Air in front of the base, and a costophrenic sulcus that reaches deep and lucent."""
    y = half.a.frame.grid[1]
    tilt, depth = rng.uniform(0.1, 0.4), rng.uniform(0.8, 1.2)
    reach = (0.25 + 0.40 * amount) * half.height
    above = half.recess_y - y - tilt * half.to_wall
    air = (0.15 + 0.75 * amount) * amount * ramp(above, 1.05 * reach, 0.55 * reach)
    outer = half.side * (half.a.half_thorax - 2) + half.a.shift
    bottom = half.recess_y + 62 * depth * amount
    inner, middle = outer - half.side * 46, outer - half.side * 20
    top = half.recess_y - 26
    wedge = [
        (outer, top),
        (outer, bottom - 12),
        (outer - half.side * 5, bottom),
        (middle, top + 20),
        (inner, top),
    ]
    sulcus = Canvas(half.a.frame).polygon(wedge).map(2.0)
    return air.astype(np.float32), -0.8 * ramp(amount, 0.0, 1.0) * sulcus * (1 - half.lung)
