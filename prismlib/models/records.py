"""What is known of how a model's parts were trained: the records and logs beside its weights."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from prismlib.models.weights import model_folder

COLUMNS = (
    "part", "patients", "images", "steps", "samples", "batch_size", "minutes", "device",
    "measure", "value",
)  # fmt: skip


def read_records(model: str | Path) -> list[dict[str, Any]]:
    """The records that `prism train` left in a model's folder; none for a model from elsewhere."""
    folder = model_folder(model) / "training"
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def shareable(value: Any) -> Any:
    """What may stand in a record that others read: of a folder's path its last name alone."""
    path = Path(value) if isinstance(value, str) else None
    return path.name if path is not None and path.is_absolute() else value


def read_log(model: str | Path, part: str) -> pd.DataFrame:
    """A part's training log (step, samples, seconds, loss, ...); empty if there is none."""
    path = model_folder(model) / "training" / f"{part}.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["samples", "loss"])


def record_table(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row for each part and each thing measured of it on held-out subjects."""
    rows = []
    for record in records:
        settings = record["settings"]
        batch = settings["batch_size"] * settings["accumulation"]
        known = {
            "part": record["part"],
            "patients": f"{record['first_patient']} to {record['last_patient']}",
            "images": record["images"],
            "steps": record["steps"],
            "samples": record["steps"] * batch,
            "batch_size": batch,
            "minutes": record["minutes"],
            "device": record["device"],
        }
        rows += [
            {**known, "measure": name, "value": value}
            for name, value in flat(record["measured"]).items()
        ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def trained_on(records: list[dict[str, Any]]) -> str:
    """Whose radiographs the parts have seen, in a line."""
    if not all(record["simulated"] for record in records):
        return "real radiographs, under their data set's own licence"
    real = {record["part"]: record["real"]["images"] for record in records if record.get("real")}
    parts = [f"{part} also {images} real ones of ChestX-ray14" for part, images in real.items()]
    return "; ".join(["SIMULATED radiographs" if parts else "SIMULATED radiographs only", *parts])


def flat(measured: dict[str, Any], before: str = "") -> dict[str, float]:
    """Nested measures by one name each, such as `held_out: Cardiomegaly: auc`."""
    found: dict[str, float] = {}
    for name, value in measured.items():
        if isinstance(value, dict):
            found |= flat(value, f"{before}{name}: ")
        else:
            found[f"{before}{name}"] = float(value)
    return found
