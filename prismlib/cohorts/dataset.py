"""A cohort as a torch `Dataset`."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from prismlib.cohorts.cohort import Cohort
from prismlib.cohorts.labels import ATTRIBUTES, binarize
from prismlib.errors import UsageError

SIDE = 512


class CohortDataset(Dataset[dict[str, Tensor]]):
    """Images of any cohort with the four attributes, one dict of tensors a row.

    `image` is float32 (1, size, size) in [0, 1], `attributes` float32 (4,) in the order of
    `ATTRIBUTES`, 0 or 1 under the uncertainty `policy` (NaN under u-ignore), `index` the row of the
    cohort's table, int64. With an `intervention` also `counterfactual` like `image`, and `mask`,
    bool (1, size, size), where it differs. Smaller sizes average over areas. Can be sent to the
    workers of a `DataLoader`. Raises `UsageError` for a size above 512 or below 1, and for an
    intervention on a cohort that is not simulated.
    """

    def __init__(
        self,
        cohort: Cohort,
        size: int = SIDE,
        *,
        policy: str = "u-zeros",
        intervention: Mapping[str, float] | None = None,
    ) -> None:
        if not 1 <= size <= SIDE:
            raise UsageError(f"size {size}; expected 1 to {SIDE} pixels")
        if intervention is not None and not cohort.simulated:
            raise UsageError(
                f"cohort {cohort.name!r} has no true counterfactuals; expected a simulated cohort, "
                "or no intervention"
            )
        self.cohort, self.size = cohort, size
        self.intervention = None if intervention is None else dict(intervention)
        labels = binarize(cohort.table, policy)[list(ATTRIBUTES)]
        self.attributes = torch.from_numpy(labels.to_numpy(np.float32, copy=True))

    def __len__(self) -> int:
        return len(self.cohort)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Row `index`; counted from the end if negative, `IndexError` beyond the cohort."""
        row = range(len(self))[index]
        item = {
            "image": self._sized(self.cohort.image(row)),
            "attributes": self.attributes[row],
            "index": torch.tensor(row),
        }
        if self.intervention is not None:
            truth = self.cohort.truth(row, self.intervention)
            if truth is None:
                raise UsageError(f"row {row} of {self.cohort.name!r} has no true counterfactual")
            item["counterfactual"] = self._sized(truth.image)
            item["mask"] = self._sized(truth.mask.astype(np.float32)) > 0
        return item

    def _sized(self, image: np.ndarray) -> Tensor:
        whole = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None]
        if self.size == whole.shape[-1]:
            return whole
        return interpolate(whole[None], size=(self.size, self.size), mode="area")[0]
