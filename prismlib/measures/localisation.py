"""Whether a difference map points at the right place."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score

from prismlib.errors import UsageError


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
    difference: NDArray[np.float32], mask: NDArray[np.bool_], threshold: float | None = None
) -> float:
    """Intersection over union of the true mask and of where |difference| is largest.

    Both are (H, W). By default as many pixels are marked as the mask holds, those that changed
    most (more where the last are equal, none that did not change): what is asked is the place and
    the shape, of faint and strong edits alike. With a `threshold`, a fraction of full scale, all
    that reach it are marked. A mask from geometry takes in pixels that hardly change, so that at a
    fixed threshold even the true difference scores low; set it beside. NaN if the mask is empty.
    """
    if difference.shape != mask.shape:
        raise UsageError(f"got a difference of {difference.shape} and a mask of {mask.shape}")
    if threshold is not None and not threshold > 0:
        raise UsageError(f"got a threshold of {threshold}, expected above 0")
    if not mask.any():
        return float("nan")
    size = np.abs(difference)
    if threshold is None:
        threshold = float(np.sort(size, axis=None)[-mask.sum()])
    marked = (size >= threshold) & (size > 0)
    return float((marked & mask).sum() / (marked | mask).sum())


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
