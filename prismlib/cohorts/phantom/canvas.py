"""Drawing in millimetres: polygons and tapering curves onto antialiased coverage maps.

The field is 372 x 372 mm. x runs from the midline, positive towards the patient's left (the right
of the picture); y runs down and is 16 at the upper edge.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import interpolate, ndimage

FIELD_MM = 372.0
TOP_MM = 16.0
SIZE = 512
SUPER = 2  # lines are drawn at twice the size and averaged
MM_PER_PIXEL = FIELD_MM / SIZE

Map = NDArray[np.float32]
Points = Sequence[tuple[float, float]] | NDArray[np.floating]


@lru_cache(maxsize=1)
def grid() -> tuple[Map, Map]:
    """x and y in millimetres at the pixel centres, each (512, 512)."""
    centres = (np.arange(SIZE, dtype=np.float32) + 0.5) * MM_PER_PIXEL
    x, y = np.meshgrid(centres - FIELD_MM / 2, centres + TOP_MM)
    return x, y


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


class Canvas:
    """A coverage map in [0, 1] that shapes are drawn onto; later shapes overwrite earlier ones."""

    def __init__(self) -> None:
        self._image = Image.new("L", (SIZE * SUPER, SIZE * SUPER))
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: Points, value: float = 1.0) -> "Canvas":
        """Fill a closed outline."""
        self._draw.polygon(self._pixels(points), fill=_level(value))
        return self

    def curve(self, points: Points, width_mm: float, value: float = 1.0) -> "Canvas":
        """Stroke a curve with round joints; thin strokes keep their area by fading."""
        pixels = width_mm / MM_PER_PIXEL * SUPER
        fill = _level(value * min(pixels, 1.0))
        width = max(round(pixels), 1)
        self._draw.line(self._pixels(points), fill=fill, width=width, joint="curve")
        return self

    def disc(self, x: float, y: float, diameter_mm: float, value: float = 1.0) -> "Canvas":
        """Fill a circle."""
        (px, py), radius = self._pixels([(x, y)])[0], diameter_mm / MM_PER_PIXEL * SUPER / 2
        box = (px - radius, py - radius, px + radius, py + radius)
        self._draw.ellipse(box, fill=_level(value))
        return self

    def map(self, blur_mm: float = 0.0) -> Map:
        """The coverage at 512 x 512, optionally softened."""
        coverage = np.asarray(self._image.reduce(SUPER), dtype=np.float32) / np.float32(255)
        return soften(coverage, blur_mm) if blur_mm else coverage

    @staticmethod
    def _pixels(points: Points) -> list[tuple[float, float]]:
        corner = np.array([-FIELD_MM / 2, TOP_MM])
        scaled = (np.asarray(points, dtype=float) - corner) / MM_PER_PIXEL * SUPER
        return [(float(x), float(y)) for x, y in scaled]


def _level(value: float) -> int:
    return round(255 * min(max(value, 0.0), 1.0))


def soften(image: Map, sigma_mm: float) -> Map:
    """Gaussian blur with sigma in millimetres."""
    return ndimage.gaussian_filter(image, sigma_mm / MM_PER_PIXEL, mode="nearest", truncate=3)


def broad_soften(image: Map, sigma_mm: float, factor: int = 8) -> Map:
    """A wide blur, computed at a fraction of the size."""
    small = _shrink(image, factor)
    sigma = sigma_mm / MM_PER_PIXEL / factor
    return _enlarge(ndimage.gaussian_filter(small, sigma, mode="nearest", truncate=3))


def _shrink(image: Map, factor: int) -> Map:
    return image.reshape(SIZE // factor, factor, SIZE // factor, factor).mean(axis=(1, 3))


def _enlarge(image: Map) -> Map:
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def depth(coverage: Map, rise_mm: float) -> Map:
    """A rounded thickness in [0, 1]: 0 at the outline, towards 1 over `rise_mm` inside it."""
    half = _shrink(coverage, 2)
    distance = ndimage.distance_transform_edt(half > 0.5) * (2 * MM_PER_PIXEL)
    inside = np.clip(distance / rise_mm, 0, 1)
    rounded = np.sqrt(1 - (1 - inside) ** 2).astype(np.float32)
    return _enlarge(ndimage.gaussian_filter(rounded, 0.8)) * coverage
