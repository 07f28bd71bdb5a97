"""Making a classifier's probabilities mean what they say, and choosing where it decides.

Both on subjects it was not trained on, and never on test subjects.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

LEAST = 8  # of either answer; below, calibration would follow single subjects

Scores = NDArray[np.floating]


def platt(logits: Scores, truth: Scores) -> tuple[float, float]:
    """Slope and offset by which one head's logits (n,) become calibrated (Platt 1999).

    `truth` (n,) is 0, 1 or NaN. (1, 0) where there are too few of an answer, or where the head
    does not rise with the truth.
    """
    from sklearn.linear_model import LogisticRegression

    known = ~np.isnan(truth)
    answers = truth[known] == 1
    if min(answers.sum(), (~answers).sum()) < LEAST:
        return 1.0, 0.0
    fitted = LogisticRegression(C=1e6).fit(logits[known, None], answers)
    slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return (slope, offset) if slope > 0 else (1.0, 0.0)


def best_threshold(probabilities: Scores, truth: Scores) -> float:
    """The probability at which one head's balanced accuracy is highest; 0.5 where none is.

    The middle between the two neighbouring subjects. `truth` (n,) is 0, 1 or NaN.
    """
    from sklearn.metrics import roc_curve

    known = ~np.isnan(truth)
    answers, scores = truth[known] == 1, np.asarray(probabilities, dtype=float)[known]
    if min(answers.sum(), (~answers).sum()) < LEAST:
        return 0.5
    false, true, levels = roc_curve(answers, scores, drop_intermediate=False)
    level = float(levels[int((true - false).argmax())])
    below = scores[scores < level]
    return (level + float(below.max())) / 2 if below.size else level


def fold_in(model: Any, slopes: Scores, offsets: Scores) -> None:
    """Put slopes and offsets (k,) into a timm network's last layer, so that its logits are
    calibrated wherever it is loaded."""
    layer = model.get_classifier()
    with torch.no_grad():
        slope = torch.as_tensor(slopes, dtype=layer.weight.dtype, device=layer.weight.device)
        offset = torch.as_tensor(offsets, dtype=layer.bias.dtype, device=layer.bias.device)
        layer.weight.mul_(slope[:, None])
        layer.bias.mul_(slope).add_(offset)
