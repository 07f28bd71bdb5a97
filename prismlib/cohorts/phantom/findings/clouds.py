"""Opacities with cloudy borders: consolidation, pneumonia and ill-defined lung opacity."""

import numpy as np
from numpy.typing import NDArray

from prismlib.cohorts.phantom.canvas import Canvas, Map, enlarge, smooth_curve
from prismlib.cohorts.phantom.findings.sign import (
    SOFT_TISSUE,
    Sign,
    make_sign,
    nothing,
    ramp,
    side_name,
    sides_of,
    texture,
    together,
)
from prismlib.cohorts.phantom.findings.thorax import RIGHT, Hemithorax, Thorax
from prismlib.cohorts.phantom.subject import Subject

# Lobes: centre across (0 medial, 1 wall) and down (0 apex, 1 dome), radii in shares of the lung's
# height, and where a fissure may bound the opacity: below it (+1), above it (-1), or nowhere (0).
LOBES = {
    "upper": (0.55, 0.27, 0.20, 0.19, 1),
    "middle": (0.38, 0.76, 0.19, 0.15, -1),
    "lower": (0.56, 0.86, 0.20, 0.18, 0),
}


def draw_consolidation(subject: Subject, thorax: Thorax, severity: float) -> Sign:
    """A lobe or segment without air, about 95 mm across at severity 0.8, with air bronchograms."""
    share = nothing()
    for side, amount in sides_of(subject, "Consolidation", severity):
        half = thorax.half(side)
        rng = subject.stream(f"Consolidation {side_name(side)}")
        share += _lobar(half, thorax.coarse_grid, amount, rng) * half.room
    return make_sign(share, SOFT_TISSUE)


def _lobar(half: Hemithorax, grid, amount: float, rng: np.random.Generator) -> Map:
    lobe = LOBES[rng.choice(list(LOBES), p=[0.35, 0.25, 0.40])]
    offset, bounded, noise = rng.normal(0, 0.05, 2), rng.random() < 0.6, texture(rng, 7, 18, 48)
    bronchi = _bronchogram(half, half.at(lobe[0], lobe[1]), rng)
    centre = half.at(lobe[0] + offset[0], lobe[1] + offset[1])
    radii = (lobe[2] * half.height, lobe[3] * half.height)
    field = _field(grid, centre, radii, rng.normal(0, 0.35)) + 0.22 * noise
    extent = 0.70 + 0.70 * amount
    body = ramp(field, 1 - extent, 1.75 - extent) * (0.90 + 0.08 * np.clip(noise, -1, 1))
    if bounded and lobe[4] and half.side == RIGHT:
        body = body * _fissure(half, grid, lobe[4])
    return (0.03 + 0.67 * amount**0.9) * enlarge(np.clip(body, 0, 1)) * bronchi


def _field(grid, centre: tuple[float, float], radii: tuple[float, float], turn: float) -> Map:
    """1 at the centre, 0 on an ellipse, negative beyond it."""
    x, y = grid[0] - np.float32(centre[0]), grid[1] - np.float32(centre[1])
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along, across = (x * cos + y * sin) / radii[0], (y * cos - x * sin) / radii[1]
    return 1 - np.sqrt(along * along + across * across)


def _fissure(half: Hemithorax, grid, bounds: int) -> Map:
    """1 on the opacity's side of the minor fissure: above it for +1, below it for -1."""
    x0, y0 = half.hilum
    bow = y0 + 6 + 0.0006 * (grid[0] - np.float32(x0 + 60 * half.side)) ** 2
    return ramp(bounds * (bow - grid[1]), -1.2, 1.2)


def _bronchogram(half: Hemithorax, target: tuple[float, float], rng: np.random.Generator) -> Map:
    """What is left of the opacity where bronchi that keep their air cross it, 1 elsewhere."""
    canvas = Canvas(half.a.frame)
    start = np.array(half.hilum)
    way = np.array(target) - start
    reach, heading = float(np.hypot(*way)), float(np.arctan2(way[1], way[0]))
    turns = rng.normal((-0.45, 0, 0.45), 0.16)
    for turn, width in zip(turns, (2.8, 3.6, 2.8), strict=True):
        _airway(canvas, rng, start, heading + turn, reach * rng.uniform(0.9, 1.25), width, 2)
    return 1 - 0.30 * canvas.map(0.9)


def _airway(
    canvas: Canvas, rng, start: NDArray, heading: float, length: float, width: float, forks: int
) -> None:
    """A bronchus that bends and forks."""
    bend = heading + rng.normal(0, 0.2)
    middle = start + 0.55 * length * np.array([np.cos(heading), np.sin(heading)])
    end = middle + 0.45 * length * np.array([np.cos(bend), np.sin(bend)])
    canvas.curve(smooth_curve(np.stack([start, middle, end]), 12), width)
    for turn in rng.normal(0.5, 0.1, 2) * (1, -1):
        if forks:
            _airway(canvas, rng, middle, heading + turn, 0.5 * length, width * 0.75, forks - 1)


def draw_pneumonia(subject: Subject, thorax: Thorax, severity: float) -> Sign:
    """Patches of differing size and density, most in one zone, that run together when severe."""
    share = nothing()
    for side, amount in sides_of(subject, "Pneumonia", severity):
        half = thorax.half(side)
        rng = subject.stream(f"Pneumonia {side_name(side)}")
        share += enlarge(_patches(half, thorax.coarse_grid, amount, rng)) * half.room
    return make_sign(share, SOFT_TISSUE)


def _patches(half: Hemithorax, grid, amount: float, rng: np.random.Generator) -> Map:
    noise, mottle = texture(rng, 10, 26, 60), texture(rng, 36, 80)
    zone = (rng.uniform(0.35, 0.68), rng.choice([0.35, 0.62, 0.82], p=[0.2, 0.3, 0.5]))
    share = np.zeros_like(noise)
    for number in range(5):
        spread = 0.0 if number == 0 else 1.0
        across, down = rng.normal(zone, (0.15, 0.09)) * spread + np.array(zone) * (1 - spread)
        centre = half.at(float(np.clip(across, 0.15, 0.9)), float(np.clip(down, 0.15, 0.95)))
        radius = rng.uniform(17, 30) * (1.25 if number == 0 else 0.85)
        part = ramp(amount, 0.12 * number - 0.2, 0.12 * number + 0.55)
        field = _field(grid, centre, (1.15 * radius, radius), rng.normal(0, 0.6)) + 0.30 * noise
        extent = 0.75 + 0.7 * amount
        share = together(share, 0.40 * part * amount**0.7 * ramp(field, 1 - extent, 2.1 - extent))
    return share * np.clip(0.90 + 0.11 * mottle, 0.5, 1.1)


def draw_opacity(subject: Subject, thorax: Thorax, severity: float) -> Sign:
    """Ground glass: faint clouds without a border, through which the vessels stay visible."""
    share = nothing()
    for side, amount in sides_of(subject, "Lung Opacity", severity):
        half = thorax.half(side)
        rng = subject.stream(f"Lung Opacity {side_name(side)}")
        share += enlarge(_haze(half, thorax.coarse_grid, amount, rng)) * half.room
    return make_sign(share, SOFT_TISSUE, clears=0.3 * share)


def _haze(half: Hemithorax, grid, amount: float, rng: np.random.Generator) -> Map:
    noise, mottle = texture(rng, 6, 14, 36), texture(rng, 36, 80)
    share = np.zeros_like(noise)
    for number in range(3):
        centre = half.at(rng.uniform(0.25, 0.8), rng.uniform(0.2, 0.95))
        radius = rng.uniform(30, 52) * (1.1 - 0.15 * number)
        part = ramp(amount, 0.2 * number - 0.3, 0.2 * number + 0.5)
        field = _field(grid, centre, (radius, 0.85 * radius), rng.normal(0, 0.7)) + 0.28 * noise
        extent = 0.8 + 0.5 * amount
        share = together(share, 0.30 * part * amount**0.8 * ramp(field, 1 - extent, 2.2 - extent))
    return share * np.clip(0.92 + 0.08 * mottle, 0.5, 1.1)
