"""Whether a difference map points at the right place."""

import numpy as np
from numpy.typing import NDArray
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
