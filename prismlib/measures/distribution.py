"""How far a set of edited images lies from a set of reference images: FID and KID.

Both look at features that some network finds (`extractors`); more than one network should be
asked, since each is blind to something. FID is biased upwards in small sets and KID is not, yet
both are noise if the sets are small: beside each stands what two halves of the reference give.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from prismlib.errors import UsageError
from prismlib.measures.extractors import Extractor, features

UNKNOWN = float("nan")
LARGEST_SUBSET = 1000
SUBSETS = 50
SPLITS = 5


@dataclass(frozen=True)
class SetDistance:
    """FID and KID of two sets through one extractor, and how large they are for no difference.

    `fid_halves` is the mean FID, `kid_halves` the root mean square KID, of two disjoint halves of
    the reference, `n_halves` images on the smaller side, over several random splits. A distance
    not clearly above these says nothing. As FID grows when sets shrink, `fid_halves` is larger
    than two unlike sets of the full size would need to be called alike.
    """

    extractor: str
    n_reference: int
    n_generated: int
    fid: float
    fid_halves: float
    kid: float
    kid_halves: float
    n_halves: int


class _Given(torch.nn.Module):
    """Stands where torchmetrics expects a network: the features are already there."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, given: Tensor) -> Tensor:
        return given


def fid(reference: Tensor, generated: Tensor) -> float:
    """Frechet distance of Gaussians fitted to features (N, D) and (M, D) (Heusel et al. 2017).

    NaN if a set has fewer than two rows. Far fewer rows than columns leave the covariances
    incomplete, and the value large.
    """
    _check(reference, generated)
    if min(len(reference), len(generated)) < 2:
        return UNKNOWN
    metric = FrechetInceptionDistance(_Given(reference.shape[1])).set_dtype(torch.float64)
    metric.update(reference.double(), real=True)
    metric.update(generated.double(), real=False)
    return float(metric.compute())


def kid(reference: Tensor, generated: Tensor, rng: np.random.Generator | None = None) -> float:
    """Squared maximum mean discrepancy of features (N, D) and (M, D), kernel (x.y/D + 1)^3.

    Binkowski et al. (2018). Unbiased, so that sets that do not differ scatter around 0 and half of
    them score below. The sets are compared in equal parts of at most 1000 rows: in one if they are
    of one size, else in the mean of 50 that `rng` draws (default: seeded with 0). NaN if a set has
    fewer than two rows.
    """
    _check(reference, generated)
    size = min(len(reference), len(generated), LARGEST_SUBSET)
    if size < 2:
        return UNKNOWN
    whole = len(reference) == len(generated) == size
    with warnings.catch_warnings():
        # It warns that it keeps all features in memory; they are there already.
        warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance`")
        metric = KernelInceptionDistance(
            _Given(reference.shape[1]), subsets=1 if whole else SUBSETS, subset_size=size
        )
    metric.update(reference.double(), real=True)
    metric.update(generated.double(), real=False)
    rng = np.random.default_rng(0) if rng is None else rng
    with torch.random.fork_rng(devices=[]):  # it draws from torch's own stream
        torch.manual_seed(int(rng.integers(2**31)))
        return float(metric.compute()[0])


def set_distances(
    reference: Tensor,
    generated: Tensor,
    extractors: Mapping[str, Extractor],
    *,
    patients: Sequence[str] | None = None,
    rng: np.random.Generator | None = None,
) -> list[SetDistance]:
    """FID and KID of images (N, 1, H, W) and (M, 1, H, W) in [0, 1], a row an extractor.

    `patients` (N,) says whose the reference images are, so that no patient stands in both halves.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    splits = [_halves(len(reference), patients, rng) for _ in range(SPLITS)]
    rows = []
    for name, extractor in extractors.items():
        real, edited = features(reference, extractor), features(generated, extractor)
        pairs = [(real[first], real[second]) for first, second in splits]
        rows.append(
            SetDistance(
                extractor=name,
                n_reference=len(real),
                n_generated=len(edited),
                fid=fid(real, edited),
                fid_halves=float(np.mean([fid(*pair) for pair in pairs])),
                kid=kid(real, edited, rng),
                kid_halves=float(np.sqrt(np.mean([kid(*pair, rng) ** 2 for pair in pairs]))),
                n_halves=min(len(half) for split in splits for half in split),
            )
        )
    return rows


def _halves(
    n: int, patients: Sequence[str] | None, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two disjoint halves of n rows, the same patients never in both."""
    names = np.arange(n) if patients is None else np.asarray(patients)
    if len(names) != n:
        raise UsageError(f"got {len(names)} patients for {n} reference images")
    people = rng.permutation(np.unique(names))
    first = np.isin(names, people[: len(people) // 2])
    return np.flatnonzero(first), np.flatnonzero(~first)


def _check(reference: Tensor, generated: Tensor) -> None:
    if reference.ndim != 2 or generated.shape[1:] != reference.shape[1:]:
        raise UsageError(
            f"got features of {tuple(reference.shape)} and {tuple(generated.shape)}, "
            "expected (N, D) and (M, D)"
        )
