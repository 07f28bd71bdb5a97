"""Where the chest lies in a radiograph: a drawn pair of lungs matched against its edges."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from skimage import draw, morphology

Picture = NDArray[np.float32]

SIZE, FACTOR, PADDED = 512, 8, 128  # matched at an eighth of the size
HALF_WIDTHS = (19.0, 20.5, 22.0, 23.5, 25.5, 27.5, 30.0)  # of the thorax, in small pixels
TALL = (1.25, 1.45, 1.65, 1.85, 2.05)  # apex to recess in half widths
USUAL, UNUSUAL = 1.65, 12.0  # the usual one, and what the square of a difference to it costs
CUTS, CUT, SLANT = (2.0, 0.68, 0.45), 0.7, 0.15  # where fluid cuts a lung, its cost, its rise
SIDE_ROWS = 22  # small rows above which shoulders and neck may open the chest to the sides

# x in half widths of the thorax from the midline, y from the apex (0) to the recess (1)
LUNG = np.array(
    [(0.14, 0.8), (0.14, 0.3), (0.17, 0.2), (0.24, 0.05), (0.4, 0.0), (0.6, 0.04), (0.76, 0.12),
     (0.88, 0.25), (0.95, 0.41), (0.99, 0.62), (1.0, 0.84), (0.985, 1.0), (0.93, 0.93),
     (0.78, 0.87), (0.6, 0.85), (0.45, 0.83), (0.3, 0.84)]
)  # fmt: skip
HEART = np.array(
    [(-0.1, 0.42), (0.16, 0.42), (0.36, 0.6), (0.58, 0.78), (0.62, 0.9), (-0.3, 0.9),
     (-0.31, 0.7), (-0.25, 0.55)]
)  # fmt: skip
WALL = LUNG[6:12]  # the lateral wall, downwards


@dataclass(frozen=True)
class Place:
    """Where a pair of lungs fits best, in pixels of the picture; `score` says how well."""

    score: float
    half_width: float
    height: float
    top: float
    midline: float

    def wall(self, rows: NDArray[np.floating]) -> NDArray[np.floating]:
        """How far from the midline the chest wall is expected at these rows."""
        return self.half_width * np.interp((rows - self.top) / self.height, WALL[:, 1], WALL[:, 0])


def place_lungs(opened: Picture) -> Place:
    """Match lungs of many sizes against the edges of a picture at half its size, (256, 256).

    Either lung may end early, where fluid stands in it; it then counts as one of usual height.
    """
    small = ndimage.gaussian_filter(opened, 2.5)[2::4, 2::4]
    slopes = np.stack([ndimage.sobel(small, 0), ndimage.sobel(small, 1)])
    steepness = np.sqrt((slopes**2).sum(axis=0))
    slopes /= np.sqrt(steepness**2 + (np.median(steepness) + 1e-4) ** 2)
    slopes *= ~ndimage.binary_dilation(_beside_body(small), np.ones((3, 3)))
    spectrum = fft.rfft2(slopes, s=(PADDED, PADDED))
    best = Place(-1.0, 0.0, 0.0, 0.0, 0.0)
    for half_width, tall, spectra, energies in _templates():
        matches = fft.irfft2((spectrum * spectra).sum(axis=2), s=(PADDED, PADDED))[..., :34, 16:48]
        cost = UNUSUAL * (tall - USUAL) ** 2
        for right, left in np.ndindex(len(CUTS), len(CUTS)):
            norm = np.sqrt(energies[0, right] + energies[1, left])
            match = (matches[0, right] + matches[1, left]) / norm
            row, column = (int(k) for k in np.unravel_index(int(match.argmax()), match.shape))
            score = float(match[row, column]) - cost - CUT * ((right > 0) + (left > 0))
            if score > best.score:
                width = half_width * FACTOR
                top, midline = ((k + 0.5) * FACTOR for k in (row, column + 16))
                whole = max(tall, USUAL) if right or left else tall
                best = Place(score, width, whole * width, top, midline)
    return best


@lru_cache(maxsize=1)
def _templates() -> list[tuple[float, float, NDArray[np.complexfloating], NDArray[np.floating]]]:
    """Half width, shape, and either lung's edges at every cut: conjugate spectra, energies."""
    return [(w, tall, *_template(w, tall)) for w in HALF_WIDTHS for tall in TALL]


def _template(half_width: float, tall: float):
    fine, row, column = 2, 32, PADDED // 2
    origin, scale = np.array([row, column]), half_width * np.array([tall, 1.0])
    shape = (PADDED * fine, PADDED * fine)

    def filled(outline: NDArray[np.floating]) -> NDArray[np.bool_]:
        return draw.polygon2mask(shape, (outline[:, ::-1] * scale + origin) * fine)

    y, x = (np.indices(shape) / fine - origin[:, None, None]) / scale[:, None, None]
    beside, edges = ~filled(HEART), []
    for side in (-1, 1):
        lung = filled(LUNG * (side, 1)) & beside
        edges += [_edges(lung & (y < cut - SLANT * (np.abs(x) - 0.5)), fine) for cut in CUTS]
    stacked = np.reshape(edges, (2, len(CUTS), 2, PADDED, PADDED))
    moved = np.roll(stacked, (-row, -column), (3, 4))
    return np.conj(fft.rfft2(moved)), (stacked**2).sum(axis=(2, 3, 4))


def _edges(lung: NDArray[np.bool_], fine: int) -> NDArray[np.floating]:
    dark = -lung.reshape(PADDED, fine, PADDED, fine).mean(axis=(1, 3))
    dark = ndimage.gaussian_filter(dark, 0.7)
    return np.stack([ndimage.sobel(dark, 0), ndimage.sobel(dark, 1)])


def _beside_body(small: Picture) -> NDArray[np.bool_]:
    """The dark that reaches in from the sides, below the shoulders: air beside trunk and arms."""
    low, last = small[SIDE_ROWS:], len(small) // 5
    seed = np.full_like(low, low.max())
    seed[:, [0, -1]] = low[:, [0, -1]]
    seed[-1, :last], seed[-1, -last:] = low[-1, :last], low[-1, -last:]
    filled = morphology.reconstruction(seed, low, method="erosion")
    trunk = float(np.median(small[42:58, 26:38]))
    dark = float(np.percentile(low[:, [0, -1]], 10))
    beside = np.zeros(small.shape, bool)
    if dark < trunk - 0.1:
        beside[SIDE_ROWS:] = filled < dark + 0.3 * (trunk - dark)
    return beside
