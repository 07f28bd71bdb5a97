"""Where signs are placed: the two lungs with the coordinates a radiologist would name."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from prismlib.cohorts.phantom.anatomy import Anatomy, Outline, lung_outline
from prismlib.cohorts.phantom.canvas import Map, enlarge, shrink

RIGHT, LEFT = -1, 1
COARSE = 2  # soft signs are computed at half the detector's resolution


@dataclass(frozen=True)
class Hemithorax:
    """One lung: `side` -1 is the patient's right, +1 the left; `lung` its coverage (512, 512)."""

    a: Anatomy
    side: int
    lung: Map
    outline: Outline

    @property
    def apex_y(self) -> float:
        """The lung's highest point, mm."""
        return float(self.outline[:, 1].min())

    @property
    def recess_y(self) -> float:
        """The bottom of the costophrenic recess, mm."""
        return float(self.outline[:, 1].max())

    @property
    def height(self) -> float:
        """From the apex to the recess, mm."""
        return self.recess_y - self.apex_y

    @property
    def dome_y(self) -> float:
        """The top of the diaphragm, mm."""
        return self.a.dome_y(self.side)

    @property
    def hilum(self) -> tuple[float, float]:
        """Where vessels and bronchi enter the lung, mm."""
        x = self.side * (34 + 0.02 * self.a.half_thorax) + 0.5 * self.a.shift
        return x, self.a.carina_y + (30 if self.side == RIGHT else 19)

    @property
    def room(self) -> Map:
        """1 inside the lung, falling to 0 within its antialiased border."""
        return np.minimum(3 * self.lung, 1)

    def at(self, across: float, down: float) -> tuple[float, float]:
        """The point a share of the way from the medial border to the wall and from apex to dome."""
        y = self.apex_y + down * (self.dome_y - self.apex_y)
        rows, medial, lateral = self._borders
        inner, outer = np.interp(y, rows, medial), np.interp(y, rows, lateral)
        return float(self.side * (inner + across * (outer - inner))), y

    def wall(self, y: float) -> float:
        """x of the lateral pleura at height y, mm."""
        rows, _, lateral = self._borders
        return float(self.side * np.interp(y, rows, lateral))

    @cached_property
    def to_wall(self) -> Map:
        """Distance in mm from the lateral chest wall along a row, (512, 512)."""
        x, y = (shrink(axis, 4) for axis in np.broadcast_arrays(*self.a.frame.grid))
        rows, _, lateral = self._borders
        return enlarge((np.interp(y, rows, lateral) - self.side * x).astype(np.float32))

    @cached_property
    def _borders(self) -> tuple[NDArray[np.floating], ...]:
        """Rows in mm, and the medial and lateral border there, both measured towards the side."""
        closed = np.vstack([self.outline, self.outline[:1]])
        points = np.arange(len(closed))
        dense = np.linspace(0, len(closed) - 1, 1600)
        x = self.side * np.interp(dense, points, closed[:, 0])
        y = np.interp(dense, points, closed[:, 1])
        rows = np.linspace(self.apex_y, self.recess_y, 90)
        nearest = np.rint((y - self.apex_y) / self.height * 89).astype(int)
        medial, lateral = np.full(90, np.inf), np.full(90, -np.inf)
        np.minimum.at(medial, nearest, x)
        np.maximum.at(lateral, nearest, x)
        hit = np.isfinite(medial)
        return rows[hit], medial[hit], lateral[hit]


@dataclass(frozen=True)
class Thorax:
    """The chest that findings are drawn into: landmarks and the lungs' coverage (512, 512)."""

    anatomy: Anatomy
    right_lung: Map
    left_lung: Map

    @cached_property
    def right(self) -> Hemithorax:
        """The patient's right half."""
        return Hemithorax(self.anatomy, RIGHT, self.right_lung, lung_outline(self.anatomy, RIGHT))

    @cached_property
    def left(self) -> Hemithorax:
        """The patient's left half."""
        return Hemithorax(self.anatomy, LEFT, self.left_lung, lung_outline(self.anatomy, LEFT))

    def half(self, side: int) -> Hemithorax:
        """One half of the chest; side -1 is the patient's right, +1 the left."""
        return self.right if side == RIGHT else self.left

    @cached_property
    def coarse_grid(self) -> tuple[Map, Map]:
        """x and y in mm of every second pixel, (256, 256) each, for signs without sharp edges."""
        x, y = np.broadcast_arrays(*self.anatomy.frame.grid)
        return shrink(x, COARSE), shrink(y, COARSE)
