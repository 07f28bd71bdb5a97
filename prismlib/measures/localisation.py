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
