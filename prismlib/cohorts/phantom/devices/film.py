"""Drawing a device as the beam sees it: attenuation times thickness, summed over its parts."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from prismlib.cohorts.phantom.canvas import SIZE, Frame, Map, smooth_curve

TITANIUM, STEEL, LOADED_POLYMER, PLAIN_POLYMER = 0.345, 0.95, 0.165, 0.035  # per mm at 60 keV
FRENCH = 1 / 3  # millimetres of diameter
FINE = 4  # outlines are filled at four times the size and averaged

Path = NDArray[np.floating]


@dataclass(frozen=True)
class Device:
    """What a device adds to the picture.

    `optical_depth` (512, 512) is its attenuation times its thickness, `footprint` (512, 512) in
    [0, 1] the share of each pixel that it covers, `tip` (mm) where a tube or line ends.
    """

    optical_depth: Map
    footprint: Map
    tip: tuple[float, float] | None = None


class Film:
    """Sums the parts of one device; parts are given in the patient's millimetres.

    Strips (wires, tubes) are spread over the pixels by their area, so that a part thinner than a
    pixel keeps its mass at any scale.
    """

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._depth = np.zeros((SIZE, SIZE), np.float32)
        self._covered = np.zeros((SIZE, SIZE), np.float32)
        self._strips: list[tuple[Path, Path, Path]] = []

    def wire(self, path: Path, diameter: float, attenuation: float, offset: float = 0.0) -> "Film":
        """A solid cylinder along a path, shifted sideways by `offset`; attenuation per mm."""
        return self._strip(path, diameter, lambda d: _chord(d, diameter) * attenuation, offset)

    def tube(self, path: Path, outer: float, inner: float, attenuation: float) -> "Film":
        """A hollow cylinder, densest where the beam grazes its wall."""

        def integral(d: Path) -> Path:
            return (_chord(d, outer) - _chord(d, inner)) * attenuation

        return self._strip(path, outer, integral)

    def plate(self, outline: ArrayLike, depth: float) -> "Film":
        """A flat piece of one optical depth inside a closed outline."""
        pixels = self.frame.pixels(np.asarray(outline, dtype=float))
        low = np.clip(np.floor(pixels.min(axis=0)), 0, SIZE).astype(int)
        width, height = np.clip(np.ceil(pixels.max(axis=0)), 0, SIZE).astype(int) - low
        if width < 1 or height < 1:
            return self
        patch = Image.new("L", (int(width) * FINE, int(height) * FINE))
        corners = [(float(x), float(y)) for x, y in (pixels - low) * FINE - 0.5]
        ImageDraw.Draw(patch).polygon(corners, fill=255)
        covered = np.asarray(patch.reduce(FINE), np.float32) / np.float32(255)
        window = np.s_[low[1] : low[1] + height, low[0] : low[0] + width]
        self._depth[window] += covered * np.float32(depth)
        self._covered[window] += covered
        return self

    def disc(self, x: float, y: float, diameter: float, depth: float) -> "Film":
        """A flat round piece."""
        return self.plate(circle(x, y, diameter, samples=28), depth)

    def device(self, tip: ArrayLike | None = None) -> Device:
        """The sum of all parts; `tip` (mm) is where the device ends."""
        if self._strips:
            points, areas, depths = (
                np.concatenate(parts) for parts in zip(*self._strips, strict=True)
            )
            self._splat(points, areas, depths)
            self._strips = []
        end = None if tip is None else tuple(np.asarray(tip, dtype=float).tolist())
        return Device(self._depth, np.minimum(self._covered, 1), end)

    def _strip(
        self, path: Path, width: float, integral: Callable[[Path], Path], offset: float = 0.0
    ) -> "Film":
        """Sample a strip whose optical depth across the path has the given integral."""
        pixel = self.frame.mm_per_pixel
        centres, normals, bend, step = _stations(path, 0.5 * pixel)
        edges = np.linspace(-width / 2, width / 2, max(4, round(width / pixel * 2.5)) + 1)
        across = (edges[1:] + edges[:-1]) / 2 + offset
        points = centres[:, None] + across[None, :, None] * normals[:, None]
        stretched = np.clip(1 - bend[:, None] * across, 0, 2.5) * (step / pixel**2)
        areas, depths = stretched * np.diff(edges), stretched * np.diff(integral(edges))
        self._strips.append(
            (self.frame.pixels(points.reshape(-1, 2)), areas.ravel(), depths.ravel())
        )
        return self

    def _splat(self, points: Path, areas: Path, depths: Path) -> None:
        """Share samples out to the four nearest pixels, bilinearly."""
        seen = ((points > -0.5) & (points < SIZE + 0.5)).all(axis=1)
        points, areas, depths = points[seen], areas[seen], depths[seen]
        corner = np.floor(points - 0.5).astype(np.int32)
        (right, down), wide = (points - 0.5 - corner).T, SIZE + 2
        first = (corner[:, 1] + 1) * wide + corner[:, 0] + 1
        places = np.concatenate([first, first + 1, first + wide, first + wide + 1])
        shares = ((1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down)
        for target, weights in ((self._depth, depths), (self._covered, areas)):
            spread = np.concatenate([share * weights for share in shares])
            total = np.bincount(places, spread, minlength=wide * wide)
            target += total.reshape(wide, wide)[1:-1, 1:-1].astype(np.float32)


def faintness(rng: np.random.Generator, least: float = 0.5) -> float:
    """How much opaque filler a line carries, as a share of the nominal; mostly near it."""
    return float(least + (1 - least) * rng.beta(1.4, 1.0))


def course(points: ArrayLike, samples: int = 96) -> Path:
    """A smooth path through control points, (samples, 2) in mm."""
    return smooth_curve(np.asarray(points, dtype=float), samples)


def stretch(path: Path, start: float, stop: float) -> Path:
    """The part of a path between two distances (mm) from its end, `start` the farther."""
    along = _arc(path)[-1] - _arc(path)
    places = np.linspace(min(start, along[0]), max(stop, 0.0), 48)
    return np.stack([np.interp(-places, -along, path[:, i]) for i in (0, 1)], axis=1)


def circle(x: float, y: float, diameter: float, samples: int = 48) -> Path:
    """A closed circle, (samples, 2) in mm; first and last point are the same."""
    angle = np.linspace(0, 2 * np.pi, samples)
    return np.stack([x + diameter / 2 * np.cos(angle), y + diameter / 2 * np.sin(angle)], axis=1)


def placed(outline: ArrayLike, x: float, y: float, turn: float, mirror: int = 1) -> Path:
    """An outline about the origin, mirrored, turned by `turn` radians and moved to (x, y)."""
    cos, sin = np.cos(turn), np.sin(turn)
    spin = np.array([[cos, sin], [-sin, cos]])
    return np.asarray(outline, dtype=float) @ spin * (mirror, 1) + (x, y)


def _chord(offset: Path, diameter: float) -> Path:
    """Integral from the axis to `offset` of a cylinder's thickness along the beam, in mm2."""
    share = np.clip(2 * offset / diameter, -1, 1)
    return (share * np.sqrt(1 - share**2) + np.arcsin(share)) * diameter**2 / 4


def _arc(path: Path) -> Path:
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])


def _stations(path: Path, spacing: float) -> tuple[Path, Path, Path, float]:
    """Evenly spaced points along a path with normals and curvature, and their exact spacing."""
    arc = _arc(path)
    tangent = np.gradient(path, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    count = max(2, int(np.ceil(arc[-1] / spacing)))
    places = (np.arange(count) + 0.5) * arc[-1] / count
    x, y, tx, ty = (np.interp(places, arc, v) for v in (*path.T, *tangent.T))
    angle = np.unwrap(np.arctan2(ty, tx))
    bend = np.gradient(angle, places) if count > 2 else np.zeros(count)
    normals = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    return np.stack([x, y], axis=1), normals, bend, float(arc[-1] / count)
