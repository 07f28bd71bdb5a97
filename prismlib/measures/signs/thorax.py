"""The chest in a frontal radiograph: its walls, the lowest air on either side, and both lungs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from prismlib.measures.signs.paths import best_path, edge_strength
from prismlib.measures.signs.template import SIZE, Place, place_lungs

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Half = NDArray[np.float32]  # (256, 256)

RIB_HEIGHT = 17  # half pixels; what is bright and lower is taken out before edges are sought
SEEN = 0.35  # edges weaker than this are not believed
LEAST_SCORE = 4.0  # of the match with drawn lungs
WIDEST, SCALED = 0.98, 15  # of the shape: a wall seen so far is measured; else rows to scale by
FLOOR = (0.16, 0.99)  # half widths between which the lowest air is sought
LATERAL, INNER, DOME = (0.89, 0.96), (0.68, 0.78), (0.40, 0.62)  # of the way from midline to wall
FALLS = 0.2  # what a fall of brightness above the floor costs: gas in the stomach is no lung
AIR, LEFT = 0.45, 0.5  # from dark to dense: what counts as air; what air below a floor costs
SHARP = 0.02  # of the width: a recess with air in it lies so far below the floor beside it
LOWER_LEFT = 0.022  # of the width: how much lower the left recess lies
RECESS = 0.05  # of the width, from the lowest air that is found beside the wall to the recess
DEAD = 0.04  # of the width: recesses that differ by less hold no fluid
TALL, SHORT = 0.86, 0.64  # from apex to recess in widths: a usual and a short lung


@dataclass(frozen=True)
class Thorax:
    """Both lung fields, bool (512, 512), and the frame they span, in pixels.

    `right_lung` is the patient's right, on the left of the picture. `floors` (2, 512) holds the
    row of the lowest air at each column, NaN outside the side's lung; the patient's right first.
    `levels` and `bases` are the rows of the lowest air beside either wall and of the recesses,
    fluid aside; `sharp` says whose recess is seen to hold air.
    """

    right_lung: Mask
    left_lung: Mask
    first_column: int
    last_column: int
    top: int
    floors: NDArray[np.floating]
    levels: tuple[float, float]
    bases: tuple[float, float]
    sharp: tuple[bool, bool]
    place: Place

    @property
    def base(self) -> float:
        """The row of the lower recess."""
        return max(self.bases)

    @property
    def width(self) -> int:
        """The widest inner thorax, from one lung's outer edge to the other's."""
        return self.last_column - self.first_column

    @property
    def midline(self) -> int:
        """The column half-way between the outer edges."""
        return (self.first_column + self.last_column) // 2

    def rows(self, start: float, stop: float) -> slice:
        """Rows above the recesses, in widths of the thorax; `start` is the higher one."""
        ends = (self.base - f * self.width for f in (start, stop))
        first, last = (int(np.clip(round(end), 0, SIZE - 1)) for end in ends)
        return slice(first, last)

    def columns(self, side: int, start: float, stop: float) -> slice:
        """Columns from the midline outwards, in half widths; side -1 is the patient's right."""
        ends = sorted(self.midline + side * f * self.width / 2 for f in (start, stop))
        return slice(round(max(0.0, ends[0])), round(max(0.0, ends[1])))

    def floor(self, side: int, start: float, stop: float) -> float:
        """The row of the lowest air between two distances from the midline, in half widths."""
        found = self.floors[(side + 1) // 2, self.columns(side, start, stop)]
        return float(np.nanmedian(found)) if np.isfinite(found).any() else float("nan")


def relief(image: Image) -> Half:
    """The radiograph at half its size without ribs, letters and wires, (256, 256)."""
    smooth = ndimage.gaussian_filter(image, 1.2).reshape(SIZE // 2, 2, SIZE // 2, 2)
    opened = ndimage.grey_opening(smooth.mean(axis=(1, 3)), size=(RIB_HEIGHT, 1))
    return ndimage.gaussian_filter(opened, (2, 1))


def find_thorax(image: Image) -> Thorax | None:
    """Find the chest in a frontal radiograph (512, 512); None where no pair of lungs is seen.

    Drawn lungs are matched against the edges of the picture. About the best match, each chest wall
    and the lower end of the air are the strongest connected edges of the right direction; a wall
    behind fluid is mirrored from the other side.
    """
    if image.shape != (SIZE, SIZE) or float(np.ptp(image)) < 0.1:
        return None
    opened = relief(image)
    place = place_lungs(opened)
    if place.score < LEAST_SCORE:
        return None
    rows, walls, seen, ends = _walls(opened, place)
    half = (ends[1] - ends[0]) / 2
    if half < 50:
        return None
    middle = (ends[0] + ends[1]) / 2
    smooth = ndimage.gaussian_filter1d(walls, 3, axis=1)
    sides = [_straight(opened, place, side, middle, np.stack([rows, wall]))
             for side, wall in zip((-1, 1), smooth, strict=True)]  # fmt: skip
    found = _floors(sides, place)
    floors = np.stack([_by_column(columns, lowest) for columns, lowest in found])
    shares = sides[0].shares
    levels, inner = (
        [_level(shares, lowest, *zone) for _, lowest in found] for zone in (LATERAL, INNER)
    )
    falls = [level - row > SHARP * 4 * half for level, row in zip(levels, inner, strict=True)]
    lean = _lean(rows, walls, seen) * 4 * half
    bases = _bases(levels, falls, lean, place, 4 * half)
    sharp = [fall and base - level < (RECESS + DEAD) * 4 * half
             for fall, base, level in zip(falls, bases, levels, strict=True)]  # fmt: skip
    first, last = (int(np.clip(2 * e, 0, SIZE - 1)) for e in (ends[0], ends[1] + 0.5))
    lungs = [_lung(floors[i], place, walls[i], rows, first, last, side)
             for i, side in enumerate((-1, 1))]  # fmt: skip
    return Thorax(lungs[0], lungs[1], first, last, int(max(place.top, 0)), floors,
                  (levels[0], levels[1]), bases, (sharp[0], sharp[1]), place)  # fmt: skip


def _walls(opened: Half, place: Place):
    """Rows, each side's wall, where it is seen, and how far it reaches, in half pixels."""
    slope = ndimage.gaussian_filter1d(opened, 1.2, axis=1, order=1)
    top, tall = place.top / 2, place.height / 2
    rows = np.arange(int(max(0, top + 0.25 * tall)), int(min(255, top + 0.97 * tall)))
    found = [_wall(slope[rows], place, rows, side) for side in (-1, 1)]
    walls = np.stack([wall for wall, _ in found])
    seen = np.stack([ndimage.uniform_filter1d(s, 7) for _, s in found]) > SEEN
    shape = place.wall(2.0 * rows) / place.half_width
    ends = _widest(ndimage.gaussian_filter1d(walls, 2, axis=1), seen, shape, place.midline / 2)
    return rows, walls, seen, ends


def _wall(slope: Half, place: Place, rows: NDArray[np.int64], side: int):
    """One side's inner chest wall as columns, and the strength of the edge there.

    Beyond the wall, brightness may not fall again: that would be the skin, and what follows an arm.
    """
    reach = np.arange(0.66, 1.28, 2 / place.half_width) * place.half_width / 2
    columns = np.rint(place.midline / 2 + side * reach).astype(int)
    inside = (columns >= 0) & (columns < slope.shape[1])
    rising = np.where(inside, side * slope[:, np.clip(columns, 0, slope.shape[1] - 1)], 0)
    expected = place.wall(2.0 * rows)[:, None] / 2
    falls = np.where(reach > 0.97 * expected, np.clip(-rising, 0, None), 0).cumsum(axis=1)
    strength = edge_strength(rising)
    off = (reach - expected) / (place.half_width / 2)
    path = best_path(strength - 5 * off**2 - np.clip(falls / 0.12 - 0.2, 0, 1.5), reach=1)
    return columns[path].astype(float), strength[np.arange(len(path)), path]


def _widest(
    walls: NDArray[np.floating], seen: Mask, shape: NDArray[np.floating], midline: float
) -> list[float]:
    """The outermost believed column of each wall.

    Where fluid hides the widest part, the wall's usual `shape` is scaled to the lowest part seen,
    or the other wall is mirrored, whichever lies further out.
    """
    both = seen.all(axis=0)
    axis = float(np.median(walls.mean(axis=0)[both][-30:])) if both.sum() >= 12 else midline
    reaches, hidden = [], []
    for side, wall, believed in zip((-1, 1), walls, seen, strict=True):
        outward = side * (wall - axis)
        shown = believed if believed.sum() > 8 else np.ones_like(believed)
        (rows,) = np.nonzero(shown)
        hidden.append(bool(shape[rows].max() < WIDEST))
        last = rows[-SCALED:]
        scaled = float(np.median(outward[last] / shape[last])) if hidden[-1] else 0.0
        reaches.append(max(float(outward[shown].max()), scaled))
    if hidden[0] != hidden[1]:
        reaches[hidden.index(True)] = max(reaches)
    return [axis - reaches[0], axis + reaches[1]]


@dataclass(frozen=True)
class Straight:
    """One half of the chest with its wall made straight: (shares of the way to the wall, rows)."""

    shares: NDArray[np.floating]
    rows: NDArray[np.int64]
    columns: NDArray[np.floating]
    brightness: NDArray[np.floating]
    rising: NDArray[np.floating]


def _straight(
    opened: Half, place: Place, side: int, middle: float, wall: NDArray[np.floating]
) -> Straight:
    """Sample one side along lines that follow its wall, from the upper lung to the abdomen."""
    top, tall = place.top / 2, place.height / 2
    rows = np.arange(int(max(0, top + 0.15 * tall)), int(min(256, top + 1.25 * tall)))
    expected = place.wall(2.0 * rows) / 2
    outer = np.interp(rows, wall[0], side * (wall[1] - middle))
    outer = np.clip(outer, 0.92 * expected, 1.12 * expected)
    shares = np.linspace(*FLOOR, round((FLOOR[1] - FLOOR[0]) * place.half_width / 2))
    columns = middle + side * shares[:, None] * outer
    smooth = ndimage.gaussian_filter(opened, (0, 3))
    slope = ndimage.gaussian_filter1d(smooth, 1.5, axis=0, order=1)
    places = np.clip(np.rint(columns).astype(int), 0, slope.shape[1] - 1)
    return Straight(shares, rows, columns, smooth[rows, places], slope[rows, places])


def _floors(sides: list[Straight], place: Place):
    """The lowest air on both sides from the midline to the wall: columns and rows, half pixels.

    The floor is the strongest connected fall of light downwards below which no air is left.
    """
    rows = sides[0].rows
    upper = rows < (place.top + 0.7 * place.height) / 2
    dark = np.percentile([s.brightness[:, upper] for s in sides], 15, axis=(0, 2))[:, None]
    below = (rows > (place.top + 0.5 * place.height) / 2) & (rows < (place.top + place.height) / 2)
    dense = float(np.percentile([s.brightness[:, below] for s in sides], 90))
    inside = rows < (place.top + 0.92 * place.height) / 2
    found = []
    for side in sides:
        air = (side.brightness - dark < AIR * (dense - dark)) & inside
        left = air[:, ::-1].cumsum(axis=1)[:, ::-1]
        falls = np.clip(-side.rising, 0, None).cumsum(axis=1)
        gain = edge_strength(side.rising, 4) - FALLS * np.clip(falls / 0.15 - 0.2, 0, 1.5)
        path = best_path(gain - LEFT * np.minimum(left / 8, 1), reach=4, bend=0.02)
        found.append((side.columns[np.arange(len(path)), path], rows[path].astype(float)))
    return found


def _lean(rows: NDArray[np.int64], walls: NDArray[np.floating], seen: Mask) -> float:
    """How much lower the patient's left lies, per pixel to the left: from the walls' middle."""
    both = seen.all(axis=0)
    if both.sum() < 30:
        return 0.0
    return float(np.clip(-np.polyfit(rows[both], walls.mean(axis=0)[both], 1)[0], -0.12, 0.12))


def _by_column(columns: NDArray[np.floating], rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows in the picture for each of its columns, NaN beyond the ends."""
    order = np.argsort(columns)
    at = np.arange(SIZE) / 2
    return 2 * np.interp(at, columns[order], rows[order], left=np.nan, right=np.nan) + 1


def _level(
    shares: NDArray[np.floating], rows: NDArray[np.floating], start: float, stop: float
) -> float:
    """The row in the picture of the lowest air between two shares of the way to the wall."""
    return 2 * float(np.median(rows[(shares >= start) & (shares <= stop)])) + 1


def _bases(
    levels: list[float], falls: list[bool], lean: float, place: Place, width: float
) -> tuple[float, float]:
    """The rows of the recesses: from the sides whose floor falls towards the wall, as in health.

    Fluid climbs the wall instead; where it does so on both sides, a lung's length has to do.
    """
    lower_left = LOWER_LEFT * width + lean
    usual = [levels[0], levels[1] - lower_left]
    low = max(usual)
    if not any(falls):
        low = max(low, place.top + TALL * width - lower_left / 2)
    elif not all(falls):
        low = max(usual[falls.index(True)], place.top + SHORT * width, low)
    return low + RECESS * width, low + lower_left + RECESS * width


def _lung(
    floor: NDArray[np.floating],
    place: Place,
    wall: NDArray[np.floating],
    wall_rows: NDArray[np.int64],
    first: int,
    last: int,
    side: int,
) -> Mask:
    """What lies between midline, wall, apex and floor; the heart is not cut out."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    outer = 2 * np.interp(np.arange(SIZE) / 2, wall_rows, wall)
    above = np.arange(SIZE) / 2 < wall_rows[0]
    expected = place.midline + side * place.wall(np.arange(SIZE, dtype=float))
    outer = np.where(above, expected, outer)[:, None]
    middle = (first + last) / 2 + side * 0.14 * (last - first) / 2
    between = (side * (columns - middle) > 0) & (side * (outer - columns) > 0)
    return between & (rows > place.top) & (rows < np.nan_to_num(floor, nan=0)[None, :])
