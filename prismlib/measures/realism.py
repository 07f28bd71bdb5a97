"""How far simulated radiographs are from real ones: grey levels, frequencies, single traits.

Images are float arrays (n, H, W) in [0, 1]. Distances compare two sets as wholes, so neither needs
to hold the same patients; what no such number sees, a classifier that tells them apart may.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wasserstein_distance

from prismlib.errors import UsageError

GREYS = 256
BORDER = 16  # pixels
DARK, SATURATED = 0.04, 0.98
FINEST = 0.5  # of the Nyquist frequency: from here on spatial frequencies count as fine

Images = NDArray[np.floating]


def grey_histogram(images: ArrayLike) -> NDArray[np.float64]:
    """The share of each image's pixels at each of 256 grey levels, (n, 256)."""
    greys = np.rint(np.clip(_stack(images), 0, 1) * (GREYS - 1)).astype(np.intp)
    counts = [np.bincount(image.ravel(), minlength=GREYS) for image in greys]
    return np.stack(counts) / greys[0].size


def grey_distance(one: ArrayLike, other: ArrayLike) -> float:
    """1-Wasserstein distance of the pooled grey levels of two sets, as a share of full scale.

    0 for the same grey levels; a set brighter by d throughout is d away.
    """
    levels = np.arange(GREYS) / (GREYS - 1)
    shares = [grey_histogram(images).mean(axis=0) for images in (one, other)]
    return float(wasserstein_distance(levels, levels, *shares))


def power_spectrum(images: ArrayLike) -> NDArray[np.float64]:
    """log10 of the power at 1, 2, ... cycles a picture, over all directions, (n, size // 2 - 1).

    Squares only. Each image loses its mean and is faded out towards its border (Hann window, whose
    loss of power is made good): white noise of variance v lies flat at log10(v).
    """
    stack = _stack(images)
    size = stack.shape[1]
    if stack.shape[1] != stack.shape[2]:
        raise UsageError(f"images of {stack.shape[1:]}; expected squares")
    taper = np.outer(np.hanning(size), np.hanning(size)).astype(stack.dtype)
    ring = _rings(size)
    counts = np.bincount(ring.ravel(), minlength=size)
    spectra = []
    for image in stack:
        field = np.fft.rfft2((image - image.mean()) * taper)
        power = np.bincount(ring.ravel(), (np.abs(field) ** 2).ravel(), minlength=size)
        spectra.append((power / np.maximum(counts, 1))[1 : size // 2] / np.sum(taper**2))
    return np.log10(np.maximum(spectra, 1e-20))


def power_distance(one: ArrayLike, other: ArrayLike) -> float:
    """Root mean square difference, over frequencies, of two sets' mean log10 power."""
    means = [power_spectrum(images).mean(axis=0) for images in (one, other)]
    return float(np.sqrt(np.mean((means[0] - means[1]) ** 2)))


def traits(images: ArrayLike) -> pd.DataFrame:
    """Single numbers by which a set may be told apart, one row an image.

    `mean_grey`, `contrast` (standard deviation), `entropy` (bits of the grey levels), `dark_share`
    and `saturated_share` of the pixels, `dark_border` (share of the outermost 16 pixels),
    `fine_power` and `coarse_power` (mean log10 power of the upper half of the frequencies and of
    the first eight), `symmetry` (correlation with the mirror image).
    """
    stack = _stack(images)
    shares, power = grey_histogram(stack), power_spectrum(stack)
    border = np.ones(stack.shape[1:], dtype=bool)
    border[BORDER:-BORDER, BORDER:-BORDER] = False
    fine = int(FINEST * power.shape[1])
    return pd.DataFrame(
        {
            "mean_grey": stack.mean(axis=(1, 2)),
            "contrast": stack.std(axis=(1, 2)),
            "entropy": -np.sum(shares * np.log2(np.where(shares > 0, shares, 1)), axis=1),
            "dark_share": (stack < DARK).mean(axis=(1, 2)),
            "saturated_share": (stack > SATURATED).mean(axis=(1, 2)),
            "dark_border": (stack[:, border] < DARK).mean(axis=1),
            "fine_power": power[:, fine:].mean(axis=1),
            "coarse_power": power[:, :8].mean(axis=1),
            "symmetry": [_correlation(image, image[:, ::-1]) for image in stack],
        }
    )


def equalised(images: ArrayLike) -> Images:
    """Each image with its grey levels spread evenly over [0, 1]: all histograms become one."""
    stack = _stack(images)
    ranks = np.argsort(np.argsort(stack.reshape(len(stack), -1), axis=1, kind="stable"), axis=1)
    return (ranks / (ranks.shape[1] - 1)).reshape(stack.shape).astype(np.float32)


def _rings(size: int) -> NDArray[np.intp]:
    """For each entry of a half-plane spectrum its rounded distance from the zero frequency."""
    along, across = np.fft.fftfreq(size) * size, np.fft.rfftfreq(size) * size
    return np.minimum(np.rint(np.hypot(along[:, None], across)), size - 1).astype(np.intp)


def _correlation(one: Images, other: Images) -> float:
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt(np.sum(one**2) * np.sum(other**2)))
    return float(np.sum(one * other)) / size if size else float("nan")


def _stack(images: ArrayLike) -> Images:
    stack = np.asarray(images)
    if stack.ndim != 3 or not len(stack):
        raise UsageError(f"images of shape {stack.shape}; expected (n, H, W) with n above 0")
    return stack if np.issubdtype(stack.dtype, np.floating) else stack.astype(np.float64)
