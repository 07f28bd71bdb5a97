"""What a finding does to the beam, and the shapes that findings are made of.

Shapes grow with severity and never move: a field is drawn once from the subject's stream, and the
severity only lowers the level at which it is cut and raises its strength.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from prismlib.cohorts.phantom.canvas import SIZE, Frame, Map
from prismlib.cohorts.phantom.findings.thorax import COARSE, LEFT, RIGHT
from prismlib.cohorts.phantom.subject import Subject

SOFT_TISSUE, FLUID, FREE_AIR = 0.217, 0.206, 0.0  # attenuation per cm at 60 keV
LEVELS = (0.02, 0.006, 0.002, 0.0006, 0.0)  # candidates for what counts as changed
LEFT_OUT = 0.02  # the part of a change that may lie below that level


@dataclass(frozen=True)
class Sign:
    """What one finding does to the beam's path, all maps (512, 512).

    `share` in [0, 1] is the part of the local lung air whose place is taken, `material` the
    attenuation per cm of what takes it. `added` is optical depth on top and may be negative.
    `clears` is the share of vessels and lung markings that vanish. `mask` is the footprint: where
    share, the size of added or clears exceeds a level, for each the highest of 0.02, 0.006, 0.002,
    0.0006 that leaves out at most 2% of its sum.
    """

    share: Map
    material: float
    added: Map | None
    clears: Map | None
    mask: NDArray[np.bool_]


def make_sign(
    share: Map, material: float, added: Map | None = None, clears: Map | None = None
) -> Sign:
    """A sign with the footprint that its maps have; what takes the air's place hides markings."""
    share = np.clip(share, 0, 1).astype(np.float32, copy=False)
    clears = share if clears is None else clears.astype(np.float32, copy=False)
    added = None if added is None else added.astype(np.float32, copy=False)
    mask = _where_changed(share)
    if added is not None:
        mask |= _where_changed(np.abs(added))
    if clears is not share:
        mask |= _where_changed(clears)
    return Sign(share, material, added, clears, mask)


def _where_changed(size: Map) -> NDArray[np.bool_]:
    enough = (1 - LEFT_OUT) * size.sum()
    levels = (level for level in LEVELS if size[size > level].sum() >= enough)
    return size > next(levels, 0.0)


def nothing() -> Map:
    """A map of zeros."""
    return np.zeros((SIZE, SIZE), np.float32)


def ramp(value, start: float, end: float):
    """0 up to `start`, 1 from `end` on, smooth between (numbers or maps)."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def together(one: Map, other: Map) -> Map:
    """The share taken by two independent things."""
    return 1 - (1 - one) * (1 - other)


def texture(rng: np.random.Generator, *cells: int) -> Map:
    """Cloudy noise (256, 256) about 0 with unit scale: octaves of `cells` x `cells` numbers.

    Each octave counts 0.55 of the one before.
    """
    size = SIZE // COARSE
    total, weight, power = np.zeros((size, size), np.float32), 1.0, 0.0
    for count in cells:
        small = Image.fromarray(rng.standard_normal((count, count)).astype(np.float32))
        smooth = small.resize((size, size), Image.Resampling.BICUBIC)
        total += np.float32(weight) * np.asarray(smooth)
        weight, power = 0.55 * weight, power + weight**2
    return total / np.float32(0.75 * np.sqrt(power))


def window(frame: Frame, centre: tuple[float, float], radius_mm: float) -> tuple[slice, slice]:
    """Rows and columns of the picture within a radius of a point in mm."""
    column, row = frame.pixels([centre])[0]
    reach = radius_mm / frame.mm_per_pixel
    first = [int(np.clip(middle - reach, 0, SIZE - 1)) for middle in (row, column)]
    last = [int(np.clip(middle + reach + 2, 1, SIZE)) for middle in (row, column)]
    return slice(first[0], last[0]), slice(first[1], last[1])


def sides_of(subject: Subject, finding: str, severity: float) -> list[tuple[int, float]]:
    """The sides a finding lies on, each with its severity there; of two sides one is milder."""
    rng = subject.stream(f"{finding} balance")
    milder, less = (RIGHT if rng.random() < 0.5 else LEFT), rng.uniform(0.35, 0.9)
    wanted = {"right": (RIGHT,), "left": (LEFT,), "both": (RIGHT, LEFT)}[subject.side[finding]]
    factor = less if len(wanted) == 2 else 1.0
    return [(side, severity * (factor if side == milder else 1.0)) for side in wanted]


def side_name(side: int) -> str:
    """The patient's side as a word, for the names of streams."""
    return "right" if side == RIGHT else "left"
