"""Soft tissue around the lungs: trunk, shoulders, neck, arms, breasts, and air in the stomach."""

import numpy as np
from scipy.special import expit

from prismlib.cohorts.phantom.anatomy import Anatomy, lung_outline
from prismlib.cohorts.phantom.canvas import Canvas, Map, enlarge, ribbon, smooth_curve
from prismlib.cohorts.phantom.subject import Subject


def body_thickness(subject: Subject, a: Anatomy) -> Map:
    """Soft tissue in cm along the beam if the chest held no air, (512, 512)."""
    _, y = a.frame.grid
    trunk = Canvas(a.frame).polygon(_silhouette(subject, a)).map()
    deep = a.body_depth_cm * (0.78 + 0.22 * expit((y - a.apex_y - 62) / 26))
    deep = deep * (1 + 0.10 * expit((y - a.recess_y - 5) / 22))
    thickness = deep * np.maximum(a.frame.depth(trunk, 0.48 * a.flank), 0.02 * trunk)
    thickness = np.maximum(thickness, _arms(subject, a)) + _breasts(subject, a)
    return (thickness * _unevenness(subject)).astype(np.float32)


def _silhouette(subject: Subject, a: Anatomy) -> list[tuple[float, float]]:
    """Neck, trapezius, shoulders and flanks, one side mirrored from the other."""
    rng = subject.patient_stream("silhouette")
    neck = (56 if subject.male else 50) + 3 * subject.habitus + rng.normal(0, 3)
    slope = rng.normal(0, 5)
    sx, sy = a.shoulder_x, a.shoulder_y
    control = [
        (neck + 6, sy - 190), (neck, sy - 110), (neck + 3, sy - 78 + slope),
        (0.55 * (neck + sx), sy - 50 + slope), (sx - 6, sy - 40), (sx + 24, sy - 26),
        (sx + 36, sy + 8), (sx + 24, sy + 46), (a.half_thorax + 34, sy + 74),
        (a.flank - 2, sy + 112), (a.flank - 2, a.dome_right_y - 40), (a.flank + 3, a.recess_y + 25),
        (a.flank + 8, 520),
    ]  # fmt: skip
    edge = smooth_curve(control, 90)
    return [*map(tuple, edge), *((-x, y) for x, y in edge[::-1])]


def _arms(subject: Subject, a: Anatomy) -> Map:
    """Upper arms: beside the trunk on AP films, turned outwards on PA films."""
    rng = subject.stream("arms")
    spread, girth = rng.normal(0, 12, 2), 84 + 7 * subject.habitus + rng.normal(0, 5)
    cut = rng.random(2) < (0.08 if subject.ap else 0.3)
    canvas = Canvas(a.frame)
    for index, side in enumerate((-1, 1)):
        out = (26 if subject.ap else 84) + 1.6 * spread[index] + (120 if cut[index] else 0)
        sx, sy = a.shoulder_x - (9 if subject.ap else 2), a.shoulder_y
        axis = [(side * (sx - 4), sy - 6), (side * (sx + 4), sy + 40),
                (side * (sx + 0.42 * out), sy + 120), (side * (sx + out), sy + 360)]  # fmt: skip
        widths = girth * np.interp(np.arange(32), [0, 8, 31], [0.72, 1.0, 0.9])
        canvas.polygon(ribbon(smooth_curve(axis), widths)).disc(*axis[0], 0.9 * girth)
    arm = canvas.map()
    return np.float32(0.112 * girth) * a.frame.depth(arm, girth / 2)


def _breasts(subject: Subject, a: Anatomy) -> Map:
    """Rounded shadows over the lower zones, with a crescent below; larger in women."""
    rng = subject.patient_stream("breasts")
    size = float(
        np.clip(rng.normal(0.25, 0.12) if subject.male else rng.normal(1.05, 0.4), 0.02, 2)
    )
    size *= 1 + 0.22 * subject.habitus
    sag = rng.normal(0, 8)
    x, y = a.frame.grid
    shadow = np.zeros_like(x)
    for side in (-1, 1):
        radius = 52 + 16 * size
        cx, cy = side * (0.60 * a.half_thorax + 6 * size), a.dome_right_y - 26 + sag + 8 * size
        r = np.hypot((x - cx) / radius, (y - cy) / (0.92 * radius))
        shadow += np.clip(1 - r**2, 0, 1) ** 0.7 * expit((y - cy + 0.55 * radius) / 16)
    return np.float32(2.4 * size) * shadow


def _unevenness(subject: Subject) -> Map:
    """Muscle and fat vary the attenuation by a few per cent."""
    coarse = subject.patient_stream("muscle").standard_normal((12, 12)).astype(np.float32)
    fine = subject.patient_stream("fat").standard_normal((48, 48)).astype(np.float32)
    return 1 + np.float32(0.012) * enlarge(coarse) + np.float32(0.010) * enlarge(fine)


def posterior_recess(a: Anatomy) -> Map:
    """Lung in cm behind the domes, thinning downwards; it greys the upper abdomen."""
    y = a.frame.grid[1]
    air = np.zeros_like(y)
    for side in (-1, 1):
        outline = lung_outline(a, side)
        floor = outline[99:]
        below = floor[::-1] + np.array([0.0, 62.0])
        under = Canvas(a.frame).polygon(np.vstack([floor, below])).map(1.0)
        air += under * np.exp(-np.maximum(y - a.dome_y(side) + 6, 0) / np.float32(24))
    return np.float32(5.0) * air


def stomach_bubble(subject: Subject, a: Anatomy) -> Map:
    """Air in cm under the left dome in most subjects; upright, it ends in a level."""
    rng = subject.stream("stomach")
    there, bowel = rng.random() < 0.45, rng.random() < 0.3
    rx, ry = rng.uniform(16, 40), rng.uniform(9, 22)
    full, tip = rng.uniform(1.2, 4.6), rng.normal(0, 0.25)
    x0, level = 0.48 * a.half_thorax + rng.normal(0, 9), rng.uniform(0.0, 0.7)
    x, y = a.frame.grid
    air = np.zeros_like(x)
    if there:
        y0 = a.dome_left_y + 9 + ry + rng.uniform(0, 7)
        r = np.hypot((x - x0 - tip * (y - y0)) / rx, (y - y0 - 0.5 * tip * (x - x0)) / ry)
        air = full * np.clip(1 - r**2, 0, 1) ** 0.6
        if not subject.supine:
            air = air * expit((y0 + level * ry - y) / 0.8)
    if bowel:
        for _ in range(4):
            bx, by = x0 + rng.normal(0, 35), a.recess_y + rng.uniform(15, 80)
            size = rng.uniform(10, 24)
            r = np.hypot((x - bx) / size, (y - by) / (0.7 * size))
            air = np.maximum(air, 1.8 * np.sqrt(np.clip(1 - r**2, 0, 1)))
    return air.astype(np.float32)
