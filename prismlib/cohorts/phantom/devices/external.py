"""What lies on the patient: ECG electrodes with their wires, and cables that cross the field."""

import numpy as np

from prismlib.cohorts.phantom.anatomy import Anatomy
from prismlib.cohorts.phantom.devices.film import (
    PLAIN_POLYMER,
    STEEL,
    Device,
    Film,
    Path,
    circle,
    course,
    faintness,
    placed,
)

SITES = (
    (-0.72, 0.10), (0.72, 0.10), (-0.86, 1.05), (0.88, 1.05), (0.30, 0.72), (-0.20, 0.62),
)  # fmt: skip
COPPER = 0.5 * STEEL  # stranded


def ecg_leads(rng: np.random.Generator, a: Anatomy) -> Device:
    """Three to six electrodes with snaps of 8 to 12 mm, their wires gathered to one bundle."""
    film, loading, style = Film(a.frame), faintness(rng, 0.4), int(rng.integers(3))
    height, snap, gauge = a.dome_right_y - a.apex_y, rng.uniform(8.2, 11.5), rng.uniform(1.0, 1.9)
    yoke, away, drift = *_bundle(rng, a), rng.normal(0, (9, 14))
    order = rng.permutation(len(SITES))[: rng.integers(3, 7)]
    for number, (fx, fy) in enumerate(np.array(SITES)[order]):
        x, y = rng.normal((fx * a.half_thorax + drift[0], a.apex_y + fy * height + drift[1]), 12)
        heading = np.arctan2(yoke[1] - y, yoke[0] - x) + rng.normal(0, 0.7)
        _electrode(film, x, y, heading, snap, style, 0.3 + 0.7 * loading)
        path = _wire(rng, (x, y), heading, yoke + rng.normal(0, 4, 2), away + rng.normal(0, 5, 2))
        film.wire(path, gauge, loading * COPPER * 0.85)
        boot = rng.uniform(13, 20)
        end = (x + boot * np.cos(heading), y + boot * np.sin(heading))
        film.wire(np.array([(x, y), end]), 4.2, 1.6 * PLAIN_POLYMER)
        if number == 0:
            film.wire(np.array([yoke - (away - yoke) * 0.02, yoke + (away - yoke) * 0.1]), 7, 0.05)
    return film.device()


def _bundle(rng: np.random.Generator, a: Anatomy) -> tuple[Path, Path]:
    """Where the wires meet and where they leave the field: below, beside or over a shoulder."""
    side, way = rng.choice((-1, 1)), rng.random()
    if way < 0.40:
        yoke = (side * rng.uniform(20, 110), a.recess_y + rng.uniform(0, 40))
        return np.array(yoke), np.array((yoke[0] + side * rng.uniform(0, 60), 450.0))
    if way < 0.70:
        yoke = (side * rng.uniform(0.7, 1.05) * a.half_thorax, rng.uniform(200, 290))
        return np.array(yoke), np.array((side * 260.0, yoke[1] + rng.uniform(-20, 90)))
    yoke = (side * rng.uniform(70, 150), a.apex_y + rng.uniform(-20, 30))
    return np.array(yoke), np.array((yoke[0] + side * rng.uniform(-20, 90), -40.0))


def _wire(
    rng: np.random.Generator, start: tuple[float, float], heading: float, yoke: Path, away: Path
) -> Path:
    """A slack wire: sets out from its snap, wanders, may make a loop, meets the others."""
    first = np.array(start)
    out = first + rng.uniform(20, 36) * np.array([np.cos(heading), np.sin(heading)])
    span = yoke - out
    across = np.array([-span[1], span[0]]) * rng.normal(0, 0.20) + rng.normal(0, 9, 2)
    points = [first, out, out + 0.35 * span + across, out + 0.72 * span + 0.6 * across]
    if rng.random() < 0.22:
        radius, turn = rng.uniform(13, 28), rng.choice((-1, 1))
        angle = heading + turn * (np.linspace(0, 2 * np.pi, 7) - np.pi / 2)
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        points[2:3] = list(points[2] + radius * (ring - ring[0]) + 0.06 * np.outer(range(7), span))
    return course([*points, yoke, 0.5 * (yoke + away) + rng.normal(0, 6, 2), away], 128)


def _electrode(
    film: Film, x: float, y: float, heading: float, snap: float, style: int, density: float
) -> None:
    """A pad of gel and foam with a solid snap, a ring, or a sprung clip."""
    film.disc(x, y, 3.6 * snap, 0.020).disc(x, y, 2.1 * snap, 0.035)
    if style == 0:
        film.disc(x, y, snap, 0.75 * density).disc(x, y, 0.5 * snap, 0.5 * density)
    elif style == 1:
        film.wire(circle(x, y, snap - 2.2), 2.2, 0.42 * density).disc(
            x, y, 0.38 * snap, 0.7 * density
        )
    else:
        jaw = placed([(-0.5 * snap, -2.5), (0.9 * snap, -3), (1.1 * snap, 2), (0.2 * snap, 3.2),
                      (0.4 * snap, -0.5), (-0.5 * snap, 1.0)], x, y, heading)  # fmt: skip
        film.wire(course(jaw, 40), 1.7, 0.7 * density).disc(x, y, 0.5 * snap, 0.7 * density)


def external_cable(rng: np.random.Generator, a: Anatomy) -> Device:
    """A cable or hose of 3 to 6 mm, two lines, that crosses shoulder, arm and lung."""
    film, loading, side = Film(a.frame), faintness(rng), int(rng.choice((-1, 1)))
    outer, hose = rng.uniform(3.2, 6.0), rng.random() < 0.4
    path = _cable_course(rng, a, side)
    if hose:
        film.tube(path, outer, 0.6 * outer, loading * 0.11)
    else:
        core = rng.uniform(1.0, 1.3)
        film.wire(path, outer, 0.7 * PLAIN_POLYMER)
        for offset in (-0.5 * (outer - core), 0.5 * (outer - core)):
            film.wire(path, core, loading * COPPER * 0.8, offset)
    return film.device()


def _cable_course(rng: np.random.Generator, a: Anatomy, side: int) -> Path:
    w, sway = a.half_thorax, rng.normal(0, 12, (3, 2))
    way = rng.random()
    if way < 0.45:  # over the shoulder, across the upper lung, out over the arm
        points = [(side * (w + rng.uniform(-30, 40)), -40),
                  (side * (w - 8), a.shoulder_y - 15),
                  (side * 0.52 * w, a.apex_y + 96), (side * 0.74 * w, a.apex_y + 178),
                  (side * (w + 30), a.apex_y + 205),
                  (side * (w + 130), a.apex_y + 150)]  # fmt: skip
    elif way < 0.75:  # from the arm across both lungs
        points = [(side * (w + 130), a.shoulder_y + rng.uniform(0, 80)), (side * (w + 20), 150),
                  (side * 0.45 * w, 196), (-side * 0.45 * w, 170), (-side * (w + 10), 96),
                  (-side * (w + 90), rng.uniform(-20, 60))]  # fmt: skip
    else:  # from the shoulder down over the lung and the abdomen
        points = [(side * (w + 120), rng.uniform(10, 60)), (side * (w + 18), a.shoulder_y + 18),
                  (side * 0.72 * w, 176), (side * 0.46 * w, 270),
                  (side * rng.uniform(0.1, 0.6) * w, 450)]  # fmt: skip
    path = np.array(points)
    path[1:4] += sway
    return course(path, 128)
