"""ChestX-ray14 of the NIH Clinical Center: its label table in CheXpert's columns, its images."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from prismlib.cohorts.cohort import Image, Truth
from prismlib.cohorts.labels import LABELS
from prismlib.errors import UsageError

COLUMNS = (
    "Image Index",
    "Finding Labels",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
)
NO_FINDING = "No Finding"

# The nearest label of CheXpert for each of NIH's findings that has one.
COUNTERPARTS = {
    NO_FINDING: NO_FINDING,
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Effusion": "Pleural Effusion",
    "Infiltration": "Lung Opacity",
    "Mass": "Lung Lesion",
    "Nodule": "Lung Lesion",
    "Pleural_Thickening": "Pleural Other",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
}
WITHOUT_COUNTERPART = ("Emphysema", "Fibrosis", "Hernia")
SEXES = {"M": "Male", "F": "Female"}
TABLE = "Data_Entry_2017.csv"
HELD_OUT = 5  # one patient in so many is never trained on


def read_nih_labels(path: Path | str) -> pd.DataFrame:
    """Read `Data_Entry_2017.csv` (Wang et al. 2017) as a table in CheXpert's columns.

    `Path` is the image's file name, all views are frontal, `Patient` is NIH's number as text. A
    finding that NIH looked for is 1 or 0; what it did not (devices, fractures, the mediastinum)
    is blank, not absent. Raises `UsageError` with the row at fault.
    """
    table = _read(Path(path))
    findings = table["Finding Labels"].astype(str).str.split("|")
    _check_findings(Path(path), findings)
    columns = {
        "Path": table["Image Index"].astype(str),
        "Sex": table["Patient Gender"].map(SEXES).fillna("Unknown"),
        "Age": table["Patient Age"].astype(str).str.extract(r"(\d+)")[0].astype("float64"),
        "Frontal/Lateral": "Frontal",
        "AP/PA": table["View Position"],
        **{label: _column(findings, label) for label in LABELS},
        "Patient": table["Patient ID"].astype(str),
    }
    return pd.DataFrame(columns).reset_index(drop=True)


class NihCohort:
    """Radiographs of a folder with `Data_Entry_2017.csv` and the images below it, in any number.

    `split` is `train` or `held_out`, one patient in five; nobody is in both. `table` has CheXpert's
    columns. Raises `UsageError` for a folder without the table, or without any of its images.
    """

    simulated = False

    def __init__(self, folder: Path | str, split: str) -> None:
        if split not in ("train", "held_out"):
            raise UsageError(f"split {split!r}; expected train or held_out")
        self.name = f"nih-{split}"
        folder = Path(folder)
        table = read_nih_labels(folder / TABLE)
        self.files = {path.name: path for path in sorted(folder.rglob("*.*")) if path.is_file()}
        held_out = table["Patient"].map(lambda patient: _number(patient) % HELD_OUT == 0)
        chosen = table["Path"].isin(self.files) & (held_out == (split == "held_out"))
        self.table = table[chosen].reset_index(drop=True)
        if self.table.empty:
            raise UsageError(
                f"{folder} has none of the {split} images that its {TABLE} names; expected them "
                "in the folder or below it"
            )

    def __len__(self) -> int:
        return len(self.table)

    def image(self, index: int) -> Image:
        """One radiograph, float32 (512, 512) in [0, 1]."""
        from prismlib.cohorts.radiographs import read_radiograph

        return read_radiograph(self.files[self.table.loc[index, "Path"]]).image

    def truth(self, index: int, intervention: object) -> Truth | None:
        """None: nobody knows how a real patient would look otherwise."""
        return None


def _number(patient: str) -> int:
    """A patient's number in an order that has nothing to do with when they came."""
    return int(hashlib.sha256(patient.encode()).hexdigest()[:8], 16)


def _column(findings: pd.Series, label: str) -> pd.Series:
    """1.0 where a finding with this counterpart is named, else 0.0; NaN where none could be."""
    sources = {name for name, counterpart in COUNTERPARTS.items() if counterpart == label}
    if not sources:
        return pd.Series(np.nan, index=findings.index)
    return findings.map(lambda named: float(not sources.isdisjoint(named)))


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise UsageError(
            f"{path}: cannot be read ({reason}), expected Data_Entry_2017.csv; check the path"
        ) from error
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise UsageError(
            f"{path}: got no column {missing[0]!r}, expected those of Data_Entry_2017.csv; "
            "pass NIH's own table"
        )
    return table


def _check_findings(path: Path, findings: pd.Series) -> None:
    known = {*COUNTERPARTS, *WITHOUT_COUNTERPART}
    for row, named in enumerate(findings, start=1):
        if unknown := set(named) - known:
            raise UsageError(
                f"{path}: row {row}, got the finding {min(unknown)!r}, expected NIH's fifteen "
                "names joined by |; correct the row"
            )
