"""Anatomical signs measured in the picture alone, in the place of a question-answering model.

Nothing here sees a label, a mask or a classifier. Each sign is NaN where it cannot be measured:
a picture without two dark lungs in frontal view has none. They were made on simulated frontal
radiographs and are validated there (notebook 06 prints R2 against the latent truth); on patients
they are unvalidated.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, measure, morphology, segmentation

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

SIZE = 512
RIB_HEIGHT = 35  # pixels; bright structures lower than this are taken out before lungs are sought
SEARCHED_ROWS = ((110, 180), (180, 250), (250, 320))
SEARCHED_COLUMNS = ((126, 196), (316, 386))
LUNG_AREA = (0.015, 0.25)  # plausible share of the image for one lung
MIDLINE_GAP = 8  # pixels beside the midline where no border of the heart is sought
FURTHEST_RIGHT, LEFT_OVER_RIGHT = 0.55, 1.2  # of half a thorax; of the reach to the right
WIRE_RADIUS, WIRE_CONTRAST, WIRE_AREA = 4, 0.07, 100  # pixels, fraction of full scale, pixels


@dataclass(frozen=True)
class Thorax:
    """Both lung fields, bool (512, 512), and the frame they span, in pixels.

    `right_lung` is the patient's right, on the left of the picture.
    """

    right_lung: Mask
    left_lung: Mask
    first_column: int
    last_column: int
    top: int

    @property
    def width(self) -> int:
        """The widest inner thorax, from one lung's outer edge to the other's."""
        return self.last_column - self.first_column

    @property
    def midline(self) -> int:
        """The column half-way between the outer edges."""
        return (self.first_column + self.last_column) // 2

    def rows(self, start: float, stop: float) -> slice:
        """Rows from the apex on, in widths of the thorax."""
        first, last = (min(SIZE - 1, round(self.top + f * self.width)) for f in (start, stop))
        return slice(first, last)

    def columns(self, side: int, start: float, stop: float) -> slice:
        """Columns from the midline outwards, in half widths; side -1 is the patient's right."""
        ends = sorted(self.midline + side * f * self.width / 2 for f in (start, stop))
        return slice(round(max(0.0, ends[0])), round(ends[1]))


def find_thorax(image: Image) -> Thorax | None:
    """Find both lungs in a frontal radiograph (512, 512); None where there are not two of them.

    Ribs and wires are removed by an opening along the columns. A watershed from the darkest places
    of each half against the border of the picture finds the chest wall, and Otsu's threshold
    inside it parts air from heart and diaphragm; the largest component of each half is its lung.
    """
    if image.shape != (SIZE, SIZE) or float(np.ptp(image)) < 0.1:
        return None
    smooth = ndimage.grey_opening(filters.gaussian(image, 3), size=(RIB_HEIGHT, 1))
    regions = segmentation.watershed(smooth, _markers(filters.gaussian(image, 8)))
    threshold = filters.threshold_otsu(smooth[regions > 1])
    lungs = [_largest((regions == side) & (smooth < threshold)) for side in (2, 3)]
    if not all(LUNG_AREA[0] < lung.mean() < LUNG_AREA[1] for lung in lungs):
        return None
    first = int(np.flatnonzero(lungs[0].any(0))[0])
    last = int(np.flatnonzero(lungs[1].any(0))[-1])
    top = int(np.flatnonzero((lungs[0] | lungs[1]).any(1))[0])
    return Thorax(lungs[0], lungs[1], first, last, top)


def _markers(blurred: Image) -> NDArray[np.int32]:
    """1 along the border of the picture, 2 and 3 at the darkest places of either half."""
    markers = np.zeros(blurred.shape, np.int32)
    markers[[0, -1]] = markers[:, [0, -1]] = 1
    for label, (left, right) in enumerate(SEARCHED_COLUMNS, start=2):
        for top, bottom in SEARCHED_ROWS:
            window = blurred[top:bottom, left:right]
            darkest = np.unravel_index(int(window.argmin()), window.shape)
            row, column = int(darkest[0]) + top, int(darkest[1]) + left
            markers[row - 3 : row + 3, column - 3 : column + 3] = label
    return markers


def _largest(mask: Mask) -> Mask:
    labels = measure.label(ndimage.binary_fill_holes(mask))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (labels == sizes.argmax()) & bool(sizes.any())


def cardiothoracic_ratio(image: Image) -> float:
    """The heart's greatest width over the inner thorax's; above 0.5 the heart counts as enlarged.

    Each border of the heart is the path down the picture along which brightness falls most on the
    way outwards; it ends where it begins to slide along the diaphragm, or fades into fluid. NaN if
    the two borders do not look like a heart's, which reaches further to the left.
    """
    thorax = find_thorax(image)
    if thorax is None:
        return float("nan")
    smooth = ndimage.grey_opening(ndimage.gaussian_filter(image, 1), size=(31, 1))
    smooth = ndimage.gaussian_filter1d(smooth, 3, axis=0)
    slope = ndimage.gaussian_filter1d(smooth, 2, axis=1, order=1)[thorax.rows(0.40, 0.88)]
    right, left = _heart_reach(slope, thorax)
    half = thorax.width / 2
    if right > FURTHEST_RIGHT * half or left < LEFT_OVER_RIGHT * right:
        return float("nan")
    return (right + left) / thorax.width


def _heart_reach(slope: Image, thorax: Thorax) -> tuple[float, float]:
    """How far the heart reaches from the midline to the patient's right and left, in pixels.

    The right border runs nearly straight down, so that it says best where the diaphragm begins;
    the left one may end little below that.
    """
    (right, right_fades), (left, left_fades) = (_border(slope, thorax, side) for side in (-1, 1))
    right_slides = _first_slide(right, rows=16, rate=2.5)
    left_slides = _first_slide(left, rows=20, rate=2.3)
    found = right_slides < len(right)
    left_end = min(left_slides, right_slides + 15 if found else left_fades)
    right_end = min(right_slides, right_fades)
    reach = (path[: max(10, end)].max() for path, end in ((right, right_end), (left, left_end)))
    first, second = (float(pixels + MIDLINE_GAP) for pixels in reach)
    return first, second


def _border(slope: Image, thorax: Thorax, side: int) -> tuple[NDArray[np.int64], int]:
    """The heart's border on one side as columns from `MIDLINE_GAP`, and the row where it fades."""
    columns = thorax.midline + side * np.arange(MIDLINE_GAP, int(0.97 * thorax.width / 2))
    falling = np.clip(-side * slope[:, np.clip(columns, 0, SIZE - 1)], 0, None)
    path = _steepest_path(falling, reach=3)
    strength = ndimage.uniform_filter1d(falling[np.arange(len(path)), path], 7)
    fades = 20 + np.flatnonzero(strength[20:] < 0.3 * np.median(strength[:40]))
    return path, int(fades[0]) if fades.size else len(path)


def _first_slide(path: NDArray[np.int64], rows: int, rate: float) -> int:
    """The first row from which a path moves outwards by `rate` columns a row for so many rows."""
    slides = np.flatnonzero(path[rows:] - path[:-rows] >= rate * rows)
    return int(slides[0]) if slides.size else len(path)


def _steepest_path(gain: NDArray[np.floating], reach: int) -> NDArray[np.int64]:
    """The path from the first row to the last, at most `reach` columns a row, of greatest gain."""
    rows, columns = gain.shape
    total, came_from = gain[0].astype(float), np.zeros(gain.shape, np.int64)
    for row in range(1, rows):
        padded = np.pad(total, reach, constant_values=-np.inf)
        options = np.stack([padded[i : i + columns] for i in range(2 * reach + 1)])
        best = options.argmax(axis=0)
        came_from[row] = np.clip(np.arange(columns) + best - reach, 0, columns - 1)
        total = options.max(axis=0) + gain[row]
    path = np.empty(rows, np.int64)
    path[-1] = total.argmax()
    for row in range(rows - 1, 0, -1):
        path[row - 1] = came_from[row, path[row]]
    return path


def lower_zone_opacity(image: Image) -> float:
    """How dense the outer lower zone is, on the denser side: 0 like upper lung, 1 like the heart.

    Fluid collects there, in front of the chest wall above the costophrenic angle. Consolidation
    and breast shadows raise it too: it is a sign, not a diagnosis.
    """
    thorax = find_thorax(image)
    if thorax is None:
        return float("nan")
    heart = image[thorax.rows(0.45, 0.60), thorax.midline - 20 : thorax.midline + 20]
    dense = float(np.median(heart))
    densities = []
    for side in (-1, 1):
        columns = thorax.columns(side, 0.80, 0.95)
        clear = float(np.median(image[thorax.rows(0.20, 0.42), columns]))
        if dense - clear < 0.05:
            return float("nan")
        lower = float(image[thorax.rows(0.60, 0.80), columns].mean())
        densities.append((lower - clear) / (dense - clear))
    return max(densities)


def device_area(image: Image) -> float:
    """The share of the picture that thin, sharp, bright structures cover: wires, edges of metal.

    A white top-hat keeps what is brighter than its surroundings and narrower than a rib. The floor
    without devices is not zero: letters burned into the picture and bone edges count too.
    """
    if image.shape != (SIZE, SIZE):
        return float("nan")
    smooth = ndimage.gaussian_filter(image, 1)
    sharp = morphology.white_tophat(smooth, morphology.disk(WIRE_RADIUS)) > WIRE_CONTRAST
    labels = measure.label(sharp)
    large = np.bincount(labels.ravel()) > WIRE_AREA
    large[0] = False
    return float(large[labels].mean())
