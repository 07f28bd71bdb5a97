"""Whether a difference map points at the right place."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from sklearn.metrics import average_precision_score

from prismlib.errors import UsageError

VISIBLE = 0.05
"""Fraction of full scale from which on a difference counts as a change: 13 of 255 grey levels."""

BINS = 256  # of Otsu's histogram


def average_precision(difference: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Area under the precision-recall curve of |difference| as a detector of the true mask.

    Both are (H, W). Chance scores the share of the image that the mask covers (`mask.mean()`).
    NaN if the mask is empty or covers everything: then there is nothing to detect.
    """
    if difference.shape != mask.shape:
        raise UsageError(f"got a difference of {difference.shape} and a mask of {mask.shape}")
    if mask.all() or not mask.any():
        return float("nan")
    return float(average_precision_score(mask.ravel(), np.abs(difference).ravel()))


def iou(
    difference: NDArray[np.float32], mask: NDArray[np.bool_], threshold: float = VISIBLE
) -> float:
    """Intersection over union of the true mask and of where |difference| reaches `threshold`.

    Both are (H, W). The threshold is one fixed fraction of full scale for all methods, so that a
    faint edit and one that changes everything a little both lose; a threshold fitted to each map
    (`otsu`) forgives both, and asks for the shape alone. `average_precision` needs no threshold.
    NaN if the mask is empty, as there is nothing to find, or if the threshold is NaN.
    """
    if difference.shape != mask.shape:
        raise UsageError(f"got a difference of {difference.shape} and a mask of {mask.shape}")
    if threshold <= 0:
        raise UsageError(f"got a threshold of {threshold}, expected above 0")
    if not mask.any() or np.isnan(threshold):
        return float("nan")
    marked = np.abs(difference) >= threshold
    return float((marked & mask).sum() / (marked | mask).sum())


def otsu(difference: NDArray[np.float32]) -> float:
    """The threshold that parts |difference| (H, W) into two groups best (Otsu 1979).

    NaN if the difference is the same everywhere.
    """
    size = np.abs(difference, dtype=np.float64)
    reach = float(np.ptp(size))
    # What is found is the middle of the lower group's last bin: go on to where the bin ends.
    return float(threshold_otsu(size, BINS)) + reach / BINS / 2 if reach else float("nan")


def share_near(difference: NDArray[np.float32], mask: NDArray[np.bool_], reach: float) -> float:
    """The share of the sum of |difference| that lies in the mask or within `reach` pixels of it.

    NaN if there is no difference, 0 if there is one and the mask is empty.
    """
    if difference.shape != mask.shape:
        raise UsageError(f"got a difference of {difference.shape} and a mask of {mask.shape}")
    size = np.abs(difference, dtype=np.float64)
    if not size.any():
        return float("nan")
    near = ndimage.distance_transform_edt(~mask) <= reach if mask.any() else mask
    return float(size[near].sum() / size.sum())
