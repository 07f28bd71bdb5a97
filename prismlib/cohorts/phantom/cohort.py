"""A simulated cohort behind the interface that real cohorts share."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from prismlib.cohorts.cohort import SPLITS, Image, Truth
from prismlib.cohorts.labels import LABELS
from prismlib.cohorts.phantom.latents import latent_measures
from prismlib.cohorts.phantom.lettering import burned_in_text
from prismlib.cohorts.phantom.render import Scene
from prismlib.cohorts.phantom.scm import Sample, sample, sample_subject
from prismlib.cohorts.phantom.subject import DEVICE_KINDS, FINDINGS, Subject
from prismlib.errors import UsageError

VERSION = 1  # of the cohort: a change to any picture, label or split makes the next
DEFAULT_SIZE = 1000
FIRST_PATIENT = dict(zip(SPLITS, (100_000, 400_000, 600_000, 800_000), strict=True))
MOST = 200_000  # studies of a split; beyond them patients' numbers would meet the next split's


class PhantomCohort:
    """`n` simulated studies of a split, one image each; SIMULATED.

    The table has CheXpert's columns with its blanks and uncertain entries, `Patient`, and what no
    report says: for each device kind a column `device:<kind>` of 0 and 1, for each finding
    `severity:<finding>` in [0, 1]. Row `i` is the same in a cohort of any size; splits share no
    patient. Raises UsageError for an unknown split or an n that is not in 1 to `MOST`.
    """

    simulated = True

    def __init__(
        self, split: str, n: int | None = None, *, seed: int = 0, spurious: str | float = "natural"
    ) -> None:
        n = DEFAULT_SIZE if n is None else n
        if split not in SPLITS:
            raise UsageError(f"split {split!r}; expected one of {', '.join(SPLITS)}")
        if not 1 <= n <= MOST:
            raise UsageError(f"a cohort of {n} subjects; expected 1 to {MOST}")
        self.name = f"phantom-{split}"
        self.split, self.seed, self.spurious = split, seed, spurious
        self._size = n
        self.table = label_table(sample(seed, split, np.arange(n), spurious))

    def __len__(self) -> int:
        return self._size

    def subject(self, index: int) -> Subject:
        """The latent subject behind row `index`."""
        if not 0 <= index < self._size:
            raise IndexError(f"subject {index} of a cohort of {self._size}")
        return sample_subject(self.seed, self.split, index, self.spurious)

    def image(self, index: int) -> Image:
        """The factual radiograph, float32 (512, 512) in [0, 1]."""
        return self.scene(index).image(self.subject(index))

    def clean(self, index: int) -> Image:
        """The same radiograph without quantum noise."""
        return self.scene(index).image(self.subject(index), noise=False)

    def truth(self, index: int, intervention: Mapping[str, float]) -> Truth:
        """The direct counterfactual under `intervention`, all else held, noise included."""
        return self.scene(index).truth(self.subject(index), intervention)

    def masks(self, index: int) -> dict[str, NDArray[np.bool_]]:
        """Organ, finding and device masks by name, bool (512, 512) each."""
        return self.scene(index).masks(self.subject(index))

    def lettering(self, index: int) -> Image:
        """The letters burned into the radiograph, float32 (512, 512) in [0, 1]; 0 elsewhere."""
        return burned_in_text(self.subject(index))

    def latents(self, index: int) -> dict[str, float]:
        """What a reader would measure, known from the geometry: see `latent_measures`."""
        return latent_measures(self.scene(index), self.subject(index))

    def scene(self, index: int) -> Scene:
        """The drawn anatomy of row `index`; the last few are kept."""
        return _scene(self.seed, self.split, index, self.spurious)


def label_table(drawn: Sample) -> pd.DataFrame:
    """The table of a `PhantomCohort`, or any rows of it, drawn at once."""
    b = drawn.background
    patients = [f"patient{FIRST_PATIENT[drawn.split] + patient:06d}" for patient in b.patient]
    folder = f"phantom-{drawn.seed}/{drawn.split}"
    labels = drawn.labels()
    columns: dict[str, object] = {
        "Path": [
            f"{folder}/{patient}/study{study + 1}/view1_frontal.png"
            for patient, study in zip(patients, b.study, strict=True)
        ],
        "Sex": np.where(b.upstream["male"].astype(bool), "Male", "Female"),
        "Age": b.years,
        "Frontal/Lateral": "Frontal",
        "AP/PA": np.where(b.ap, "AP", "PA"),
    }
    columns |= {name: labels[name] for name in LABELS}
    columns |= {f"device:{kind}": drawn.devices[kind].astype(int) for kind in DEVICE_KINDS}
    columns |= {f"severity:{name}": drawn.severity[name] for name in FINDINGS}
    return pd.DataFrame(columns | {"Patient": patients})


@lru_cache(maxsize=4)
def _scene(seed: int, split: str, index: int, spurious: str | float) -> Scene:
    return Scene.of(sample_subject(seed, split, index, spurious))
