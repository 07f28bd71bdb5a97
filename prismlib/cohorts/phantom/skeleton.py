"""Bones: ribs with posterior and anterior arcs, clavicles, scapulae, arms and the spine.

Each map is bone in cm of cortical equivalent along the beam: a shell that is denser at its edges.
"""

from dataclasses import dataclass

import numpy as np

from prismlib.cohorts.phantom.anatomy import Anatomy, Outline, wall_x
from prismlib.cohorts.phantom.canvas import Canvas, Map, smooth_curve, smooth_outline
from prismlib.cohorts.phantom.subject import Subject


@dataclass(frozen=True)
class Rib:
    """One arc of one rib: number 1 to 12, side -1 (the patient's right) or +1, its course in mm."""

    number: int
    side: int
    arc: str
    path: Outline
    width_mm: float


def rib_paths(subject: Subject, a: Anatomy) -> list[Rib]:
    """All arcs: twelve posterior ribs and eight anterior ones a side."""
    rng = subject.patient_stream("ribs")
    jitter, widths = rng.normal(0, 0.045, 12), rng.normal(0, 0.5, 12)
    tilt, slope = rng.normal(0, 1.5), 1 + 0.10 * rng.standard_normal()
    slope *= 0.92 if subject.ap else 1.05
    ribs = []
    for number in range(1, 13):
        width = 9.0 + 0.25 * min(number, 7) + widths[number - 1]
        for side in (-1, 1):
            start = a.apex_y - 6 + a.rib_spacing * (number - 1 + jitter[number - 1]) + side * tilt
            posterior, end = _posterior(a, side, number, start, slope)
            ribs.append(Rib(number, side, "posterior", posterior, width))
            if number <= 8:
                anterior = _anterior(a, side, number, end, slope)
                ribs.append(Rib(number, side, "anterior", anterior, width + 1.5))
    return ribs


def _posterior(a: Anatomy, side: int, number: int, y: float, slope: float):
    """From the spine outwards, rising a little, then down to the side wall; and where it ends."""
    spacing = a.rib_spacing
    drop = spacing * slope * np.interp(number, [1, 2, 4, 7, 12], [0.9, 1.35, 1.9, 2.3, 2.2])
    reach = float(wall_x(a, side, y + drop)) + 3.0
    if number == 1:
        reach = min(reach, 0.60 * a.half_thorax)
    if number > 10:
        reach *= 0.86 - 0.16 * (number - 11)
    control = [
        (15, y + 1), (0.28 * reach, y - 0.10 * spacing), (0.58 * reach, y + 0.13 * drop),
        (0.82 * reach, y + 0.45 * drop), (0.955 * reach, y + 0.78 * drop), (reach, y + drop),
    ]  # fmt: skip
    points = smooth_curve([(side * px, py) for px, py in control])
    return points + np.array([0.2 * a.shift, 0]), (reach, y + drop)


def _anterior(a: Anatomy, side: int, number: int, start, slope: float) -> Outline:
    """From the side wall down and towards the middle, to the costal cartilage."""
    reach, y = start
    spacing = a.rib_spacing * slope
    fall = spacing * np.interp(number, [1, 2, 4, 8], [0.5, 1.25, 2.1, 2.6])
    stop = np.interp(number, [1, 2, 5, 8], [0.34, 0.36, 0.46, 0.66]) * reach
    control = [
        (reach, y), (reach * 0.985, y + 0.20 * fall), (0.90 * reach, y + 0.52 * fall),
        (0.5 * (0.86 * reach + stop), y + 0.83 * fall), (stop, y + fall),
    ]  # fmt: skip
    points = smooth_curve([(side * px, py) for px, py in control])
    return points + np.array([0.7 * a.shift, 0])


def bones(subject: Subject, a: Anatomy) -> Map:
    """All bone, (512, 512), in cm."""
    density = 1.0 - 0.0045 * max(subject.age - 40, 0) + (0.06 if subject.male else -0.04)
    total = _ribs(subject, a) + _shoulders(subject, a) + _spine(subject, a)
    return np.float32(density) * total


def _ribs(subject: Subject, a: Anatomy) -> Map:
    posterior, anterior = Canvas(a.frame), Canvas(a.frame)
    for rib in rib_paths(subject, a):
        canvas = posterior if rib.arc == "posterior" else anterior
        _shell(canvas, rib.path, rib.width_mm, 2.2, 0.58)
    return np.float32(0.50) * posterior.map() + np.float32(0.36) * anterior.map()


def _shell(canvas: Canvas, points: Outline, width: float, cortex: float, inner: float) -> None:
    """A bone seen from the side: cortex at both edges, marrow between."""
    canvas.curve(points, width, 0.62).curve(points, width - 0.4 * cortex, 1.0)
    canvas.curve(points, width - 1.4 * cortex, 0.75).curve(points, width - 2 * cortex, inner)


def _shoulders(subject: Subject, a: Anatomy) -> Map:
    """Clavicles, scapulae and humeri; on PA films the scapulae are turned out of the lungs."""
    rng = subject.stream("shoulders")
    lift, turn = rng.normal(0, 4, 2), rng.normal(0, 6, 2)
    blades, long_bones, clavicles = Canvas(a.frame), Canvas(a.frame), Canvas(a.frame)
    for index, side in enumerate((-1, 1)):
        sx, sy = a.shoulder_x, a.shoulder_y + lift[index]
        out = (0.045 if subject.ap else 0.12) * a.half_thorax + turn[index]
        _scapula(blades, a, side, sx, sy, out)
        _clavicle(clavicles, a, side, sx, sy)
        _humerus(long_bones, a, side, sx, sy, subject.ap)
    return (
        np.float32(0.42) * blades.map()
        + np.float32(0.62) * long_bones.map()
        + np.float32(0.50) * clavicles.map()
    )


def _scapula(canvas: Canvas, a: Anatomy, side: int, sx: float, sy: float, out: float) -> None:
    inferior = (0.80 * a.half_thorax + out, a.apex_y + 148)
    upper = (0.66 * a.half_thorax + out, sy - 6)
    blade = [upper, (sx - 34, sy - 6), (sx - 20, sy + 6), (sx - 24, sy + 26),
             (inferior[0] + 15, inferior[1] - 46), inferior,
             (0.68 * a.half_thorax + out, inferior[1] - 72)]  # fmt: skip
    outline = smooth_outline([(side * x, y) for x, y in blade])
    canvas.polygon(outline, 0.42)
    closed = np.vstack([outline, outline[:1]])
    canvas.curve(closed[50:130], 3.4, 1.0).curve(closed[:40], 2.0, 0.8)
    spine = smooth_curve([(side * upper[0], upper[1] + 22), (side * (sx - 34), sy - 8),
                          (side * (sx + 2), sy - 25)])  # fmt: skip
    canvas.curve(spine, 6.5, 0.85).curve(spine, 3.5, 0.55)
    canvas.disc(side * (sx - 22), sy - 10, 11, 0.7).disc(side * (sx - 24), sy + 4, 13, 0.55)


def _clavicle(canvas: Canvas, a: Anatomy, side: int, sx: float, sy: float) -> None:
    y = a.apex_y + 26
    control = [
        (15, y + 5), (40, y + 4), (0.42 * sx + 12, 0.55 * y + 0.45 * sy - 6),
        (0.72 * sx, sy - 19), (sx - 12, sy - 26),
    ]  # fmt: skip
    points = smooth_curve([(side * px + 1.1 * a.shift, py) for px, py in control])
    canvas.curve(points[:6], 17, 0.5)
    _shell(canvas, points, 12.5, 2.8, 0.55)


def _humerus(canvas: Canvas, a: Anatomy, side: int, sx: float, sy: float, ap: bool) -> None:
    elbow = (sx + (16 if ap else 62), sy + 270)
    shaft = smooth_curve([(side * (sx + 4), sy + 14), (side * (sx + 11), sy + 60),
                          (side * elbow[0], elbow[1])])  # fmt: skip
    _shell(canvas, shaft, 23, 5.0, 0.34)
    canvas.disc(side * sx, sy, 46, 0.75).disc(side * sx, sy, 42, 0.5)


def _spine(subject: Subject, a: Anatomy) -> Map:
    """Vertebral bodies with end plates, pedicles and spinous processes."""
    rng = subject.patient_stream("spine")
    canvas, details = Canvas(a.frame), Canvas(a.frame)
    bend, pitch = rng.normal(0, 4.0), a.rib_spacing * rng.normal(0.97, 0.015)
    for number in range(-4, 18):
        y = a.apex_y + pitch * (number + 0.1)
        x = bend * np.sin(number / 18 * np.pi * 1.4)
        half, tall = 14 + 0.32 * number, 0.41 * pitch
        canvas.polygon(_box(x, y, half, tall), 1.0).polygon(_box(x, y, half - 2, tall - 2), 0.7)
        canvas.curve([(x - half - 12, y - 3), (x + half + 12, y - 3)], 6, 0.62)
        for side in (-1, 1):
            details.disc(x + side * (half - 5), y - 2, 8.5, 1.0)
            details.disc(x + side * (half - 5), y - 2, 5.0, 0.5)
        details.curve([(x, y), (x, y + 0.5 * tall)], 4.5, 0.9)
    return np.float32(0.31) * canvas.map() + np.float32(0.19) * details.map()


def _box(x: float, y: float, half: float, tall: float) -> Outline:
    waist = half - 2.2
    return np.array([(x - half, y - tall), (x + half, y - tall), (x + waist, y),
                     (x + half, y + tall), (x - half, y + tall), (x - waist, y)])  # fmt: skip
