"""What a patient keeps from study to study: pacemaker, sternal wires, clips, a new shoulder."""

import numpy as np
from numpy.typing import ArrayLike

from prismlib.cohorts.phantom.anatomy import Anatomy, heart_outline
from prismlib.cohorts.phantom.devices.film import (
    STEEL,
    TITANIUM,
    Device,
    Film,
    Path,
    circle,
    course,
    placed,
    stretch,
)

CAN = [
    (-25.5, -9), (-24, -17), (-17, -21), (17, -21), (24, -17), (25.5, -9), (24.5, 8), (18, 17.5),
    (7, 21), (-7, 21), (-18, 17.5), (-24.5, 8),
]  # fmt: skip
LEAD = 0.2 * STEEL  # a wound conductor in silicone: a fifth of it is metal


def pacemaker(rng: np.random.Generator, a: Anatomy) -> Device:
    """A can of about 51 x 42 mm, usually left pectoral, with one to three leads to the heart.

    About 15% are defibrillators: a larger can and one or two thick shock coils.
    """
    side = 1 if rng.random() < 0.88 else -1
    shock = rng.random() < 0.15
    film = Film(a.frame)
    x = side * (0.68 * a.half_thorax + rng.normal(0, 5))
    y = a.apex_y + 50 + rng.normal(0, 7)
    pins = _can(film, rng, x, y, side, 1.16 if shock else rng.uniform(0.92, 1.06))
    under = rng.random() < 0.5
    count = rng.choice((1, 2, 3), p=(0.25, 0.52, 0.23))
    bows = rng.normal(0, 3.0, (3, 4))
    tips = _lead_ends(rng, a)
    for lead in range(count):
        path = _lead(a, side, pins[lead], (x, y), under, bows[lead], tips[lead])
        film.wire(path, rng.uniform(2.0, 2.7), LEAD)
        film.wire(stretch(path, 2.2, 0), 2.4, 0.8 * STEEL).wire(
            stretch(path, 14, 11), 2.4, LEAD * 2
        )
        if shock and lead == 0:
            _shock_coils(film, path, both=rng.random() < 0.5)
    return film.device(tips[0][-1])


def _can(
    film: Film, rng: np.random.Generator, x: float, y: float, side: int, size: float
) -> list[tuple[float, float]]:
    """Draw the can and its header; gives the places where leads leave it."""
    turn, flat = rng.normal(0.30, 0.22), rng.uniform(0.93, 1.0)

    def at(points: ArrayLike) -> Path:
        scaled = np.asarray(points, dtype=float) * size * (1, flat)
        return placed(scaled, x, y, turn, side)

    shell = at(course([*CAN, CAN[0]], 72))
    film.plate(shell, 2.3).wire(shell, 1.4, 2.0 * TITANIUM)
    film.plate(at([(-21, -3), (4, -3), (4, 17), (-8, 18), (-18, 13)]), 0.9)  # battery
    film.plate(at([(7, -5), (21, -5), (21, 5), (16, 13), (7, 15)]), 0.35)  # circuits
    for part in rng.uniform((8, -4), (18, 9), (4, 2)):
        film.plate(at(part + np.array([(0, 0), (3, 0), (3, 2), (0, 2)])), 0.5)
    film.plate(at([(-20, -20), (-17, -28), (12, -29), (20, -20)]), 0.18)  # clear header
    for row in (-22.5, -26.0):
        film.plate(at([(-8, row - 1.2), (-4, row - 1.2), (-4, row + 1.2), (-8, row + 1.2)]), 1.6)
        film.wire(at([(-13, row), (12, row)]), 1.6, 0.6 * STEEL)
    return [(float(px), float(py)) for px, py in at([(-13, -22.5), (-13, -26), (-12, -24)])]


def _lead_ends(rng: np.random.Generator, a: Anatomy) -> list[list[tuple[float, float]]]:
    """Where the leads run inside the heart: right ventricle, right atrium, coronary sinus."""
    outline = heart_outline(a, 0.0)
    right, left, base = outline[:, 0].min(), outline[:, 0].max(), outline[:, 1].max()
    s = 0.6 * a.shift
    j = rng.normal(0, 3.0, (6, 2))
    ventricle = [(0.62 * right + j[0, 0], base - 78 + j[0, 1]), (-16 + s, base - 40 + j[1, 1]),
                 (0.40 * left, base - 27),
                 (0.68 * left + j[2, 0], base - 29 + 2 * j[2, 1])]  # fmt: skip
    atrium = [(0.62 * right, base - 74 + j[3, 1]), (0.42 * right + s, base - 56 + j[3, 1]),
              (-6 + s + j[3, 0], base - 66), (-1 + s + j[4, 0], base - 86 + j[4, 1])]  # fmt: skip
    sinus = [(0.58 * right, base - 80), (-6 + s, base - 62 + j[5, 1]), (0.45 * left, base - 76),
             (0.78 * left, base - 72 + j[5, 1]), (0.87 * left + j[5, 0], base - 46)]  # fmt: skip
    return [ventricle, atrium, sinus]


def _lead(
    a: Anatomy, side: int, pin: tuple[float, float], can: tuple[float, float], under: bool,
    bow: Path, end: list[tuple[float, float]],
) -> Path:  # fmt: skip
    """From the header, often round behind the can, by the subclavian vein and the SVC."""
    x, y = can
    loop = [(x - side * 33, y - 12), (x - side * 30, y + 12), (x - side * 4, y + 26),
            (x + side * 22, y + 20), (x + side * 31, y - 6), (x + side * 16, y - 36)]  # fmt: skip
    start = [(px + bow[0], py + bow[1]) for px, py in loop] if under else []
    vein = [(side * 62, a.apex_y + 25 + 0.5 * bow[2]), (side * 38, a.apex_y + 35)]
    cross = [(8 + 0.4 * a.shift, a.carina_y - 30)] if side > 0 else []
    cava = [(-21 + 0.4 * a.shift + 0.4 * bow[3], a.carina_y - 6),
            (-25 + 0.5 * a.shift + 0.5 * bow[3], a.carina_y + 38)]  # fmt: skip
    return course([pin, *start, *vein, *cross, *cava, *end], 160)


def _shock_coils(film: Film, path: Path, both: bool) -> None:
    film.wire(stretch(path, 66, 12), 3.2, 0.5 * STEEL)
    if both:
        film.wire(stretch(path, 232, 165), 3.2, 0.5 * STEEL)


def sternal_wires(rng: np.random.Generator, a: Anatomy) -> Device:
    """Five to seven steel wires of about 1 mm round the sternum, twisted in front."""
    film, count = Film(a.frame), int(rng.integers(5, 8))
    top, length = a.apex_y + rng.uniform(34, 48), rng.uniform(135, 165)
    middle, lean = 1.1 * a.shift + rng.normal(0, 2.5), rng.normal(0, 0.03)
    width, gauge, crossed = rng.uniform(13, 20), rng.uniform(0.7, 1.0), rng.random() < 0.3
    for number in range(count):
        y = top + length * number / (count - 1) + rng.normal(0, 2.5)
        x = middle + lean * (y - top) + rng.normal(0, 1.6)
        loop = _wire_loop(
            width * rng.uniform(0.8, 1.1), rng.uniform(4.5, 9), crossed and number > 1
        )
        loop = placed(loop, x, y, rng.normal(0, 0.17))
        tail = rng.uniform(3.5, 7) * np.array(
            [rng.normal(0, 0.5), rng.choice((-1, 1), p=(0.35, 0.65))]
        )
        start = loop[int(rng.integers(20, 30))]
        film.wire(loop, gauge, STEEL)
        film.wire(course([start, start + 0.5 * tail + rng.normal(0, 0.8, 2), start + tail], 24),
                  1.7 * gauge, 0.8 * STEEL)  # fmt: skip
    return film.device()


def _wire_loop(width: float, height: float, crossed: bool) -> Path:
    """One wire seen from in front: a flat ring, or crossed to a figure of eight."""
    angle = np.linspace(0, 2 * np.pi, 60) + 0.5
    y = np.sin(2 * angle) * 0.8 if crossed else np.sin(angle) + 0.15 * np.sin(3 * angle)
    return np.stack([width / 2 * np.cos(angle), height / 2 * y], axis=1)


def surgical_clips(rng: np.random.Generator, a: Anatomy) -> Device:
    """One to a dozen titanium clips of 5 to 10 mm in an axilla, the mediastinum or by the heart."""
    film, side = Film(a.frame), rng.choice((-1, 1))
    left = heart_outline(a, 0.0)[:, 0].max()
    site = rng.choice(3, p=(0.40, 0.28, 0.32))
    count = int(np.clip(rng.geometric(0.24), 1, 12))
    axilla = ((side * (0.96 * a.half_thorax + rng.uniform(-12, 16)), a.apex_y + 72), (13, 24))
    hilum = ((side * 22 + 0.4 * a.shift, a.carina_y + 8), (11, 20))
    grafts = ((0.42 * left, a.carina_y + 45), (9, 42))
    (x, y), spread = (axilla, hilum, grafts)[site]
    for dx, dy in rng.normal(0, spread, (count, 2)).clip(-60, 60):
        drift = 0.25 * dy if site == 2 else 0.0
        _clip(film, rng, x + dx + drift, y + dy)
    return film.device()


def _clip(film: Film, rng: np.random.Generator, x: float, y: float) -> None:
    """Two legs that meet at one end."""
    length, gap, turn = rng.uniform(5, 9.5), rng.uniform(0.6, 2.4), rng.uniform(0, np.pi)
    legs = [(-length / 2, -gap), (length / 2 - 1, -gap * 0.35), (length / 2, 0),
            (length / 2 - 1, gap * 0.35), (-length / 2, gap)]  # fmt: skip
    film.wire(placed(legs, x, y, turn), 1.0, rng.uniform(0.3, 0.9) * STEEL)


def shoulder_prosthesis(rng: np.random.Generator, a: Anatomy) -> Device:
    """A metal head of 40 to 55 mm on a stem in the humerus; a third are reversed."""
    film, side = Film(a.frame), int(rng.choice((-1, 1), p=(0.55, 0.45)))
    x, y = side * a.shoulder_x, a.shoulder_y
    size, reverse = rng.uniform(42, 52), rng.random() < 0.33
    turn, length = rng.normal(0.0, 0.06), rng.uniform(95, 130)
    if reverse:
        _reverse_head(film, x, y, side, turn, min(size, 44))
    else:
        arc = np.linspace(-0.47 * np.pi, 0.47 * np.pi, 40)
        cap = np.stack([-np.cos(arc + 0.72), -np.sin(arc + 0.72)], axis=1) * size / 2
        film.plate(placed(cap, x, y, turn, side), 5.0)
    stem = [(-8, 9), (4, -5), (9, -7), (14, 2), (15, 26), (17, 60), (17, length),
            (14.5, length + 4), (12, length), (8, 60), (3, 32), (-3, 18)]  # fmt: skip
    film.plate(placed(stem, x, y, turn, side), 2.6)
    film.plate(placed([(-4, 9), (5, -2), (11, 4), (13, 60), (8, 40)], x, y, turn, side), 1.5)
    return film.device()


def _reverse_head(film: Film, x: float, y: float, side: int, turn: float, size: float) -> None:
    """A ball screwed to the glenoid, and a cup on the stem."""
    centre = (-14.0, -2.0)
    ball = circle(0, 0, size)
    ball = ball[ball[:, 0] > -0.3 * size] + centre
    film.plate(placed(ball, x, y, turn, side), 5.0)
    base = -0.3 * size + centre[0]
    film.plate(
        placed([(base - 3, -13), (base, -13), (base, 12), (base - 3, 12)], x, y, turn, side), 3
    )
    for rise, reach in ((-9, -32), (0, -20), (8, -30)):
        screw = placed([(base, rise), (base + reach, 1.5 * rise)], x, y, turn, side)
        film.wire(screw, 4.0, 1.5 * TITANIUM)
    cup = [(-2, 20), (4, 24), (18, 4), (13, -8), (10, 6)]
    film.plate(placed(cup, x, y, turn, side), 0.8)
