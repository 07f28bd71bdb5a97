"""Tubes and lines that enter the body: their courses against the landmarks, and where they end."""

import numpy as np

from prismlib.cohorts.phantom.anatomy import Anatomy
from prismlib.cohorts.phantom.devices.film import (
    FRENCH,
    LOADED_POLYMER,
    PLAIN_POLYMER,
    TITANIUM,
    Device,
    Film,
    Path,
    circle,
    course,
    faintness,
    stretch,
)

Point = tuple[float, float]


def endotracheal_tube(rng: np.random.Generator, a: Anatomy) -> Device:
    """A clear tube of about 10 mm with an opaque stripe; its tip 5 +- 2 cm above the carina."""
    film, loading = Film(a.frame), faintness(rng)
    outer = rng.uniform(9.4, 10.8)
    x = 0.7 * a.shift - 2 + rng.normal(0, 1.5)
    tip = (x + rng.normal(0, 1.2), a.carina_y - float(np.clip(rng.normal(50, 18), 15, 82)))
    lean = rng.normal(0, 5)
    axis = course(
        [(lean, -45), (0.5 * x + 0.35 * lean, 5), (0.4 * tip[0] + 0.6 * x, tip[1] - 22), tip]
    )
    film.tube(axis, outer, outer - rng.uniform(2.4, 3.2), 1.3 * PLAIN_POLYMER)
    stripe = rng.uniform(-0.34, 0.34) * outer
    film.wire(axis, 1.8, 1.4 * loading * LOADED_POLYMER, stripe)
    film.wire(stretch(axis, 5, 0), 1.2, 0.5 * loading * LOADED_POLYMER, -stripe)
    return film.device(tip)


def nasogastric_tube(rng: np.random.Generator, a: Anatomy) -> Device:
    """A tube of 12 to 18 French down the oesophagus, curled in the stomach, a gap near its tip."""
    film, loading = Film(a.frame), faintness(rng)
    outer = rng.uniform(12, 18) * FRENCH
    x, dome = 0.5 * a.shift, a.dome_left_y
    bow = rng.normal(0, 2.5, 5)
    gullet = [(x - 3 + bow[0], -40), (x + 1 + bow[1], 40), (x + 3 + bow[2], a.carina_y - 25),
              (x + 7 + bow[3], a.carina_y + 50), (x + 14 + bow[4], dome - 22),
              (x + 24, dome + 12)]  # fmt: skip
    path = course(gullet + _in_stomach(rng, x, dome), 128)
    film.tube(path, outer, 0.66 * outer, PLAIN_POLYMER)
    hole = rng.uniform(45, 62)
    for part in (path[: _before(path, hole)], stretch(path, hole - rng.uniform(7, 11), 0)):
        film.wire(part, 1.6, 1.35 * loading * LOADED_POLYMER, -0.2 * outer)
    return film.device(path[-1])


def _in_stomach(rng: np.random.Generator, x: float, dome: float) -> list[Point]:
    """Down along the greater curvature and back to the middle, or up into the fundus."""
    reach, drop = rng.uniform(58, 88), rng.uniform(42, 78)
    if rng.random() < 0.6:
        return [(x + reach - 12, dome + drop - 8), (x + reach - 26, dome + drop + 22),
                (x + 14, dome + drop + rng.uniform(18, 34))]  # fmt: skip
    return [(x + 44, dome + 0.8 * drop), (x + reach, dome + 0.75 * drop),
            (x + reach + 8, dome + 22), (x + reach - 14, dome + rng.uniform(9, 16))]  # fmt: skip


def _before(path: Path, from_end: float) -> int:
    """How many points lie farther than `from_end` mm from the path's end."""
    left = np.cumsum(np.hypot(*np.diff(path[::-1], axis=0).T))
    return max(2, len(path) - int(np.searchsorted(left, from_end)) - 1)


def chest_drain(rng: np.random.Generator, a: Anatomy, side: str) -> Device:
    """A drain of 24 to 36 French from the lateral wall to apex or base, on the side given.

    `side` is right, left or both (then either); the stripe breaks off at the last side hole.
    """
    film, loading, either = Film(a.frame), rng.uniform(0.3, 1.0), int(rng.choice((-1, 1)))
    s = {"right": -1, "left": 1}.get(side, either)
    outer, w = rng.uniform(24, 36) * FRENCH, a.half_thorax
    upward = rng.random() < 0.68
    enters = a.apex_y + (rng.uniform(105, 165) if upward else rng.uniform(120, 170))
    dome = a.dome_right_y if s < 0 else a.dome_left_y
    bend = rng.normal(0, 5, 4)
    if upward:
        points = [(s * (w + 62), enters + 62 + bend[0]), (s * (w + 22), enters + 30),
                (s * (w - 6), enters - 8), (s * (0.80 * w + bend[1]), enters - 48),
                (s * (0.62 * w + bend[2]), a.apex_y + 48),
                (s * (0.42 * w + bend[3]), a.apex_y + rng.uniform(14, 34))]  # fmt: skip
    else:
        points = [(s * (w + 70), enters - 18 + 3 * bend[0]), (s * (w + 20), enters - 6),
                (s * (w - 14), enters + 10),
                (s * (0.78 * w + bend[1]), enters + 0.45 * (dome - enters)),
                (s * (0.58 * w + bend[2]), dome - 26),
                (s * (0.30 * w + bend[3]), dome - rng.uniform(2, 20))]  # fmt: skip
    path = course(points, 128)
    film.tube(path, outer, 0.68 * outer, 0.8 * PLAIN_POLYMER)
    hole, side_of_stripe = rng.uniform(70, 110), rng.uniform(-0.25, 0.25) * outer
    for part in (path[: _before(path, hole)], stretch(path, hole - rng.uniform(9, 13), 0)):
        film.wire(part, 2.2, 1.3 * loading * LOADED_POLYMER, side_of_stripe)
    return film.device(path[-1])


def central_line(rng: np.random.Generator, a: Anatomy) -> Device:
    """A catheter of about 7 French by neck, clavicle or arm, its tip in the superior vena cava.

    One in five is a thin peripheral line, one in ten hangs on a port under the skin of the chest.
    """
    film, loading = Film(a.frame), faintness(rng)
    way = rng.choice(("neck", "clavicle", "arm", "port"), p=(0.48, 0.22, 0.20, 0.10))
    left = rng.random() < (0.25 if way == "neck" else 0.45)
    side = 1 if left else -1
    s, bow = 0.4 * a.shift, rng.normal(0, 2.5, 6)
    tip = (-21 + s + 0.8 * bow[0], a.carina_y + rng.uniform(-4, 48))
    join = [(8 + s, a.carina_y - 30 + bow[1]), (-15 + s, a.carina_y - 10)] if left else []
    right = [] if left else [(-24 + s + 0.5 * bow[1], a.carina_y - 32)]
    vein = [(side * 62 + bow[2], a.apex_y + 27 + bow[3]), (side * 39, a.apex_y + 36)]
    diameter = (rng.uniform(4, 5) if way == "arm" else rng.uniform(6.6, 7.6)) * FRENCH
    start = _entry(way, film, rng, a, side, bow)
    middle = [(side * 37, a.apex_y + 14)] if way == "neck" else vein
    path = course([*start, *middle, *join, *right, tip], 128)
    film.wire(path, diameter, loading * LOADED_POLYMER)
    film.wire(stretch(path, 4, 0), diameter, 0.4 * loading * LOADED_POLYMER)
    return film.device(tip)


def _entry(
    way: str, film: Film, rng: np.random.Generator, a: Anatomy, side: int, bow: Path
) -> list[Point]:
    """Where the line comes from, hub or port drawn; the course up to the great veins."""
    if way == "neck":
        x, y = side * (46 + bow[4]), a.apex_y - rng.uniform(28, 48)
        hub = course([(x, y), (x + side * 8, y + 8), (x + side * 24, y + 4)])
        film.wire(hub, 4.5, 1.5 * PLAIN_POLYMER)
        for spread in (-9, 0, 9):
            tail = [
                hub[-1],
                hub[-1] + (side * 16, 4 + spread),
                hub[-1] + (side * 40, 30 + 2 * spread),
            ]
            film.wire(course(tail), 2.2, 2.0 * PLAIN_POLYMER)
        return [(x, y)]
    if way == "clavicle":
        x, y = side * (104 + bow[4]), a.apex_y + 56 + bow[5]
        film.wire(course([(x + side * 16, y + 14), (x, y)]), 4.5, 1.5 * PLAIN_POLYMER)
        return [(x, y)]
    if way == "arm":
        return [(side * (a.shoulder_x + 20), 310), (side * (a.shoulder_x + 8), a.shoulder_y + 95),
                (side * (0.97 * a.half_thorax), a.apex_y + 64 + bow[4])]  # fmt: skip
    x, y = side * (0.62 * a.half_thorax + bow[4]), a.apex_y + 66 + 2 * bow[5]
    size = rng.uniform(25, 30)
    film.disc(x, y, size, 0.12).wire(circle(x, y, size - 2), 2.4, 1.4 * TITANIUM)
    film.wire(circle(x, y, 0.5 * size), 1.8, 1.4 * TITANIUM).disc(x, y, 0.45 * size, 0.25)
    stem = [(x - side * 0.45 * size, y - 5), (x - side * (0.45 * size + 8), y - 14)]
    film.wire(course(stem), 3.0, 1.2 * TITANIUM)
    return stem
