"""The label table: CheXpert's 14 columns, how a table is read, and what uncertain counts as.

A label is 1 (positive), 0 (negative), -1 (uncertain) or blank (the report does not mention it).
"""

import gzip
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from prismlib.errors import UsageError

LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
ATTRIBUTES = ("Pleural Effusion", "Cardiomegaly", "No Finding", "Support Devices")
SHOWN_ATTRIBUTES = ("Pleural Effusion", "Cardiomegaly", "Support Devices")  # the rest follows
POLICIES = ("u-zeros", "u-ones", "u-ignore")
VALUES = (1.0, 0.0, -1.0)
VISIBLE = 0.3  # severity from which a finding is usually seen
UNCERTAIN = {"u-zeros": 0.0, "u-ones": 1.0, "u-ignore": np.nan}

_PATIENT = re.compile(r"(?:^|/)(?P<Patient>patient[^/]+)(?:/(?P<Study>study[^/]+))?(?=/|$)")
_PATIENT_COLUMNS = ("Patient", "subject_id", "deid_patient_id", "PatientID", "Patient ID")
_UNREADABLE = (
    UnicodeDecodeError,
    pd.errors.ParserError,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
)


def binarize(table: pd.DataFrame, policy: str, columns: Sequence[str] = ATTRIBUTES) -> pd.DataFrame:
    """Labels as 0.0 and 1.0 under a policy for the uncertain ones.

    `u-zeros` counts an uncertain label as 0, `u-ones` as 1, `u-ignore` leaves NaN in its place
    (Irvin et al. 2019). A blank is always 0. Raises `UsageError` for any other policy.
    """
    if policy not in UNCERTAIN:
        raise UsageError(f"label policy {policy!r}; expected one of {', '.join(POLICIES)}")
    values = table[list(columns)].astype("float64").fillna(0.0)
    return values.mask(values == -1.0, UNCERTAIN[policy])


def in_picture(table: pd.DataFrame, attribute: str) -> pd.Series:
    """Whether an attribute can be there to see, bool (n,): the truth where a table knows it.

    A simulated cohort's table says what was drawn, in `severity:<finding>` and `device:<kind>`; for
    any other, what is reported positive has to do.
    """
    severities, devices = table.filter(like="severity:"), table.filter(like="device:")
    if severities.empty or devices.empty:
        return table[attribute] == 1.0
    if attribute == "Support Devices":
        return devices.any(axis=1)
    if attribute == "No Finding":
        return (severities == 0).all(axis=1)
    return table[f"severity:{attribute}"] > 0


def visible(table: pd.DataFrame, attribute: str) -> pd.Series:
    """Whether an attribute, or that it is not there, can be seen, bool (n,).

    False for findings below severity `VISIBLE`; for No Finding, where what is sick is so by no more
    than that. True for all devices, and for all of a table without severities.
    """
    columns = "severity:" if attribute == "No Finding" else f"severity:{attribute}"
    worst = table.filter(like=columns).max(axis=1)
    return ~((worst > 0) & (worst < VISIBLE))


def normal(table: pd.DataFrame) -> pd.Series:
    """Whether nothing is found and no device is there, bool (n,)."""
    return in_picture(table, "No Finding") & ~in_picture(table, "Support Devices")


def frontal(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are frontal views, with their index; all, in a table that names no views."""
    if "Frontal/Lateral" not in table:
        return table
    return table[table["Frontal/Lateral"] == "Frontal"]


def read_table(path: Path | str) -> pd.DataFrame:
    """Read a CheXpert-like CSV, gzip-compressed or not, and check the labels it has.

    Gives its columns as they are, label columns as float64, and a column `Patient` (and `Study`
    where known) taken from `Path` as in `.../patient00001/study1/view1_frontal.jpg`, or from a
    column that names the patient. Raises `UsageError`, with the first row at fault, for a file
    that is not such a table.
    """
    path = Path(path)
    table = _read_csv(path)
    table.columns = table.columns.str.strip()
    if not any(label in table for label in LABELS):
        raise UsageError(
            f"{path}: none of CheXpert's 14 label columns is there (found "
            f"{', '.join(map(str, table.columns[:6]))}); expected at least one, such as "
            f"{ATTRIBUTES[0]!r}"
        )
    if table.empty:
        raise UsageError(f"{path} has a header but no rows; expected one row for each image")
    return _with_patients(_with_labels(table, path), path)


def require(table: pd.DataFrame, columns: Sequence[str], source: Path | str) -> None:
    """Raise `UsageError` naming the first of `columns` that the table lacks."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise UsageError(
            f"{source}: no column {missing[0]!r} ({len(missing)} of {len(columns)} missing); "
            "expected the columns of CheXpert's train.csv"
        )


def _read_csv(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected a CSV of labels such as train.csv")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; expected a CSV of labels such as train.csv")
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        compression = "gzip" if zipped else None
        return pd.read_csv(path, compression=compression, encoding="utf-8-sig", low_memory=False)
    except pd.errors.EmptyDataError:
        raise UsageError(f"{path} is empty; expected a CSV of labels with a header") from None
    except OSError as error:
        if not isinstance(error, gzip.BadGzipFile):
            raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
        raise UsageError(f"{path} is not a whole gzip file: {error}") from error
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path} is not a CSV of labels ({reason}); expected UTF-8 text") from None


def _with_labels(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Label columns as float64, or `UsageError` for a value that no label has."""
    columns = {}
    for label in (label for label in LABELS if label in table):
        if isinstance(table[label], pd.DataFrame):
            raise UsageError(f"{path}: two columns are named {label!r}; expected one")
        values = pd.to_numeric(table[label], errors="coerce").astype("float64")
        wrong = ~(values.isin(VALUES) | table[label].isna())
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise UsageError(
                f"{path}: row {row + 1}, {label!r} is {table[label].iloc[row]!r}; "
                "expected 1, 0, -1 (uncertain) or blank"
            )
        columns[label] = values
    return table.assign(**columns)


def _with_patients(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    named = next((column for column in _PATIENT_COLUMNS if column in table), None)
    if named:
        patients = table[named]
        extra = pd.DataFrame({"Patient": patients.astype(str)}, index=table.index)
    elif "Path" in table:
        extra = table["Path"].astype(str).str.extract(_PATIENT)
        patients = extra["Patient"]
        extra = extra.dropna(axis="columns", how="all")
    else:
        raise UsageError(
            f"{path} does not say whose image a row is; expected a column Path "
            f"(.../patient00001/study1/...) or one of {', '.join(_PATIENT_COLUMNS)}"
        )
    if patients.isna().any():
        row = int(np.flatnonzero(patients.isna())[0])
        got = table[named or "Path"].iloc[row]
        raise UsageError(
            f"{path}: row {row + 1} names no patient ({named or 'Path'} is {got!r}); expected, "
            "for example, CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
        )
    return table.assign(**{name: extra[name] for name in extra})
