"""What is known of training images beyond their labels: latent measurements, taken once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prismlib import paths, processes
from prismlib.cohorts.cohort import Cohort
from prismlib.errors import UsageError
from prismlib.models.data import PROCESSES, SHARES, TrainingImages

FILE = "latents.csv"
_ALONE = 64


def prepare_latents(cohort: Cohort, data: TrainingImages, workers: int = PROCESSES) -> pd.DataFrame:
    """Latent measurements of a simulated cohort, a row an image, kept beside the images.

    Columns are those of `PhantomCohort.latents`, and `mm_per_pixel` of the patient; NaN where a
    subject has none, such as the angle of a recess that lies outside the film. Raises
    UsageError for a cohort of which nobody knows any.
    """
    if not cohort.simulated:
        raise UsageError(
            f"cohort {cohort.name!r} has no latent measurements; expected a simulated cohort"
        )
    path = data.folder / FILE
    if not path.is_file():
        workers = workers if len(cohort) > _ALONE else 1
        parts = np.array_split(np.arange(len(cohort)), min(len(cohort), SHARES * workers))
        found: dict[int, dict[str, float]] = {}
        for some in processes.results(
            _measure, [_Share(cohort, p.tolist()) for p in parts], workers
        ):
            found |= some
        with paths.written_whole(path) as temporary:
            pd.DataFrame([found[row] for row in range(len(cohort))]).to_csv(temporary, index=False)
    return pd.read_csv(path)


@dataclass(frozen=True)
class _Share:
    cohort: Any
    rows: list[int]


def _measure(share: _Share) -> dict[int, dict[str, float]]:
    return {
        row: {
            **share.cohort.latents(row),
            "mm_per_pixel": share.cohort.scene(row).anatomy.frame.mm_per_pixel,
        }
        for row in share.rows
    }
