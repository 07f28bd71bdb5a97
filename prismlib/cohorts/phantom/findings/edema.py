"""Edema: from vessels redistributed upwards through septal lines to alveolar bat wings."""

import numpy as np
from numpy.typing import NDArray

from prismlib.cohorts.phantom.canvas import Canvas, Map, enlarge, smooth_curve
from prismlib.cohorts.phantom.findings.sign import (
    SOFT_TISSUE,
    Sign,
    make_sign,
    ramp,
    side_name,
    texture,
)
from prismlib.cohorts.phantom.findings.thorax import Hemithorax, Thorax
from prismlib.cohorts.phantom.subject import Subject

SEPTUM_MM, LINE_DEPTH = 1.2, 0.20  # width of a Kerley B line; optical depth of dense lines


def draw_edema(subject: Subject, thorax: Thorax, severity: float) -> Sign:
    """Fluid in the lungs, in both whatever `side` says, one a little more than the other.

    Upper vessels widen from the start; septal lines and cuffs appear from severity 0.2, perihilar
    clouds from 0.4.
    """
    rng, lines = subject.stream("Edema"), Canvas(thorax.anatomy.frame)
    noise, mottle = texture(rng, 6, 14, 36), texture(rng, 30, 70)
    lead, share = rng.uniform(-0.12, 0.12), np.zeros_like(noise)
    x = thorax.coarse_grid[0]
    for half in (thorax.right, thorax.left):
        amount = severity * (1 - max(0.0, half.side * lead))
        own = half.side * (x - np.float32(thorax.anatomy.shift)) > 0
        share += own * _haze(half, thorax.coarse_grid, amount, noise)
        _interstitium(lines, half, amount, subject.stream(f"Edema {side_name(half.side)}"))
    share = enlarge(share * np.clip(0.92 + 0.10 * mottle, 0.5, 1.2))
    share = share * np.maximum(thorax.right.room, thorax.left.room)
    added = np.float32(LINE_DEPTH) * lines.map() * (thorax.right_lung + thorax.left_lung)
    return make_sign(share, SOFT_TISSUE, added, clears=np.float32(0.6) * share)


def _haze(half: Hemithorax, grid, amount: float, noise: Map) -> Map:
    """Dense beside the hilum, thinning over the inner two thirds, the periphery spared."""
    x0, y0 = half.hilum
    across = half.side * (grid[0] - np.float32(x0)) / np.float32(0.70 * half.a.half_thorax)
    down = (grid[1] - np.float32(y0 + 22)) / np.float32(0.46 * half.height)
    field = 1 - np.sqrt(across * across + down * down) + 0.20 * noise
    wing = ramp(field, 0.30 - 0.35 * amount, 1.0 - 0.25 * amount)
    diffuse = 0.14 * ramp(amount, 0.0, 0.9) * ramp(down, -1.2, 0.6)
    alveolar = 0.42 * ramp(amount, 0.25, 1.1) + 0.14 * amount
    return alveolar * wing + diffuse


def _interstitium(canvas: Canvas, half: Hemithorax, amount: float, rng) -> None:
    """Widened upper vessels, cuffed bronchi near the hilum and Kerley B lines at the wall."""
    lines = ramp(amount, 0.12, 0.6)
    _upper_vessels(canvas, half, 0.75 * ramp(amount, 0.0, 0.5), rng)
    _cuffs(canvas, half, 0.8 * lines, rng)
    _septal_lines(canvas, half, lines, rng)


def _upper_vessels(canvas: Canvas, half: Hemithorax, strength: float, rng) -> None:
    """Vessels that run upwards, curve and fork, as wide as the lower ones."""
    for heading in np.linspace(0.45, 1.4, 4) + rng.normal(0, 0.15, 4):
        start = np.array(half.hilum) + rng.normal(0, 6, 2)
        lengths, turns = rng.uniform(0.09, 0.16, 4) * half.height, rng.normal(0, 0.28, 4)
        stem = _course(half, start, heading, lengths[:2], turns[:2])
        twig = _course(half, stem[1], heading + 0.55 * np.sign(turns[3]), lengths[2:], turns[2:])
        canvas.curve(smooth_curve(twig, 10), 2.2, 0.6 * strength)
        points = smooth_curve(stem, 14)
        canvas.curve(points[6:], 2.8, 0.8 * strength).curve(points[:7], 4.0, strength)


def _course(half: Hemithorax, start, heading: float, lengths, turns) -> NDArray[np.floating]:
    """Points of a vessel that sets out upwards at `heading` (0 is lateral) and turns."""
    points = [np.asarray(start, dtype=float)]
    for length, turn in zip(lengths, turns, strict=True):
        heading = heading + turn
        points.append(
            points[-1] + length * np.array([half.side * np.cos(heading), -np.sin(heading)])
        )
    return np.stack(points)


def _cuffs(canvas: Canvas, half: Hemithorax, strength: float, rng) -> None:
    """Bronchi seen end on, with thick walls."""
    x0, y0 = half.hilum
    for _ in range(4):
        x, y = x0 + half.side * rng.uniform(8, 34), y0 + rng.normal(4, 24)
        size = rng.uniform(5.5, 8.5)
        canvas.disc(x, y, size, strength).disc(x, y, size - 3.4, 0.0)


def _septal_lines(canvas: Canvas, half: Hemithorax, strength: float, rng) -> None:
    """Lines of 10-20 mm that meet the lower lateral pleura at right angles."""
    for y in np.linspace(half.dome_y - 62, half.dome_y + 14, 13) + rng.normal(0, 1.6, 13):
        x = half.wall(float(y))
        length, slope = rng.uniform(9, 19), rng.normal(0, 0.10)
        inner = (x - half.side * length, y - slope * length)
        canvas.curve([(x, y), inner], SEPTUM_MM, strength * rng.uniform(0.6, 1.0))
