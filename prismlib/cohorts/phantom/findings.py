"""Disease, as material put in place of lung: each sign follows its severity continuously.

An upright (PA) effusion fills the lower lung to a concave meniscus, higher at the side; lying down
(AP) it spreads as a veil that fades upwards. Opacities are clouds of consolidated lung.
"""

import numpy as np
from scipy.special import expit

from prismlib.cohorts.phantom.anatomy import Anatomy
from prismlib.cohorts.phantom.canvas import Map
from prismlib.cohorts.phantom.subject import Subject


def effusion_fraction(subject: Subject, a: Anatomy, right: Map, left: Map) -> Map:
    """Share of the lung's depth that fluid takes, in [0, 1]."""
    severity = subject.severity["Pleural Effusion"]
    fraction = np.zeros_like(right)
    if severity == 0:
        return fraction
    for side, lung in ((-1, right), (1, left)):
        amount = severity * _share_of_side(subject, side)
        if amount > 0.03:
            level = _veil if subject.ap else _meniscus
            fraction += level(a, side, amount) * lung
    return np.clip(fraction, 0, 1)


def _share_of_side(subject: Subject, side: int) -> float:
    """One side alone in half of the subjects; the two differ in the others."""
    rng = subject.stream("effusion side")
    kind, first, other = rng.random(), 1.0, rng.uniform(0.3, 0.9)
    if kind < 0.28:
        return first if side < 0 else 0.0
    if kind < 0.52:
        return first if side > 0 else 0.0
    return first if (kind < 0.76) == (side < 0) else other


def _base(a: Anatomy, side: int) -> float:
    return a.recess_y + (0 if side < 0 else 4)


def _meniscus(a: Anatomy, side: int, amount: float) -> Map:
    """Fluid under a curve that rises towards the chest wall; the border is sharp."""
    x, y = a.frame.grid
    lateral = np.clip(side * (x - a.shift) / a.half_thorax, 0, 1)
    height = 30 + 165 * amount**1.2
    surface = _base(a, side) - height * (0.55 + 0.45 * lateral**2.5) - 26 * amount * lateral**6
    opaque = 0.55 + 0.45 * np.clip((y - surface) / 35, 0, 1)
    return (opaque * expit((y - surface) / 1.6)).astype(np.float32)


def _veil(a: Anatomy, side: int, amount: float) -> Map:
    """Fluid layered behind the lung: denser below, without a border, the angle blunted."""
    x, y = a.frame.grid
    lateral = np.clip(side * (x - a.shift) / a.half_thorax, 0, 1)
    reach = 60 + 170 * amount
    veil = np.clip((y - (_base(a, side) - reach)) / reach, 0, 1) ** 1.3
    blunt = expit((y - (_base(a, side) - 26 - 70 * amount * lateral**1.5)) / 5)
    return ((0.25 + 0.45 * amount) * veil + (0.3 + 0.2 * amount) * blunt).astype(np.float32)


def opacity_fraction(subject: Subject, a: Anatomy, lung: Map) -> Map:
    """Share of the lung's depth that is consolidated, in [0, 1]: one to three patchy clouds."""
    severity = subject.severity["Lung Opacity"]
    if severity == 0:
        return np.zeros_like(lung)
    rng = subject.stream("opacity")
    x, y = a.frame.grid
    cloud = np.zeros_like(lung)
    for _ in range(rng.integers(1, 4)):
        side = rng.choice((-1, 1))
        x0 = side * rng.uniform(0.35, 0.8) * a.half_thorax + a.shift
        y0 = rng.uniform(a.apex_y + 60, a.dome_right_y - 15)
        radius = rng.uniform(22, 38) * (0.75 + 0.6 * severity)
        cloud += np.exp(-(((x - x0) / radius) ** 2 + ((y - y0) / (0.9 * radius)) ** 2))
    texture = a.frame.soften(rng.standard_normal(lung.shape).astype(np.float32), 4.0)
    texture = np.clip(1 + 0.3 * texture / texture.std(), 0.5, 1.6)
    return np.clip((0.10 + 0.26 * severity) * cloud * texture, 0, 0.85) * lung
