"""Focal signs: plates and wedges of collapsed lung, nodules and masses."""

import numpy as np
from numpy.typing import NDArray

from prismlib.cohorts.phantom.canvas import Canvas, Map, smooth_curve
from prismlib.cohorts.phantom.findings.sign import (
    SOFT_TISSUE,
    Sign,
    make_sign,
    nothing,
    ramp,
    side_name,
    sides_of,
    together,
    window,
)
from prismlib.cohorts.phantom.findings.thorax import RIGHT, Hemithorax, Thorax
from prismlib.cohorts.phantom.subject import Subject


def draw_atelectasis(subject: Subject, thorax: Thorax, severity: float) -> Sign:
    """One to three basal plates, from severity 0.45 also a wedge of collapsed lobe.

    Lobes lose volume but diaphragm, fissures and mediastinum stay where they are, so that the
    truth of an intervention stays local.
    """
    share = nothing()
    for side, amount in sides_of(subject, "Atelectasis", severity):
        half = thorax.half(side)
        rng = subject.stream(f"Atelectasis {side_name(side)}")
        plates, wedge = _plates(half, amount, rng), _wedge(half, amount, rng)
        share += together(plates, wedge) * half.room
    return make_sign(share, SOFT_TISSUE)


def _plates(half: Hemithorax, amount: float, rng: np.random.Generator) -> Map:
    """Bands of 2-6 mm, nearly horizontal, above the dome."""
    canvas = Canvas(half.a.frame)
    across = rng.uniform(0.42, 0.60) if half.side == RIGHT else rng.uniform(0.60, 0.76)
    down, count = rng.uniform(0.80, 0.92), rng.integers(1, 4)
    down = down - 0.05 * (half.side != RIGHT)
    for number in range(3):
        offset, sag = rng.normal(0, (0.10, 0.02)), rng.normal(0, 3.0)
        x, y = half.at(across + offset[0], down - 0.085 * number + offset[1])
        length, slope = rng.uniform(30, 72), half.side * rng.normal(0.10, 0.22)
        part = ramp(amount, 0.22 * number - 0.25, 0.22 * number + 0.35) * (number < count)
        curve = _plate_axis(x, y, length * (0.45 + 0.55 * amount), slope, sag)
        strength = part * (1 - 0.3 * number * rng.random())
        canvas.polygon(_tapered(curve, 1.6 + 4.0 * amount * rng.uniform(0.5, 1.0)), strength)
    return (0.03 + 0.38 * amount) * canvas.map(1.1)


def _plate_axis(x: float, y: float, length: float, slope: float, sag: float) -> NDArray:
    reach, rise = 0.5 * length, 0.5 * length * slope
    return smooth_curve([(x - reach, y - rise), (x, y + sag), (x + reach, y + rise)], 16)


def _tapered(axis: NDArray[np.floating], width: float) -> NDArray[np.floating]:
    """An outline around an axis, widest in its middle."""
    half = 0.5 * width * (0.35 + 0.65 * np.sin(np.linspace(0, np.pi, len(axis))))
    across = np.stack([np.zeros_like(half), half], axis=1)
    return np.vstack([axis - across, (axis + across)[::-1]])


def _wedge(half: Hemithorax, amount: float, rng: np.random.Generator) -> Map:
    """A triangle with its tip at the hilum and its base on the diaphragm, beside the heart."""
    x0, y0 = half.hilum
    width, tip = rng.uniform(0.34, 0.46), rng.uniform(46, 72)
    width = width + 0.18 * (half.side != RIGHT)
    outer_x, _ = half.at(0.12 + width, 0.9)
    inner_x, _ = half.at(0.0, 0.9)
    base = half.dome_y + 10
    bow = half.side * rng.uniform(2, 8)
    middle = (0.5 * (x0 + outer_x) - bow, 0.5 * (y0 + tip + base) + 6)
    edge = smooth_curve([(x0, y0 + tip), middle, (outer_x, base)], 16)
    outline = np.vstack([edge, [(inner_x, base), (inner_x, y0 + tip + 14)]])
    return 0.62 * ramp(amount, 0.40, 0.95) * Canvas(half.a.frame).polygon(outline).map(1.4)


def draw_lesion(subject: Subject, thorax: Thorax, severity: float) -> Sign:
    """A nodule or mass, at times with smaller ones: 8 mm at severity 0.1, 27 at 0.55, 58 at 1.

    Place and shape are the patient's, the same in every study.
    """
    share = nothing()
    for side, amount in sides_of(subject, "Lung Lesion", severity):
        half = thorax.half(side)
        rng = subject.patient_stream(f"Lung Lesion {side_name(side)}")
        several = rng.random() < 0.3
        taken = _nodule(half, amount, rng, 1.0)
        for number in range(3 if several else 0):
            extra = _nodule(half, amount * ramp(amount, 0.1 * number, 0.4), rng, 0.6)
            taken = together(taken, extra)
        share += taken * half.room
    return make_sign(share, SOFT_TISSUE)


def _nodule(half: Hemithorax, amount: float, rng: np.random.Generator, size: float) -> Map:
    """Share of the lung's depth that a ball of soft tissue takes, with strands in four of ten."""
    across, down = rng.uniform(0.25, 0.82), rng.uniform(0.14, 0.92)
    beside_heart = 0.25 * ramp(down, 0.45, 0.7) * (half.side != RIGHT)
    centre = half.at(across + beside_heart * (1 - across), down)
    factor, spiculated = rng.lognormal(0, 0.2), rng.random() < 0.4
    waves, angles = rng.normal(0, 1, 6), rng.uniform(0, 2 * np.pi, 22)
    lengths = rng.uniform(0.25, 1, 22)
    radius = size * factor * (2 + 18 * amount + 9 * amount**3)
    shape = _round_shadow(half, centre, radius, waves, 0.05 if spiculated else 0.03)
    if spiculated:
        shape = np.maximum(shape, 0.5 * _spicules(half, centre, radius, angles, lengths))
    chord = 2 * radius / 10 / half.a.chest_depth_cm
    return np.clip(1.5 * chord * shape, 0, 0.9)


def _round_shadow(half: Hemithorax, centre, radius: float, waves: NDArray, rough: float) -> Map:
    """The chord through a ball with an uneven surface, 1 in its middle."""
    where = window(half.a.frame, centre, 1.4 * radius + 3)
    x, y = (axis[where] for axis in np.broadcast_arrays(*half.a.frame.grid))
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    angle, uneven = np.arctan2(y, x), np.ones_like(x)
    for number, wave in enumerate(waves):
        weight = rough * wave / (1 + 0.4 * number)
        uneven += np.float32(weight) * np.sin((number + 2) * angle + np.float32(5 * wave))
    distance = np.hypot(x, y) / (np.float32(radius) * np.clip(uneven, 0.7, 1.35))
    soft, shadow = 2.0 / radius, nothing()
    edge = 1 - ramp(distance, 1 - soft, 1 + soft)
    shadow[where] = np.sqrt(np.clip(1 - distance**2, 0, 1)) * edge
    return shadow


def _spicules(half: Hemithorax, centre, radius: float, angles: NDArray, lengths: NDArray) -> Map:
    """Fine strands that radiate into the lung."""
    canvas = Canvas(half.a.frame)
    for angle, length in zip(angles, lengths, strict=True):
        way = np.array([np.cos(angle), np.sin(angle)])
        near, far = (centre + r * radius * way for r in (0.8, 1.05 + 0.5 * length))
        canvas.curve([near, far], 0.9, 0.8)
    return canvas.map(0.5)
