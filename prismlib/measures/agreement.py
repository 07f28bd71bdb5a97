"""Whether a measurement may be believed: how well it follows the truth, and what it can resolve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

WITHIN = 1.96  # standard deviations that hold 95 % of a normal distribution


@dataclass(frozen=True)
class BlandAltman:
    """How far a measurement lies from the truth, in its own unit.

    `bias` is the mean of measured minus truth; 95 % of such differences are expected between `low`
    and `high`; `least_change` is the smallest change between two measurements of one subject that
    is not just the scatter of both; `n` subjects were measured.
    """

    n: int
    bias: float
    low: float
    high: float
    least_change: float


def bland_altman(latent: ArrayLike, measured: ArrayLike) -> BlandAltman:
    """Bias, 95 % limits of agreement and least detectable change of a measurement (N,).

    The limits are the bias -+ 1.96 standard deviations of the differences, the least detectable
    change is 1.96 sqrt(2) standard deviations. Subjects without a measurement (NaN) are left out;
    all is NaN if fewer than two remain. (Bland and Altman, Lancet 1986; 327:307.)
    """
    differences = np.asarray(measured, dtype=float) - np.asarray(latent, dtype=float)
    differences = differences[np.isfinite(differences)]
    if differences.size < 2:
        return BlandAltman(differences.size, *[float("nan")] * 4)
    bias, spread = float(differences.mean()), WITHIN * float(differences.std(ddof=1))
    return BlandAltman(
        differences.size, bias, bias - spread, bias + spread, float(np.sqrt(2)) * spread
    )


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
    return float(WITHIN * np.sqrt(np.mean(changes**2))) if changes.size else float("nan")
