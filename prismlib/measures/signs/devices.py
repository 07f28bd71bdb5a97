"""How much of the picture thin and bright structures cover."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from prismlib.measures.signs.template import SIZE
from prismlib.measures.signs.thorax import Image, find_thorax

Map = NDArray[np.floating]

LINE, DIRECTIONS = 14, 12  # pixels, and how many ways a short line may run
RIDGE, THIN, BRIGHTEST = 0.015, 0.01, 0.2  # of the range: mean of a line, least and most height
HOUSING, HOUSING_WIDTH, HOUSING_AREA = 0.5, 68, 400  # of the range, pixels, pixels
BESIDE, ABOVE_BASE = (0.35, 0.95), (1.10, 0.45)  # where housings lie: half widths, widths
CORNER, LETTER = (0.30, 0.22), 0.97  # of the picture; letters are nearly white


def device_area(image: Image) -> float:
    """The share of the picture that thin, sharp, bright structures and housings cover.

    A white top-hat of three pixels, averaged along short lines of all directions, keeps edges of
    wires and tubes and lets noise and ribs go; one of 50 mm keeps housings over the upper lungs.
    White letters in the upper corners are left out. Contrasts are shares of the picture's own
    range. The floor without devices is not zero: sharp vessels and rib edges count too.
    """
    if image.shape != (SIZE, SIZE):
        return float("nan")
    low, high = np.percentile(image[64:448:3, 64:448:3], (5, 95))
    if high - low < 0.05:
        return 0.0
    scaled = (image - low) / (high - low)
    smooth = ndimage.gaussian_filter(scaled, 0.8)
    sharp = np.minimum(smooth - ndimage.grey_opening(smooth, size=(3, 3)), BRIGHTEST)
    sharp[_letters(image)] = 0
    lines = _doubled(along_lines(_halved(sharp)) > RIDGE) & (sharp > THIN)
    return float((lines | _doubled(_housings(image, scaled))).mean())


def along_lines(picture: Map) -> Map:
    """The greatest mean along a short line through each point, over all directions, (256, 256)."""
    spectrum = fft.rfft2(picture)
    return np.max([fft.irfft2(spectrum * line, s=picture.shape) for line in _lines()], axis=0)


@lru_cache(maxsize=1)
def _lines() -> list[NDArray[np.complexfloating]]:
    size, steps = SIZE // 2, np.linspace(-1, 1, 2 * LINE) * LINE / 4
    spectra = []
    for angle in np.arange(DIRECTIONS) * np.pi / DIRECTIONS:
        line = np.zeros((size, size))
        rows, columns = (np.rint(steps * f(angle)).astype(int) for f in (np.sin, np.cos))
        line[rows, columns] = 1
        spectra.append(np.conj(fft.rfft2(line / line.sum())))
    return spectra


def _halved(picture: Map) -> Map:
    return picture.reshape(SIZE // 2, 2, SIZE // 2, 2).mean(axis=(1, 3))


def _doubled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask.repeat(2, axis=0).repeat(2, axis=1)


def _letters(image: Image) -> NDArray[np.bool_]:
    tall, wide = (round(share * SIZE) for share in CORNER)
    white = np.zeros(image.shape, bool)
    for corner in (np.s_[:tall, :wide], np.s_[:tall, -wide:]):
        white[corner] = image[corner] > LETTER
    return ndimage.binary_dilation(white, iterations=2)


def _housings(image: Image, scaled: Image) -> NDArray[np.bool_]:
    """Bright and compact beside the midline in the upper chest, at half size, (256, 256)."""
    found = np.zeros((SIZE // 4, SIZE // 4), bool)
    thorax = find_thorax(image)
    if thorax is not None:
        small = ndimage.gaussian_filter(scaled, 2)[2::4, 2::4]
        bright = small - ndimage.grey_opening(small, size=(HOUSING_WIDTH // 4,) * 2) > HOUSING
        rows = thorax.rows(*ABOVE_BASE)
        for side in (-1, 1):
            columns = thorax.columns(side, *BESIDE)
            window = np.s_[rows.start // 4 : rows.stop // 4, columns.start // 4 : columns.stop // 4]
            found[window] = bright[window]
        labels, _ = ndimage.label(ndimage.binary_opening(found, np.ones((3, 3))))
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        found = (sizes > HOUSING_AREA // 16)[labels]
    return _doubled(found)
