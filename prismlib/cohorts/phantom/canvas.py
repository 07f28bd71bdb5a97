"""Drawing in the patient's millimetres onto antialiased maps of the detector.

x runs from the midline, positive towards the patient's left (the right of the picture); y runs
down: the lung's apex lies near 58, the carina near 138, the right dome near 288.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import interpolate, ndimage

SIZE = 512
SUPER = 2  # shapes are drawn at twice the size and averaged

Map = NDArray[np.float32]
Points = Sequence[tuple[float, float]] | NDArray[np.floating]


@dataclass(frozen=True)
class Frame:
    """Where the detector lies: millimetres of the patient to pixels of the picture.

    `mm_per_pixel` is the pixel's size in the patient, `x` and `y` (mm) the picture's centre and
    `tilt` (radians) how the patient leans.
    """

    mm_per_pixel: float = 0.80
    x: float = 0.0
    y: float = 205.0
    tilt: float = 0.0

    def pixels(self, points: Points) -> NDArray[np.floating]:
        """Pixel coordinates (n, 2) of points in mm; the upper left corner is (0, 0)."""
        offset = np.asarray(points, dtype=float) - (self.x, self.y)
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        return offset @ np.array([[cos, sin], [-sin, cos]]) / self.mm_per_pixel + SIZE / 2

    @cached_property
    def grid(self) -> tuple[Map, Map]:
        """x and y in mm at the pixels' centres, each (512, 512)."""
        centres = (np.arange(SIZE, dtype=np.float32) + np.float32(0.5 - SIZE / 2)) * np.float32(
            self.mm_per_pixel
        )
        u, v = centres[None, :], centres[:, None]
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        return np.float32(self.x) + u * cos + v * sin, np.float32(self.y) - u * sin + v * cos

    def soften(self, image: Map, sigma_mm: float) -> Map:
        """Gaussian blur with sigma in millimetres."""
        return ndimage.gaussian_filter(
            image, sigma_mm / self.mm_per_pixel, mode="nearest", truncate=3
        )

    def broad_soften(self, image: Map, sigma_mm: float, factor: int = 8) -> Map:
        """A wide blur, computed at a fraction of the size."""
        sigma = sigma_mm / self.mm_per_pixel / factor
        small = ndimage.gaussian_filter(shrink(image, factor), sigma, mode="nearest", truncate=3)
        return enlarge(small)

    def depth(self, coverage: Map, rise_mm: float) -> Map:
        """A rounded thickness in [0, 1]: 0 at the outline, towards 1 over `rise_mm` inside it."""
        half = np.pad(shrink(coverage, 2) > 0.5, 1, mode="edge")
        distance = ndimage.distance_transform_edt(half)[1:-1, 1:-1] * (2 * self.mm_per_pixel)
        inside = np.clip(distance / rise_mm, 0, 1)
        rounded = np.sqrt(1 - (1 - inside) ** 2).astype(np.float32)
        return enlarge(ndimage.gaussian_filter(rounded, 1.4)) * coverage


def shrink(image: Map, factor: int) -> Map:
    """The mean of blocks of `factor` x `factor` pixels."""
    return np.asarray(Image.fromarray(image.astype(np.float32, copy=False)).reduce(factor))


def enlarge(image: Map) -> Map:
    """A small map at 512 x 512, bilinear."""
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def smooth_outline(points: Points, samples: int = 160) -> NDArray[np.floating]:
    """A closed curve through the control points, (samples, 2)."""
    loop = np.vstack([points, np.asarray(points)[:1]])
    spline, _ = interpolate.splprep(loop.T, s=0, per=True)
    return np.stack(interpolate.splev(np.linspace(0, 1, samples), spline), axis=1)


def smooth_curve(points: Points, samples: int = 32) -> NDArray[np.floating]:
    """An open curve through at least two control points, (samples, 2)."""
    points = np.asarray(points, dtype=float)
    degree = min(3, len(points) - 1)
    spline, _ = interpolate.splprep(points.T, s=0, k=degree)
    return np.stack(interpolate.splev(np.linspace(0, 1, samples), spline), axis=1)


def ribbon(points: Points, widths: Points | float) -> NDArray[np.floating]:
    """The outline of a band along a curve of n points, with its width there.

    Points (..., n, 2) and widths that broadcast to (..., n) give outlines (..., 2 n, 2).
    """
    points = np.asarray(points, dtype=float)
    direction = np.empty_like(points)
    direction[..., 1:-1, :] = points[..., 2:, :] - points[..., :-2, :]
    direction[..., 0, :] = points[..., 1, :] - points[..., 0, :]
    direction[..., -1, :] = points[..., -1, :] - points[..., -2, :]
    length = np.sqrt((direction * direction).sum(axis=-1, keepdims=True)) + 1e-9
    half = np.broadcast_to(np.asarray(widths, dtype=float), points.shape[:-1])[..., None] / 2
    offset = direction[..., ::-1] * (-1.0, 1.0) / length * half
    return np.concatenate([points + offset, (points - offset)[..., ::-1, :]], axis=-2)


class Canvas:
    """A coverage map in [0, 1] that shapes are drawn onto; later shapes overwrite earlier ones."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._image = Image.new("L", (SIZE * SUPER, SIZE * SUPER))
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: Points, value: float = 1.0) -> "Canvas":
        """Fill a closed outline."""
        self._draw.polygon(self._pixels(points), fill=_level(value))
        return self

    def curve(self, points: Points, width_mm: float, value: float = 1.0) -> "Canvas":
        """Stroke a curve; strokes thinner than a pixel keep their area by fading."""
        pixels = width_mm / self.frame.mm_per_pixel * SUPER
        corners = self.frame.pixels(points) * SUPER
        fill = _level(value * min(pixels, 1.0))
        if pixels < 2.5:
            self._draw.line(corners.ravel().tolist(), fill=fill, width=max(round(pixels), 1))
        else:
            self._draw.polygon(ribbon(corners, pixels).ravel().tolist(), fill=fill)
        return self

    def strokes(self, paths: NDArray[np.floating], widths_mm, values) -> "Canvas":
        """Stroke n short curves (n, points, 2) at once; widths (n, points), values (n,)."""
        corners = self.frame.pixels(paths) * SUPER
        pixels = np.asarray(widths_mm) / self.frame.mm_per_pixel * SUPER
        fills = np.rint(255 * np.clip(values * np.minimum(pixels[:, 0], 1.0), 0, 1)).astype(int)
        bands = ribbon(corners, np.maximum(pixels, 1.0))
        for band, fill in zip(bands.reshape(len(paths), -1).tolist(), fills.tolist(), strict=True):
            self._draw.polygon(band, fill=fill)
        return self

    def disc(self, x: float, y: float, diameter_mm: float, value: float = 1.0) -> "Canvas":
        """Fill a circle."""
        px, py = self._pixels([(x, y)])
        radius = diameter_mm / self.frame.mm_per_pixel * SUPER / 2
        box = (px - radius, py - radius, px + radius, py + radius)
        self._draw.ellipse(box, fill=_level(value))
        return self

    def map(self, blur_mm: float = 0.0) -> Map:
        """The coverage at 512 x 512, optionally softened."""
        coverage = np.asarray(self._image.reduce(SUPER), dtype=np.float32) / np.float32(255)
        return self.frame.soften(coverage, blur_mm) if blur_mm else coverage

    def _pixels(self, points: Points) -> list[float]:
        return (self.frame.pixels(points) * SUPER).ravel().tolist()


def _level(value: float) -> int:
    return round(255 * min(max(value, 0.0), 1.0))
