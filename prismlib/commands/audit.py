"""`prism audit LABELS.csv`: what a label table and its split say before anything is trained."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prismlib.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

HELP = "split leakage, majority baselines and co-occurrence of a CheXpert-like label table"
LEAKAGE = """\
Leakage: images whose patient (or whose study) is in an earlier split too.
'paper' draws images, 'patient' draws patients; both 15% test, then 15% validation, seed 42."""
OWN_LEAKAGE = "Leakage between the splits of column {!r}: images whose patient is in both."
MAJORITY = """\
Majority: the accuracy of giving everybody the more frequent answer.
Uncertain labels count as 0 (u-zeros), as 1 (u-ones) or not at all (u-ignore); blank is 0."""
COOCCURRENCE = """\
Co-occurrence: the share of each label among images with and without another (u-zeros).
An odds ratio of 1 means that the two are independent."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `prism audit`."""
    parser.add_argument(
        "labels",
        metavar="LABELS.csv",
        help="a label table with CheXpert's columns (.csv or .csv.gz), or 'chexpert' for the "
        "table that comes with torchxrayvision",
    )
    parser.add_argument(
        "--split-column",
        metavar="NAME",
        help="a column that says which split a row is in; audits that split instead of the two",
    )
    parser.add_argument(
        "--all-labels",
        action="store_true",
        help="all of CheXpert's labels, not only the paper's four attributes",
    )


def run(args: argparse.Namespace) -> int:
    """Print the audit of `args.labels`; raise `UsageError` for what is no label table."""
    from prismlib.cohorts import audit
    from prismlib.cohorts.labels import ATTRIBUTES, LABELS, binarize, frontal, read_table

    table = read_table(_path(args.labels))
    rows = frontal(table)
    wanted = LABELS if args.all_labels else ATTRIBUTES
    columns = [label for label in wanted if label in rows] or [c for c in LABELS if c in rows]
    splits = _splits(rows, args.split_column)
    heading = OWN_LEAKAGE.format(args.split_column) if args.split_column else LEAKAGE

    _print_what_was_read(args.labels, table, rows, binarize(rows, "u-ignore", columns))
    _print(heading, _leakage(audit.leakage_table(rows, splits)))
    _print(MAJORITY, _majority(audit.majority_table(rows, columns=columns)))
    if len(columns) > 1:
        _print(COOCCURRENCE, _cooccurrence(audit.cooccurrence_table(rows, columns=columns)))
    return 0


def _path(labels: str) -> str:
    from prismlib.cohorts.chexpert import bundled_path

    return str(bundled_path()) if labels == "chexpert" and not Path(labels).exists() else labels


def _splits(rows: "pd.DataFrame", column: str | None) -> "dict[str, pd.Series]":
    from prismlib.cohorts.audit import RECIPES

    if column is None:
        return {name: cut(rows) for name, cut in RECIPES.items()}
    if column not in rows:
        raise UsageError(f"no column {column!r} in the table; it has {', '.join(rows.columns)}")
    known = rows[column].dropna().astype(str)
    if known.nunique() < 2:
        raise UsageError(
            f"column {column!r} holds {known.nunique()} value; expected two splits or more"
        )
    return {column: known}


def _print_what_was_read(
    name: str, table: "pd.DataFrame", rows: "pd.DataFrame", labels: "pd.DataFrame"
) -> None:
    uncertain = int(labels.isna().sum().sum())
    repeated = int(table["Path"].duplicated().sum()) if "Path" in table else 0
    print(f"{name}: {len(table):,} rows, {len(rows):,} of them audited", end="")
    print(" (frontal views)" if "Frontal/Lateral" in table else " (no column names the view)")
    print(f"{rows['Patient'].nunique():,} patients, {uncertain:,} uncertain labels", end="")
    print(f", {repeated:,} paths that occur again" if repeated else "")
    sys.stdout.flush()


def _print(heading: str, frame: "pd.DataFrame") -> None:
    print(f"\n{heading}\n")
    print("\n".join("  " + line for line in frame.to_string(index=False).splitlines()))


def _percent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.1f}%"


def _leakage(frame: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(
        {
            "split by": frame["split_recipe"],
            "split": frame["split"],
            "shared with": frame["shared_with"],
            "level": frame["level"],
            "images": frame["images"].map("{:,}".format),
            "shared": frame["images_shared"].map("{:,}".format),
            "share": frame["image_share"].map(_percent),
        }
    )


def _majority(frame: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    order = {attribute: place for place, attribute in enumerate(frame["attribute"].unique())}
    frame = frame.sort_values("attribute", key=lambda names: names.map(order), kind="stable")
    return pd.DataFrame(
        {
            "attribute": frame["attribute"],
            "uncertain as": frame["policy"],
            "images": frame["n"].map("{:,}".format),
            "positive": frame["prevalence"].map(_percent),
            "always": frame["majority_answer"],
            "accuracy": frame["majority_accuracy"].map("{:.3f}".format),
        }
    )


def _cooccurrence(frame: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(
        {
            "label": frame["other"],
            "given": frame["given"],
            "both": frame["n_both"].map("{:,}".format),
            "share with": frame["share_with"].map(_percent),
            "share without": frame["share_without"].map(_percent),
            "odds ratio": frame["odds_ratio"].map("{:.2f}".format),
        }
    )
