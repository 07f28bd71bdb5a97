"""Rib fractures: a cortical step with a gap, and callus where the fracture is old."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from prismlib.cohorts.phantom.canvas import Canvas, Map, Points
from prismlib.cohorts.phantom.findings.sign import (
    SOFT_TISSUE,
    Sign,
    make_sign,
    nothing,
    ramp,
    side_name,
    window,
)
from prismlib.cohorts.phantom.findings.thorax import LEFT, RIGHT, Thorax
from prismlib.cohorts.phantom.skeleton import Rib, rib_paths
from prismlib.cohorts.phantom.subject import Subject

CORTEX_DEPTH, MARROW = 0.195, 0.58  # optical depth of a rib's edge; the middle's part of it
CALLUS_DEPTH, SWELLING_DEPTH = 0.20, 0.07
FRAGMENT_MM = 38.0  # how far from the break the fragment has returned to the rib's course

_SIDES = (RIGHT, LEFT)


def draw_fracture(subject: Subject, thorax: Thorax, severity: float) -> Sign:
    """One rib broken, from severity 0.3 its neighbours too; steps of 1 to 5 mm.

    Ribs, place and age of the break are the patient's. The bone that the fragment left is taken
    away, the bone where it went is added; fresh breaks gape or overlap and swell, old ones have
    callus.
    """
    rng = subject.patient_stream("Fracture")
    first, where = int(rng.integers(4, 9)), rng.uniform(0.58, 0.90)
    old, down, overlaps = rng.random(3) < (0.45, 0.6, 0.35)
    places, ribs = rng.normal(0, 0.03, 3), _posterior_ribs(subject, thorax)
    taken, added, around = Canvas(thorax.anatomy.frame), Canvas(thorax.anatomy.frame), nothing()
    for (side, number), place in zip(product(_SIDES, range(3)), np.tile(places, 2), strict=True):
        part = severity * ramp(severity, 0.3 * number - 0.3, 0.3 * number + 0.3)
        rib = ribs.get((first + number, side))
        if rib is None or part == 0 or subject.side["Fracture"] not in (side_name(side), "both"):
            continue
        course = _Break.of(rib, float(np.clip(where + place, 0.3, 0.94)))
        gap = (0.6 + 3.2 * part) * (0.25 if old else 1.0) * (-1 if overlaps else 1)
        step = (0.7 + 4.3 * ramp(part, 0, 0.75)) * (1 if down else -1)
        course.draw(taken, added, step, gap)
        depth, size = (CALLUS_DEPTH, 1.0) if old else (SWELLING_DEPTH, 1.6)
        _add_around(around, thorax, course, depth * part**0.5, size)
    bone = np.float32(CORTEX_DEPTH) * (added.map() - taken.map())
    return make_sign(nothing(), SOFT_TISSUE, bone + around)


def _posterior_ribs(subject: Subject, thorax: Thorax) -> dict[tuple[int, int], Rib]:
    """The posterior arcs by number and side."""
    ribs = rib_paths(subject, thorax.anatomy)
    return {(rib.number, rib.side): rib for rib in ribs if rib.arc == "posterior"}


@dataclass(frozen=True)
class _Break:
    """A rib's course (n, 2), how far each point lies beyond the break, its width; in mm."""

    path: NDArray[np.floating]
    beyond: NDArray[np.floating]
    width: float

    @classmethod
    def of(cls, rib: Rib, at: float) -> "_Break":
        """A rib broken a share `at` of the way along."""
        path, along = _even(rib.path)
        return cls(path, along - at * along[-1], rib.width_mm)

    @property
    def place(self) -> tuple[float, float]:
        """The break itself, mm."""
        x, y = self.path[np.argmin(np.abs(self.beyond))]
        return float(x), float(y)

    def draw(self, taken: Canvas, added: Canvas, step: float, gap: float) -> None:
        """Shift the far fragment across by `step` mm and along by `gap`; negative overlaps."""
        shift = step * np.exp(-((np.maximum(self.beyond, 0) / FRAGMENT_MM) ** 2))
        moved = self.path + shift[:, None] * _across(self.path)
        near = self.beyond < 2.4 * FRAGMENT_MM
        _bone(taken, self.path[near & (self.beyond > 0)], self.width)
        _bone(added, moved[near & (self.beyond > gap)], self.width)


def _even(path: Points) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """A course resampled at half millimetres, and the length along it."""
    path = np.asarray(path, dtype=float)
    steps = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    along = np.arange(0, steps[-1], 0.5)
    return np.stack([np.interp(along, steps, path[:, axis]) for axis in (0, 1)], axis=1), along


def _across(path: NDArray[np.floating]) -> NDArray[np.floating]:
    """Unit normals of a course, pointing down the picture."""
    tangent = np.gradient(path, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    normal *= np.where(normal[:, 1:] < 0, -1, 1)
    return normal / np.maximum(np.hypot(*normal.T)[:, None], 1e-6)


def _bone(canvas: Canvas, path: NDArray[np.floating], width: float) -> None:
    """A stretch of rib: dense at its edges."""
    if len(path) < 2:
        return
    across = _across(path)
    for thickness, value in (
        (width, 0.62),
        (width - 0.9, 1.0),
        (width - 3.1, 0.75),
        (width - 4.4, MARROW),
    ):
        edges = 0.5 * thickness * across
        canvas.polygon(np.vstack([path - edges, (path + edges)[::-1]]), value)


def _add_around(onto: Map, thorax: Thorax, course: _Break, depth: float, size: float) -> None:
    """New bone or swollen tissue around the break, `size` times as wide as the rib."""
    frame, (x0, y0) = thorax.anatomy.frame, course.place
    width = size * course.width
    where = window(frame, course.place, 1.2 * width)
    x, y = (axis[where] for axis in np.broadcast_arrays(*frame.grid))
    r = np.hypot((x - np.float32(x0)) / (1.1 * width), (y - np.float32(y0)) / (0.8 * width))
    onto[where] += np.float32(depth) * (1 - ramp(r, 0.2, 1))
