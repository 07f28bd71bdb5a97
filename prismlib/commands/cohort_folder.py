"""A simulated cohort on disk, in the shape of CheXpert: label table, folders by patient, PNGs.

DIR/train.csv                                        CheXpert's columns, then ours; written last
DIR/train/patient100000/study1/view1_frontal.png     the factual image, 8-bit grey
    .../view1_frontal.do-support-devices-0.png       a true counterfactual, direct
    .../view1_frontal.do-support-devices-0.mask.png  where it differs from the factual
    .../view1_frontal.total-support-devices-0.png    the total one, its mask beside it
    .../view1_frontal.mask-heart.png                 a mask: 255 inside; none of what is not there
    .../view1_frontal.clean.png                      the same picture without noise
    .../view1_frontal.json                           what these are; written last of a study
DIR/counterfactuals.csv                              which counterfactual belongs to which image
DIR/masks.csv, DIR/latents.csv                       all masks; measurements of every picture
DIR/cohort.json                                      what was asked for; written first
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prismlib import __version__, paths, processes
from prismlib.cohorts import sealed
from prismlib.cohorts.phantom.cohort import MOST, VERSION, PhantomCohort, label_table
from prismlib.cohorts.phantom.scm import Sample, sample, sample_subject
from prismlib.commands.cohort_pictures import (
    Recipe,
    place,
    read_record,
    record_of,
    versions,
    write_studies,
)
from prismlib.errors import PrismError, UsageError
from prismlib.progress import progress
from prismlib.report.artefacts import SIMULATED, write_json

ROOT_NAME = "CheXpert-v1.0-phantom"
RECORD = "cohort.json"
CHUNK = 4096  # rows of a table in memory at once
STUDIES = 4  # that a process does before it takes the next
FEW = 12  # studies for which starting processes takes longer than the work

Row = dict[str, Any]
RowsOf = Callable[[Path, Row], Iterator[Row]]


def make(recipe: Recipe, folder: Path, workers: int | None = None) -> Path:
    """Write the folder, or the rest of it; give the path of its label table.

    `workers` processes draw, by default one a processor; the bytes do not depend on it. Raises
    `UsageError` before anything is written if the recipe means nothing, or if the folder holds
    anything but an earlier run of the same recipe, and `PrismError` if a file cannot be written.
    """
    _check(recipe, workers)
    record = {"domain": SIMULATED, "made_by": f"prismlib {__version__}", "version": VERSION}
    _claim(folder, json.loads(json.dumps({**record, **asdict(recipe)})))
    try:
        write_json({**record, **asdict(recipe)}, folder / RECORD)
        _write_studies(recipe, folder, workers)
        _write_tables(recipe, folder)
    except OSError as error:
        raise PrismError(
            f"{folder} cannot be written to ({error.strerror or error}); make room or choose "
            "another folder; the same command goes on where it stood"
        ) from error
    return folder / "train.csv"


def _check(recipe: Recipe, workers: int | None) -> None:
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers; expected at least 1")
    PhantomCohort(recipe.split, 1, seed=recipe.seed, spurious=recipe.spurious)
    if not 1 <= recipe.n <= MOST:
        raise UsageError(f"{recipe.n} subjects; expected 1 to {MOST}")
    asked = versions(sample_subject(recipe.seed, recipe.split, 0, recipe.spurious), recipe)
    if len({version.stem for version in asked}) < len(asked):
        raise UsageError("two interventions would write the same file; ask for each once")
    if recipe.total and not recipe.interventions:
        raise UsageError("--total without --do; expected an intervention, as --do 'Edema=0'")
    if recipe.split == "test":
        sealed.check_list()


def _claim(folder: Path, record: Row) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; expected a folder that is new or empty")
    if not folder.exists() or not any(folder.iterdir()):
        return
    file = folder / RECORD
    try:
        earlier = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except ValueError:
        earlier = None
    if not isinstance(earlier, dict):
        raise UsageError(f"{folder} holds other files; choose a folder that is new or empty")
    differing = [key for key in record if earlier.get(key) != record[key]]
    if differing:
        key = differing[0]
        raise UsageError(
            f"{folder} holds a cohort with {key} {earlier.get(key)!r}, not {record[key]!r}; "
            "choose another folder or the same arguments"
        )


def _write_studies(recipe: Recipe, folder: Path, workers: int | None) -> None:
    left = [i for i, image in enumerate(_images(recipe)) if not record_of(folder / image).is_file()]
    if workers is None:
        workers = 1 if len(left) <= FEW else min(processes.available(), -(-len(left) // STUDIES))
    tasks = (left[start : start + STUDIES] for start in range(0, len(left), STUDIES))
    done = processes.results(partial(write_studies, recipe, folder), tasks, workers)
    ones = (1 for count in done for _ in range(count))
    for _ in progress(ones, "subjects", len(left)):
        pass


def _samples(recipe: Recipe) -> Iterator[Sample]:
    """The rows of the cohort, a chunk at a time."""
    for start in range(0, recipe.n, CHUNK):
        rows = np.arange(start, min(start + CHUNK, recipe.n))
        yield sample(recipe.seed, recipe.split, rows, recipe.spurious)


def _images(recipe: Recipe) -> Iterator[Path]:
    """The factual image of every row, from the folder's top."""
    for drawn in _samples(recipe):
        for patient, study in zip(drawn.background.patient, drawn.background.study, strict=True):
            yield place(recipe.split, int(patient), int(study))


def _write_tables(recipe: Recipe, folder: Path) -> None:
    if recipe.interventions:
        _write_table(_chunks(recipe, folder, _counterfactuals), folder / "counterfactuals.csv")
    if recipe.masks:
        _write_table(_chunks(recipe, folder, _masks), folder / "masks.csv")
    if recipe.latents:
        _write_table(_all_columns(recipe, folder, _latents), folder / "latents.csv")
    _write_table(map(_labels, _samples(recipe)), folder / "train.csv")


def _labels(drawn: Sample) -> pd.DataFrame:
    table = label_table(drawn).drop(columns="Patient")
    severities = [name for name in table if str(name).startswith("severity:")]
    b = drawn.background
    files = [
        _listed(place(drawn.split, int(patient), int(study)))
        for patient, study in zip(b.patient, b.study, strict=True)
    ]
    return table.assign(Path=files).round(dict.fromkeys(severities, 6))


def _all_columns(recipe: Recipe, folder: Path, rows_of: RowsOf) -> Iterator[pd.DataFrame]:
    """`_chunks` with the columns of all of them, for rows that have not the same ones."""
    seen = (name for chunk in _chunks(recipe, folder, rows_of) for name in chunk)
    columns = list(dict.fromkeys(seen))
    for chunk in _chunks(recipe, folder, rows_of):
        yield chunk.reindex(columns=columns)


def _chunks(recipe: Recipe, folder: Path, rows_of: RowsOf) -> Iterator[pd.DataFrame]:
    """What `rows_of` reads from the studies' records, as tables of about `CHUNK` rows."""
    rows: list[Row] = []
    for image in _images(recipe):
        rows += rows_of(image, read_record(folder / image))
        if len(rows) >= CHUNK:
            yield pd.DataFrame(rows)
            rows = []
    if rows:
        yield pd.DataFrame(rows)


def _counterfactuals(image: Path, record: Row) -> Iterator[Row]:
    for version in record["versions"][1:]:
        file = image.with_name(version["file"])
        yield {
            "Path": _listed(image),
            "Intervention": version["intervention"],
            "Counterfactual": _listed(file),
            "Mask": _listed(file.with_suffix(".mask.png")),
            "Form": version["form"],
            "Changed": int(version["changed"]),
            **version["truth"],
        }


def _masks(image: Path, record: Row) -> Iterator[Row]:
    for structure, file in record["masks"].items():
        yield {
            "Path": _listed(image),
            "Structure": structure,
            "Mask": _listed(image.with_name(file)),
        }


def _latents(image: Path, record: Row) -> Iterator[Row]:
    for version in record["versions"]:
        names = {"Path": _listed(image.with_name(version["file"])), "Factual": _listed(image)}
        yield names | {
            "Intervention": version["intervention"],
            "Form": version["form"],
            **version["latents"],
        }


def _listed(file: Path) -> str:
    """A file as the tables name it: from the data set's folder, as CheXpert does."""
    return (Path(ROOT_NAME) / file).as_posix()


def _write_table(chunks: Iterable[pd.DataFrame], path: Path) -> None:
    """Write a table chunk by chunk, whole or not at all; the columns are the first chunk's."""
    with (
        paths.written_whole(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        for number, chunk in enumerate(chunks):
            chunk = chunk.assign(domain=SIMULATED)
            chunk.to_csv(file, index=False, header=number == 0, lineterminator="\n")
