"""CheXpert: its public label table, and its radiographs where a user holds the licence."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from prismlib.cohorts import splits
from prismlib.cohorts.cohort import Image, Truth
from prismlib.cohorts.labels import LABELS, frontal, read_table, require
from prismlib.errors import PrismError, UsageError

COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *LABELS)
ROOT_NAME = re.compile(r"CheXpert-v1\.0[^/]*/")
SPLIT_NAMES = {"train": "train", "development": "validation", "test": "test", "judges": "judges"}


def read_labels(path: Path | str) -> pd.DataFrame:
    """CheXpert's `train.csv`, checked: its 19 columns in its order, then `Patient` and `Study`.

    One row for each image, laterals included; labels are 1, 0, -1 or NaN. Raises `UsageError` for
    anything else, with the row and the column at fault.
    """
    table = read_table(path)
    require(table, COLUMNS, path)
    views = table["Frontal/Lateral"].isin(("Frontal", "Lateral"))
    if not views.all():
        row = int(np.flatnonzero(~views)[0])
        got = table["Frontal/Lateral"].iloc[row]
        raise UsageError(
            f"{path}: row {row + 1}, 'Frontal/Lateral' is {got!r}; expected Frontal or Lateral"
        )
    return table


def bundled_path() -> Path:
    """Where torchxrayvision's package keeps its copy of CheXpert's label table."""
    spec = find_spec("torchxrayvision")
    if spec is None or spec.origin is None:
        raise PrismError("torchxrayvision is not installed, which brings the label table; run make")
    return Path(spec.origin).parent / "data" / "chexpert_train.csv.gz"


def bundled_labels() -> pd.DataFrame:
    """The label table of CheXpert's training set, 223,414 rows, as torchxrayvision packages it.

    Labels only: Irvin et al. 2019 made them from the reports; the images need the user's licence.
    """
    return read_labels(bundled_path())


def labels_path(root: Path | str | None) -> Path:
    """The label table of a user's CheXpert folder, or the bundled one where there is no folder."""
    return find_folder(root) / "train.csv" if root else bundled_path()


def find_folder(root: Path | str) -> Path:
    """The folder that holds `train.csv`: `root` itself or its one CheXpert-v1.0 subfolder."""
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; expected the one of CheXpert with its train.csv")
    for folder in (root, *sorted(root.glob("CheXpert-v1.0*"))):
        if (folder / "train.csv").is_file():
            return folder
    raise UsageError(
        f"{root} has no train.csv, nor has a CheXpert-v1.0 folder in it; expected CheXpert-v1.0 or "
        "CheXpert-v1.0-small as it is distributed"
    )


class CheXpertCohort:
    """Frontal radiographs of one split of a user's CheXpert folder, split by patient.

    `split` is `train`, `development`, `test` or `judges`; the four share no patient, whatever
    `seed` is. `n` images are drawn by `seed`, all if None, such that a larger `n` begins with the
    smaller one's images. `table` has CheXpert's columns, `Patient` and `Study`.
    """

    name = "chexpert"
    simulated = False

    def __init__(self, root: Path | str, split: str, n: int | None = None, seed: int = 0) -> None:
        if split not in SPLIT_NAMES:
            raise UsageError(f"split {split!r}; expected one of {', '.join(SPLIT_NAMES)}")
        self.folder = find_folder(root)
        rows = frontal(read_labels(self.folder / "train.csv"))
        chosen = splits.judges_split(rows, splits.patient_split(rows))
        rows = rows[chosen == SPLIT_NAMES[split]]
        self.table = _draw(rows, n, seed, f"split {split!r} of {self.folder}")

    def __len__(self) -> int:
        return len(self.table)

    def path(self, index: int) -> Path:
        """The file of one image; the table's paths begin with the data set's own folder name."""
        return self.folder / ROOT_NAME.sub("", str(self.table.loc[index, "Path"]), count=1)

    def image(self, index: int) -> Image:
        """One radiograph, float32 (512, 512) in [0, 1]."""
        from prismlib.cohorts.radiographs import read_radiograph

        return read_radiograph(self.path(index)).image

    def truth(self, index: int, intervention: object) -> Truth | None:
        """None: nobody knows how a real patient would look otherwise."""
        return None


def _draw(rows: pd.DataFrame, n: int | None, seed: int, where: str) -> pd.DataFrame:
    if n is None:
        return rows.reset_index(drop=True)
    if not 0 < n <= len(rows):
        raise UsageError(f"{n} images asked of {where}, which has {len(rows)}; ask for 1 to that")
    order = np.random.default_rng(seed).permutation(len(rows))[:n]
    return rows.iloc[order].reset_index(drop=True)
