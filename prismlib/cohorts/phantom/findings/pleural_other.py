"""Pleural disease other than fluid and air: thickening, apical caps and calcified plaques."""

import numpy as np

from prismlib.cohorts.phantom.canvas import Canvas, Map, enlarge
from prismlib.cohorts.phantom.findings.sign import (
    SOFT_TISSUE,
    Sign,
    make_sign,
    nothing,
    ramp,
    side_name,
    sides_of,
    texture,
)
from prismlib.cohorts.phantom.findings.thorax import Hemithorax, Thorax
from prismlib.cohorts.phantom.subject import Subject

RIND, CAP, PLAQUES = range(3)
CALCIUM_DEPTH = 0.55  # optical depth of a dense plaque


def draw_pleural_other(subject: Subject, thorax: Thorax, severity: float) -> Sign:
    """A rind along the lateral wall, a cap over the apex or plaques with calcium.

    Kind and place are the patient's, the same in every study.
    """
    share, added = nothing(), nothing()
    kind = subject.patient_stream("Pleural Other").choice(3, p=[0.45, 0.20, 0.35])
    for side, amount in sides_of(subject, "Pleural Other", severity):
        half = thorax.half(side)
        rng = subject.patient_stream(f"Pleural Other {side_name(side)}")
        if kind == PLAQUES:
            added += _plaques(half, thorax.coarse_grid, amount, rng) * half.lung
        else:
            draw = _cap if kind == CAP else _rind
            share += draw(half, thorax.coarse_grid, amount, rng) * half.room
    return make_sign(share, SOFT_TISSUE, added)


def _rind(half: Hemithorax, grid, amount: float, rng: np.random.Generator) -> Map:
    """Up to 14 mm of thick, uneven pleura along the lower wall, blunting the angle."""
    top, waves = rng.uniform(0.25, 0.5), rng.normal(0, 0.22, 4)
    down = (grid[1] - np.float32(half.apex_y)) / np.float32(half.height)
    thick = 14 * amount * ramp(down, top - 0.15, top + 0.3) * (1 + 0.7 * ramp(down, 0.85, 1.0))
    ripple = np.ones_like(thick)
    for number, wave in enumerate(waves):
        ripple += np.float32(wave) * np.sin((5 + 9 * number) * down + np.float32(9 * wave))
    depth = enlarge(thick * np.clip(ripple, 0.3, 1.8)) - half.to_wall
    return np.float32(0.9 * ramp(amount, 0, 0.3)) * ramp(depth, -1.5, 1.5)


def _cap(half: Hemithorax, grid, amount: float, rng: np.random.Generator) -> Map:
    """Up to 18 mm of soft tissue over the apex with an uneven lower border."""
    phase, size = rng.uniform(0, 6, 2), rng.uniform(0.8, 1.2)
    top = half.outline[half.outline[:, 1] < half.apex_y + 0.22 * half.height]
    ripple = 0.12 * np.sin(top[:, 0] / 7 + phase[0]) + 0.10 * np.sin(top[:, 0] / 3 + phase[1])
    thick = 18 * size * amount * (1 + ripple)
    lower = top + np.stack([np.zeros_like(thick), thick], axis=1)
    cap = Canvas(half.a.frame).polygon(np.vstack([top - (0, 4), lower[::-1]])).map(1.0)
    return np.float32(0.85 * ramp(amount, 0, 0.3)) * cap


def _plaques(half: Hemithorax, grid, amount: float, rng: np.random.Generator) -> Map:
    """Calcium seen face on, with a rolled, holly-leaf border."""
    noise, grain = texture(rng, 24, 56), texture(rng, 90)
    total = np.zeros_like(noise)
    for number in range(3):
        x, y = half.at(rng.uniform(0.45, 0.85), rng.uniform(0.42, 0.95))
        size, turn = rng.uniform(11, 24), rng.normal(0, 0.8)
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        u, v = grid[0] - np.float32(x), grid[1] - np.float32(y)
        r = np.hypot((u * cos + v * sin) / size, (v * cos - u * sin) / (0.55 * size))
        field = 1 - r + np.float32(0.22) * noise
        part = ramp(amount, 0.2 * number - 0.2, 0.2 * number + 0.5)
        level = 0.75 - 0.6 * amount
        rim = 0.75 * ramp(field, level, level + 0.15) + 0.25 * ramp(field, level + 0.5, level)
        total = np.maximum(total, part * rim * ramp(field, level, level + 0.12))
    return np.float32(CALCIUM_DEPTH * amount**0.6) * enlarge(
        total * np.clip(0.8 + 0.25 * grain, 0.3, 1.3)
    )
