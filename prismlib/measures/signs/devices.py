"""How much of the picture thin and bright structures cover."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, morphology

from prismlib.measures.signs.template import SIZE
from prismlib.measures.signs.thorax import Image

WIRE_RADIUS, WIRE_CONTRAST, WIRE_LENGTH = 3, 0.10, 20  # pixels, of the picture's range, pixels
BLOB_RADIUS, BLOB_CONTRAST, BLOB_AREA = 32, 0.32, 250  # a pulse generator's housing
RIDGE_WIDTHS, RIDGE = (1.5, 2.5), 0.25
LETTER = 0.985  # burned-in letters are whiter than what the beam draws


def device_area(image: Image) -> float:
    """The share of the picture that thin, sharp, bright structures and housings cover.

    A white top-hat keeps what is brighter than its surroundings and narrower than a rib, if it is
    long or also a ridge; another one keeps housings. Contrasts are in shares of the picture's own
    range. The floor without devices is not zero: edges of bone and some letters count too.
    """
    if image.shape != (SIZE, SIZE):
        return float("nan")
    low, high = np.percentile(image[64:448, 64:448], (5, 95))
    if high - low < 0.05:
        return 0.0
    scaled = (image - low) / (high - low)
    wires = _wires(scaled.astype(np.float32))
    return float((wires | _housings(scaled.astype(np.float32))).mean())


def _wires(scaled: Image) -> NDArray[np.bool_]:
    smooth = ndimage.gaussian_filter(scaled, 0.8)
    square = morphology.footprint_rectangle((2 * WIRE_RADIUS + 1,) * 2)
    sharp = smooth - ndimage.grey_opening(smooth, footprint=square) > WIRE_CONTRAST
    labels, _ = ndimage.label(sharp, np.ones((3, 3)))
    boxes = ndimage.find_objects(labels)
    lengths = [np.hypot(*(edge.stop - edge.start for edge in box)) for box in boxes]
    return (np.array([0, *lengths]) > WIRE_LENGTH)[labels]


def _housings(scaled: Image) -> NDArray[np.bool_]:
    small = ndimage.gaussian_filter(scaled, 2)[::4, ::4]
    opened = ndimage.grey_opening(small, size=(BLOB_RADIUS // 2 + 1,) * 2)
    blobs = _large(small - opened > BLOB_CONTRAST, BLOB_AREA // 16)
    return np.kron(blobs, np.ones((4, 4), bool)).astype(bool)


def _large(mask: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes > least)[labels]


def ridges(scaled: Image) -> NDArray[np.floating]:
    """Frangi's measure of bright ridges, (512, 512)."""
    return filters.frangi(scaled, sigmas=RIDGE_WIDTHS, black_ridges=False)
