"""What an edit keeps: distances between two radiographs, and between an edit and the truth."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from prismlib.errors import UsageError

if TYPE_CHECKING:
    from prismlib.cohorts.cohort import Truth

Image = NDArray[np.float32]

WINDOW = 11  # pixels: the Gaussian of sigma 1.5, cut off at 3.5 sigma
SCALES = 5


def _same_shape(a: Image, b: Image) -> None:
    if a.shape != b.shape:
        raise UsageError(f"got images of {a.shape} and {b.shape}, expected one shape: resize first")


def l1(a: Image, b: Image, where: NDArray[np.bool_] | None = None) -> float:
    """Mean absolute difference in fractions of full scale, as in the paper's Table 2.

    `where` restricts the mean to the pixels of a mask; NaN if the mask is empty.
    """
    _same_shape(a, b)
    distances = np.abs(np.subtract(a, b, dtype=np.float64))
    if where is not None:
        if where.shape != a.shape:
            raise UsageError(f"got a mask of {where.shape} for images of {a.shape}")
        distances = distances[where]
    return float(distances.mean()) if distances.size else float("nan")


def psnr(a: Image, b: Image) -> float:
    """Peak signal-to-noise ratio in decibels for a peak of 1; infinite for equal images."""
    _same_shape(a, b)
    error = float(np.mean(np.subtract(a, b, dtype=np.float64) ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def ssim(a: Image, b: Image) -> float:
    """Structural similarity with the Gaussian window of Wang et al. (2004), sigma 1.5.

    Raises UsageError for images smaller than the window, 11 pixels.
    """
    _same_shape(a, b)
    _large_enough(a, WINDOW)
    return float(
        structural_similarity(
            a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def ms_ssim(a: Image, b: Image) -> float:
    """Multi-scale structural similarity over five halvings (Wang, Simoncelli and Bovik 2003).

    In [0, 1]: where structure is inverted at some scale, it counts as 0 there. Raises UsageError
    for images of fewer than 161 pixels a side, whose last scale the window would not fit.
    """
    _same_shape(a, b)
    _large_enough(a, (WINDOW - 1) * 2 ** (SCALES - 1) + 1)
    first, second = (torch.from_numpy(np.asarray(x, dtype=np.float64))[None, None] for x in (a, b))
    return float(multiscale_structural_similarity_index_measure(first, second, data_range=1.0))


def _large_enough(image: Image, least: int) -> None:
    if min(image.shape) < least:
        raise UsageError(f"got images of {image.shape}, expected at least {least} pixels a side")


def error_to_truth(
    counterfactual: Image, factual: Image, autoencoded: Image, truth: "Truth"
) -> tuple[float, float]:
    """L1 error to the true counterfactual: (`error_inside`, `error_outside`) the true mask.

    Inside, the error is divided by that of doing nothing: 0 is a perfect edit, 1 no edit at all,
    more than 1 worse than none. Outside, it is divided by that of encoding and decoding alone:
    1 means that all collateral damage is the autoencoder's. NaN where there is nothing to divide
    by, as for a subject whose truth is the factual image itself.
    """
    inside, outside = truth.mask, ~truth.mask
    nothing = l1(factual, truth.image, inside)
    autoencoder = l1(autoencoded, truth.image, outside)
    return (
        l1(counterfactual, truth.image, inside) / nothing if nothing else float("nan"),
        l1(counterfactual, truth.image, outside) / autoencoder if autoencoder else float("nan"),
    )


def contrast_kept(image: Image, without: Image, with_it: Image, where: NDArray[np.bool_]) -> float:
    """How much of a feature is left: 1 = as visible as in `with_it`, 0 = gone as in `without`.

    The two references differ in the feature alone (a pacemaker, say). It is the slope of the
    regression of `image` minus `without` on their difference over the mask `where`, which should
    take in some surroundings of the feature: a shift of brightness alone leaves the slope as it
    is. NaN if the references do not differ there.
    """
    feature = np.subtract(with_it, without, dtype=np.float64)[where]
    left = np.subtract(image, without, dtype=np.float64)[where]
    feature = feature - feature.mean() if feature.size else feature
    energy = float(feature @ feature)
    return float(left @ feature) / energy if energy else float("nan")
