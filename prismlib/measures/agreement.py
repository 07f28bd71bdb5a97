"""Whether a measurement may be believed: how well it follows the truth, and what it can resolve."""

import numpy as np
from numpy.typing import ArrayLike


def r_squared(latent: ArrayLike, measured: ArrayLike) -> float:
    """The share of a measurement's variance that the latent truth explains linearly.

    Subjects without a measurement (NaN) are left out; NaN if fewer than three remain, or if either
    side does not vary.
    """
    x, y = np.asarray(latent, dtype=float), np.asarray(measured, dtype=float)
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 3 or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return float("nan")
    return float(np.corrcoef(x[known], y[known])[0, 1] ** 2)


def least_detectable_change(unaffected: ArrayLike) -> float:
    """The smallest change of a measurement in one subject that is not just noise.

    `unaffected` (N,) are changes measured between two images of one subject that differ in
    something else alone. Their root mean square is the noise; 1.96 times it is exceeded by chance
    once in twenty. NaN if nothing was measured.
    """
    changes = np.asarray(unaffected, dtype=float)
    changes = changes[np.isfinite(changes)]
    return float(1.96 * np.sqrt(np.mean(changes**2))) if changes.size else float("nan")
