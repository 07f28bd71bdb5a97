"""Support devices: courses and sizes in millimetres, as coverage maps of metal or loaded polymer.

A kind's course comes from a stream of its own, so that switching one on or off moves no other.
"""

from dataclasses import dataclass

import numpy as np

from prismlib.cohorts.phantom.anatomy import Anatomy
from prismlib.cohorts.phantom.canvas import Canvas, Map, smooth_curve, smooth_outline
from prismlib.cohorts.phantom.subject import Subject


@dataclass(frozen=True)
class Device:
    """Optical depth that a device adds (its attenuation times its thickness) and its footprint."""

    optical_depth: Map
    footprint: Map


def draw_device(subject: Subject, a: Anatomy, kind: str) -> Device:
    """Draw one device kind with this subject's course for it."""
    if kind not in _DRAW:
        return _device([(Canvas(a.frame).map(), 0.0)])
    return _DRAW[kind](subject.stream(f"{kind} course"), a)


def _device(parts: list[tuple[Map, float]]) -> Device:
    optical = sum(coverage * depth for coverage, depth in parts)
    footprint = np.maximum.reduce([coverage for coverage, _ in parts])
    return Device(np.asarray(optical, np.float32), footprint)


def _pacemaker(rng: np.random.Generator, a: Anatomy) -> Device:
    """A can of about 51 x 42 mm, usually left pectoral, with one to three leads to the heart."""
    side = 1 if rng.random() < 0.88 else -1
    x, y = side * (0.66 * a.half_thorax + rng.normal(0, 6)), a.apex_y + 52 + rng.normal(0, 7)
    size, turn = rng.uniform(0.88, 1.1), side * rng.normal(0.25, 0.15)
    box = [(-25, -12), (-20, -20), (0, -22), (20, -20), (25, -10), (24, 12), (14, 21), (0, 22),
           (-14, 21), (-24, 12)]  # fmt: skip
    spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = smooth_outline(np.array(box) * size @ spin + (x, y))
    can = Canvas(a.frame).polygon(points).map()
    inner = Canvas(a.frame).polygon((points - (x, y)) * 0.82 + (x, y)).map(0.4)
    leads = Canvas(a.frame)
    for target in _lead_targets(rng, a)[: rng.integers(1, 4)]:
        bow = rng.normal(0, 4)
        path = [(x - side * 6, y - 20), (side * 46, a.apex_y + 22 + bow), (-14, a.carina_y - 14),
                (-24 + a.shift, a.carina_y + 30), target]  # fmt: skip
        leads.curve(smooth_curve(path), 2.5)
        leads.curve([target, (target[0] + 4, target[1] + 1)], 3.6)
    return _device([(can, 0.95), (inner, 0.55), (leads.map(0.3), 0.75)])


def _lead_targets(rng: np.random.Generator, a: Anatomy) -> list[tuple[float, float]]:
    jitter = rng.normal(0, 4, (3, 2))
    ventricle = (44 + a.shift, a.dome_left_y - 14)
    atrium = (-30 + a.shift, a.carina_y + 86)
    sinus = (62 + a.shift, a.carina_y + 92)
    return [(x + dx, y + dy) for (x, y), (dx, dy) in zip((ventricle, atrium, sinus), jitter,
                                                        strict=True)]  # fmt: skip


def _central_line(rng: np.random.Generator, a: Anatomy) -> Device:
    """A 7 French catheter from the neck or under the clavicle into the superior vena cava."""
    tip = (-20 + a.shift + rng.normal(0, 3), a.carina_y + rng.uniform(5, 45))
    entry = rng.choice(3, p=(0.55, 0.25, 0.2))
    if entry == 0:
        path = [(-44 + rng.normal(0, 5), 4), (-34, 40), (-22 + a.shift, a.carina_y - 34), tip]
    else:
        side = -1 if entry == 1 else 1
        y = a.apex_y + 20 + rng.normal(0, 5)
        path = [(side * 128, y + 34), (side * 84, y + 8), (side * 40, y + 14),
                (-14 + a.shift, a.carina_y - 24), tip]  # fmt: skip
    line = Canvas(a.frame).curve(smooth_curve(path), 2.6).map(0.3)
    return _device([(line, 0.62)])


def _endotracheal_tube(rng: np.random.Generator, a: Anatomy) -> Device:
    """A tube of 10 mm in the trachea: faint walls and a dense stripe; tip 5 +- 2 cm up."""
    tip = a.carina_y - np.clip(rng.normal(45, 14), 12, 75)
    x, lean = a.shift * 1.2, rng.normal(0, 1.5)
    axis = smooth_curve([(x + lean, -5), (x + 1, 40), (x + 1, tip)])
    walls = Canvas(a.frame).curve(axis, 10.5, 1.0).curve(axis, 7.5, 0.3).map(0.3)
    stripe = Canvas(a.frame).curve(axis + np.array([2.6, 0]), 1.6).map(0.25)
    return _device([(walls, 0.20), (stripe, 0.75)])


def _ecg_leads(rng: np.random.Generator, a: Anatomy) -> Device:
    """Three to five electrodes with snaps, and their wires to the edge of the field."""
    sites = [(-0.62, 0.20), (0.62, 0.20), (-0.78, 0.95), (0.80, 0.92), (0.28, 0.70)]
    snaps, rings, wires = Canvas(a.frame), Canvas(a.frame), Canvas(a.frame)
    height = a.dome_right_y - a.apex_y
    hub = (rng.choice((-1, 1)) * rng.uniform(60, 150), 425)
    for fx, fy in sites[: rng.integers(3, 6)]:
        x = fx * a.half_thorax + rng.normal(0, 8)
        y = a.apex_y + fy * height + rng.normal(0, 8)
        rings.disc(x, y, 15)
        snaps.disc(x, y, rng.uniform(7, 9.5))
        middle = ((x + hub[0]) / 2 + rng.normal(0, 26), (y + hub[1]) / 2 + rng.normal(0, 18))
        bend = (x + rng.normal(0, 14), y + 0.2 * (hub[1] - y))
        wires.curve(smooth_curve([(x, y), bend, middle, hub]), 1.7)
    return _device([(rings.map(0.5), 0.10), (snaps.map(0.3), 0.95), (wires.map(0.25), 0.75)])


_DRAW = {
    "pacemaker": _pacemaker,
    "central_line": _central_line,
    "endotracheal_tube": _endotracheal_tube,
    "ecg_leads": _ecg_leads,
}
