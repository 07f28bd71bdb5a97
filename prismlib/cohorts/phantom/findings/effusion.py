"""Pleural effusion: a meniscus when upright, a veil when supine, and its measures."""

import numpy as np

from prismlib.cohorts.phantom.canvas import Map
from prismlib.cohorts.phantom.findings.sign import (
    FLUID,
    Sign,
    make_sign,
    nothing,
    ramp,
    side_name,
    sides_of,
    together,
)
from prismlib.cohorts.phantom.findings.thorax import Hemithorax, Thorax
from prismlib.cohorts.phantom.subject import Subject

LATERAL_STRIP_MM = (1.5, 6.0)


def draw_effusion(subject: Subject, thorax: Thorax, severity: float) -> Sign:
    """Fluid in the pleural space of one side or, unequally, of both.

    Severity 0.08 barely blunts the angle, 0.55 reaches about 110 mm up the wall, 1 whitens the
    hemithorax.
    """
    share = nothing()
    hides = 0.4 if subject.supine else 1.0
    for side, amount in sides_of(subject, "Pleural Effusion", severity):
        half = thorax.half(side)
        bend = subject.stream(f"Pleural Effusion {side_name(side)}").uniform(0.75, 1.3)
        level = _veil if subject.supine else _upright
        share += level(half, amount, bend) * half.room
    return make_sign(share, FLUID, clears=np.float32(hides) * share)


def _upright(half: Hemithorax, amount: float, bend: float) -> Map:
    """White below a surface with a sharp border, a faint haze above it."""
    depth = _below_surface(half, amount, bend)
    border = 2.0 + 0.07 * np.clip(half.to_wall, 0, 120)
    fluid = ramp(depth / border, -1, 1) * (0.58 + 0.39 * ramp(depth, -10, 48))
    haze = 0.16 * amount * np.clip(1 + depth / (8 + 75 * amount), 0, 1) ** 2
    return np.maximum(fluid, haze).astype(np.float32)


def _below_surface(half: Hemithorax, amount: float, bend: float) -> Map:
    """Depth in mm below a surface that climbs the lateral wall; negative above it."""
    y = half.a.frame.grid[1]
    reach = half.height * amount**1.5 * (1.0 + 0.12 * amount)
    climb = 75 * -np.expm1(-0.55 * reach / 75)
    width = bend * (11 + 0.20 * reach)
    surface = half.recess_y - reach + climb * -np.expm1(-np.clip(half.to_wall, 0, None) / width)
    return y - surface


def _veil(half: Hemithorax, amount: float, bend: float) -> Map:
    """Fluid layered behind the lung: denser below, without a border; the angle is blunted."""
    y = half.a.frame.grid[1]
    reach = (0.35 + 0.75 * amount) * half.height
    layer = np.clip((y - half.recess_y + reach) / reach, 0, 1.2) ** (0.9 * bend)
    angle = ramp(_below_surface(half, 0.62 * amount, bend) / (8 + 40 * amount), -1, 1)
    share = together(0.70 * amount**0.8 * layer, (0.25 + 0.45 * amount) * angle)
    return np.clip(share, 0, 0.98).astype(np.float32)


def effusion_measures(subject: Subject, thorax: Thorax, depth_cm: Map) -> dict[str, float]:
    """Height in mm and volume in mL of the fluid on each side, from the geometry.

    `depth_cm` (512, 512) is the lungs' depth along the beam in cm. The height is that of the
    lowest aerated row near the lateral wall above the recess, 0 where no row is filled. The volume
    is what takes the place of lung in the picture; fluid hidden behind the dome is not counted.
    """
    severity = subject.severity["Pleural Effusion"]
    share = draw_effusion(subject, thorax, severity).share if severity > 0 else nothing()
    measures: dict[str, float] = {}
    for half in (thorax.right, thorax.left):
        name = side_name(half.side)
        measures[f"height_{name}_mm"] = _height(half, share)
        measures[f"volume_{name}_ml"] = _volume(half, share, depth_cm)
    return measures


def _height(half: Hemithorax, share: Map) -> float:
    near, far = LATERAL_STRIP_MM
    strip = (half.to_wall > near) & (half.to_wall < far) & (half.lung > 0.5)
    y = np.broadcast_to(half.a.frame.grid[1], strip.shape)
    bottom = y[strip].max(initial=half.apex_y)
    lowest_air = y[strip & (share < 0.5)].max(initial=half.apex_y)
    return float(half.recess_y - lowest_air) if lowest_air < bottom else 0.0


def _volume(half: Hemithorax, share: Map, depth_cm: Map) -> float:
    pixel_cm2 = (half.a.frame.mm_per_pixel / 10) ** 2
    return float((share * depth_cm)[half.lung > 0].sum() * pixel_cm2)
