"""The body of one subject: outlines in millimetres and the thickness of what the beam crosses.

Widths follow published means (thorax 297 and 271 mm, cardiothoracic ratio 0.466 and 0.478 for men
and women); the AP view magnifies the heart and stands for a shallower inspiration.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from prismlib.cohorts.phantom.canvas import Canvas, Frame, Map, smooth_curve, smooth_outline
from prismlib.cohorts.phantom.subject import Subject

Outline = NDArray[np.floating]


@dataclass(frozen=True)
class Anatomy:
    """Shape parameters of one subject, in millimetres; what no intervention changes."""

    frame: Frame
    half_thorax: float
    apex_y: float
    dome_right_y: float
    dome_left_y: float
    recess_y: float
    shift: float
    ctr: float
    carina_y: float
    body_depth_cm: float


def sample_anatomy(subject: Subject) -> Anatomy:
    """Draw the subject's shape from its own stream."""
    rng = subject.stream("anatomy")
    z = rng.standard_normal(10)
    half = (148.5 if subject.male else 135.5) * (1 + 0.05 * z[0]) + 3 * subject.habitus
    inspiration = 9 * z[1] - (14 if subject.ap else 0)
    dome = 288 + inspiration + 4 * z[2]
    ctr = (0.452 if subject.male else 0.462) + 0.028 * z[3] + (0.035 if subject.ap else 0.0)
    return Anatomy(
        frame=Frame(),
        half_thorax=float(np.clip(half, 118, 172)),
        apex_y=float(58 + 7 * z[4] - (4 if subject.ap else 0)),
        dome_right_y=float(dome),
        dome_left_y=float(dome + 10 + 3 * z[5]),
        recess_y=float(dome + 44 + 6 * z[6]),
        shift=float(4 * z[7]),
        ctr=float(np.clip(ctr, 0.36, 0.53)),
        carina_y=float(138 + 5 * z[8]),
        body_depth_cm=float(np.clip(21 + 1.8 * subject.habitus + 0.7 * z[9], 16, 28)),
    )


def lung_outline(a: Anatomy, side: int) -> Outline:
    """The outline of a lung; side -1 is the patient's right, +1 the left."""
    w, dome = a.half_thorax, a.dome_right_y if side < 0 else a.dome_left_y
    top, recess = a.apex_y, a.recess_y + (0 if side < 0 else 4)
    points = [
        (0.40 * w, top), (0.64 * w, top + 20), (0.83 * w, top + 60), (0.94 * w, top + 112),
        (0.99 * w, top + 172), (w, recess - 28), (0.985 * w, recess - 6), (0.95 * w, recess - 6),
        (0.80 * w, dome + 12), (0.55 * w, dome), (0.32 * w, dome + 4), (0.13 * w, dome + 16),
        (0.11 * w, dome - 50), (0.13 * w, a.carina_y + 20), (0.15 * w, top + 50),
        (0.22 * w, top + 12),
    ]  # fmt: skip
    return smooth_outline([(side * x + a.shift, y) for x, y in points])


def heart_outline(a: Anatomy, cardiomegaly: float) -> Outline:
    """The heart's outline; severity 1 widens the cardiothoracic ratio by about 0.2."""
    width = 2 * a.half_thorax * (a.ctr + enlargement(cardiomegaly))
    right, left = 0.34 * width, 0.66 * width
    growth = 1 + 0.9 * enlargement(cardiomegaly)
    base, top = a.dome_left_y + 10, a.carina_y + 22
    middle = base - 0.42 * (base - top) * growth
    points = [
        (-0.16 * width, top + 4), (0.10 * width, top - 2),
        (0.30 * width, top + 0.30 * (base - top)), (0.80 * left, middle + 6),
        (left, base - 34), (0.93 * left, base - 8), (0.45 * left, base + 6),
        (-0.30 * right, base + 4), (-0.86 * right, base - 16), (-right, middle + 12),
        (-0.78 * right, middle - 22),
    ]  # fmt: skip
    return smooth_outline([(x + a.shift, y) for x, y in points])


def enlargement(cardiomegaly: float) -> float:
    """What a severity adds to the cardiothoracic ratio."""
    return 0.03 + 0.17 * cardiomegaly if cardiomegaly > 0 else 0.0


def lungs(a: Anatomy) -> tuple[Map, Map]:
    """Coverage of the right and of the left lung."""
    right, left = (Canvas(a.frame).polygon(lung_outline(a, side)).map(0.5) for side in (-1, 1))
    return right, left


def body_thickness(subject: Subject, a: Anatomy) -> Map:
    """Soft tissue in cm if there were no lungs: trunk, shoulders and neck, arms, breasts."""
    x, y = a.frame.grid
    flank = a.half_thorax + 30 + 9 * subject.habitus
    shoulders = expit((95 - y) / 9)
    neck = expit((22 - y) / 7)
    half = flank + shoulders * 62 - neck * (shoulders * 62 + flank - 66)
    trunk = np.sqrt(np.clip(1 - ((x - a.shift * 0.5) / half) ** 2, 0, 1))
    deep = a.body_depth_cm * (0.74 + 0.26 * expit((y - 150) / 50))
    thickness = deep * trunk**0.65
    if subject.stream("arms").random() < 0.35:
        thickness = thickness + _arms(a)
    return (thickness + _breasts(subject, a)).astype(np.float32)


def _arms(a: Anatomy) -> Map:
    canvas = Canvas(a.frame)
    for side in (-1, 1):
        x = side * (a.half_thorax + 58)
        canvas.curve([(x, 60), (x + side * 6, 430)], 62)
    return 6.0 * canvas.map(7.0)


def _breasts(subject: Subject, a: Anatomy) -> Map:
    """Two rounded shadows over the lower zones, larger in women."""
    rng = subject.stream("breasts")
    size = rng.uniform(0.4, 1.6) * (0.3 if subject.male else 1.0) * (1 + 0.15 * subject.habitus)
    x, y = a.frame.grid
    shadow = np.zeros_like(x)
    for side in (-1, 1):
        r = np.hypot((x - side * 0.56 * a.half_thorax) / 62, (y - a.dome_right_y + 22) / 60)
        shadow += np.clip(1 - r**2, 0, 1) ** 0.7 * expit((y - a.dome_right_y + 40) / 22)
    return 2.2 * size * shadow


def bones(subject: Subject, a: Anatomy) -> Map:
    """Bone in cm of cortical equivalent: ribs, clavicles, scapulae, spine."""
    return _ribs(subject, a) + _clavicles(subject, a) + _scapulae(a) + _spine(subject, a)


def _ribs(subject: Subject, a: Anatomy) -> Map:
    rng = subject.stream("ribs")
    posterior, anterior = Canvas(a.frame), Canvas(a.frame)
    spacing = (a.recess_y - a.apex_y + 30) / 10.3 * (1 + 0.02 * rng.standard_normal())
    tilt = rng.normal(0, 2.0)
    for number in range(12):
        y = a.apex_y - 6 + spacing * number * 0.93
        reach = a.half_thorax * min(0.55 + 0.16 * number, 1.0) * (1.0 if number < 9 else 0.9)
        width = rng.normal(10.5, 0.6)
        for side in (-1, 1):
            _posterior_rib(posterior, a, side, y + side * tilt, reach, spacing, width)
            if number < 8:
                _anterior_rib(anterior, a, side, y + side * tilt, reach, spacing, width)
    return 0.85 * posterior.map(0.7) + 0.42 * anterior.map(1.2)


def _stroke_bone(canvas: Canvas, points: Outline, width: float) -> None:
    """Cortex brighter than marrow: a full stroke, then a fainter one inside it."""
    canvas.curve(points, width, 1.0).curve(points, width - 3.2, 0.62)


def _posterior_rib(canvas, a, side, y, reach, spacing, width):
    control = [
        (16, y + 2), (0.30 * reach, y - 0.18 * spacing), (0.62 * reach, y + 0.18 * spacing),
        (0.88 * reach, y + 0.85 * spacing), (reach, y + 1.7 * spacing),
    ]  # fmt: skip
    points = smooth_curve([(side * px + a.shift, py) for px, py in control])
    _stroke_bone(canvas, points, width)


def _anterior_rib(canvas, a, side, y, reach, spacing, width):
    control = [
        (reach, y + 1.7 * spacing), (0.93 * reach, y + 2.5 * spacing),
        (0.72 * reach, y + 3.15 * spacing), (0.46 * reach, y + 3.5 * spacing),
    ]  # fmt: skip
    points = smooth_curve([(side * px + a.shift, py) for px, py in control])
    _stroke_bone(canvas, points, width + 1.5)


def _clavicles(subject: Subject, a: Anatomy) -> Map:
    rng = subject.stream("clavicles")
    lift = rng.normal(0, 6) + (-8 if subject.ap else 0)
    canvas = Canvas(a.frame)
    for side in (-1, 1):
        y = a.apex_y + 30 + rng.normal(0, 3)
        control = [(16, y + 6), (55, y + 4), (100, y - 14 + lift), (158, y - 20 + lift)]
        points = smooth_curve([(side * px + 1.3 * a.shift, py) for px, py in control])
        _stroke_bone(canvas, points, 12.0)
    return 1.0 * canvas.map(0.7)


def _scapulae(a: Anatomy) -> Map:
    canvas = Canvas(a.frame)
    for side in (-1, 1):
        w = a.half_thorax
        control = [(0.82 * w, 92), (w + 14, 84), (w + 20, 150), (0.97 * w, 226), (0.86 * w, 190)]
        canvas.polygon(smooth_outline([(side * px, py) for px, py in control]))
        canvas.disc(side * (w + 44), 88, 48)
    return 0.75 * canvas.map(1.6)


def _spine(subject: Subject, a: Anatomy) -> Map:
    rng = subject.stream("spine")
    canvas, pedicles = Canvas(a.frame), Canvas(a.frame)
    bend, pitch = rng.normal(0, 3.5), rng.normal(22.5, 0.8)
    for number in range(20):
        y = 8 + pitch * number
        x = a.shift * 0.5 + bend * np.sin(number / 20 * np.pi * 1.4)
        half = 15 + 0.35 * number
        box = [(x - half, y - 9), (x + half, y - 9), (x + half - 1, y + 9), (x - half + 1, y + 9)]
        canvas.polygon(box, 1.0).polygon([(px, py * 0.72 + y * 0.28) for px, py in box], 0.78)
        pedicles.disc(x - half + 6, y, 8).disc(x + half - 6, y, 8).disc(x, y + 3, 6, 0.8)
    return 0.75 * canvas.map(0.9) + 0.35 * pedicles.map(0.9)


def airways(a: Anatomy) -> Map:
    """Air in cm that the trachea and the main bronchi put in place of soft tissue."""
    canvas = Canvas(a.frame)
    x = a.shift * 1.2
    canvas.curve([(x, -5), (x + 1, 60), (x + 2, a.carina_y)], 17)
    canvas.curve([(x + 2, a.carina_y - 3), (x - 30, a.carina_y + 34)], 11, 0.8)
    canvas.curve([(x + 2, a.carina_y - 3), (x + 42, a.carina_y + 30)], 10, 0.8)
    return 2.4 * canvas.map(1.3)


def vessels(subject: Subject, a: Anatomy) -> Map:
    """Blood in cm: hila and vessels that branch and taper towards the pleura."""
    rng = subject.stream("vessels")
    canvas = Canvas(a.frame)
    for side in (-1, 1):
        root = (side * 0.20 * a.half_thorax + a.shift, a.carina_y + 26 - (8 if side > 0 else 0))
        for angle in np.linspace(-1.25, 1.35, 9) + rng.normal(0, 0.12, 9):
            _branch(canvas, rng, root, side, angle, 6.5, 4)
    return canvas.map(0.9)


def _branch(canvas, rng, start, side, angle, width, generations):
    length = rng.uniform(22, 38)
    end = (start[0] + side * length * np.cos(angle), start[1] + length * np.sin(angle))
    canvas.curve([start, end], width, 0.30 + 0.1 * width)
    if generations:
        for turn in (rng.normal(0.35, 0.12), rng.normal(-0.35, 0.12)):
            _branch(canvas, rng, end, side, angle + turn, width * 0.66, generations - 1)


def mediastinum(a: Anatomy, aortic: float) -> Map:
    """Coverage of the great vessels: a band with the aortic knob on the left."""
    top, base, s = a.apex_y - 40, a.carina_y + 60, a.shift
    knob = 36 + 7 * float(np.clip(aortic, -1.5, 1.5))
    points = [
        (-30 + s, top), (30 + s, top), (31 + s, a.carina_y - 42), (knob + s, a.carina_y - 24),
        (knob - 2 + s, a.carina_y - 6), (34 + s, a.carina_y + 12), (40 + s, base),
        (-36 + s, base), (-33 + s, a.carina_y), (-30 + s, a.carina_y - 50),
    ]  # fmt: skip
    return Canvas(a.frame).polygon(smooth_outline(points)).map(1.8)


def stomach_bubble(subject: Subject, a: Anatomy) -> Map:
    """Air in cm under the left dome, in most subjects."""
    rng = subject.stream("stomach")
    if rng.random() < 0.4:
        return np.zeros((512, 512), np.float32)
    x0, y0 = 0.50 * a.half_thorax + rng.normal(0, 8), a.dome_left_y + 32 + rng.normal(0, 4)
    x, y = a.frame.grid
    r = np.hypot((x - x0) / rng.uniform(18, 34), (y - y0) / rng.uniform(10, 18))
    return 3.0 * a.frame.soften(np.clip(1 - r**2, 0, 1).astype(np.float32), 1.5)


def lung_depth(right: Map, left: Map, a: Anatomy) -> Map:
    """Lung in cm along the beam: rounded, deepest centrally."""
    return (a.frame.depth(right, 75) + a.frame.depth(left, 75)) * (a.body_depth_cm - 6.0)
