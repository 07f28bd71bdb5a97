"""A simulated cohort on disk, in the shape of CheXpert: label table, folders by patient, PNGs.

DIR/train.csv                                        CheXpert's columns, then ours; written last
DIR/train/patient100000/study1/view1_frontal.png     the factual image, 8-bit grey
    .../view1_frontal.do-support-devices-0.png       a true counterfactual
    .../view1_frontal.do-support-devices-0.mask.png  where it differs from the factual
    .../view1_frontal.mask-heart.png                 a mask: 255 inside
DIR/counterfactuals.csv                              which counterfactual belongs to which image
DIR/cohort.json                                      what was asked for; written first
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from prismlib import __version__, paths
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.errors import UsageError
from prismlib.progress import progress
from prismlib.report.artefacts import SIMULATED, write_json

ROOT_NAME = "CheXpert-v1.0-phantom"
FRONTAL = "view1_frontal"
RECORD = "cohort.json"


@dataclass(frozen=True)
class Recipe:
    """What is to be made; the same recipe makes the same folder, byte for byte."""

    n: int
    seed: int
    split: str
    spurious: str | float
    interventions: tuple[Mapping[str, float], ...]
    masks: bool


def make(recipe: Recipe, folder: Path) -> Path:
    """Write the folder, or the rest of it; give the path of its label table.

    Raises `UsageError` before anything is written if the recipe means nothing, or if the folder
    holds anything but an earlier run of the same recipe.
    """
    cohort = PhantomCohort(recipe.split, recipe.n, seed=recipe.seed, spurious=recipe.spurious)
    for intervention in recipe.interventions:
        cohort.truth(0, intervention)
    record = {"domain": SIMULATED, "made_by": f"prismlib {__version__}", **asdict(recipe)}
    _claim(folder, json.loads(json.dumps(record)))
    write_json(record, folder / RECORD)
    for index in progress(range(recipe.n), "subjects", recipe.n):
        _write_subject(cohort, index, recipe, folder)
    if recipe.interventions:
        _write_table(_counterfactuals(cohort, recipe), folder / "counterfactuals.csv")
    table = cohort.table.assign(Path=[_listed(cohort, i) for i in range(recipe.n)])
    _write_table(table.drop(columns="Patient"), folder / "train.csv")
    return folder / "train.csv"


def slug(intervention: Mapping[str, float]) -> str:
    """An intervention as part of a file name: `do-support-devices-0`."""
    parts = (f"{name}-{value:g}" for name, value in intervention.items())
    return "do-" + "-".join(parts).lower().replace(" ", "-").replace("_", "-")


def _claim(folder: Path, record: dict[str, object]) -> None:
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


def _write_subject(cohort: PhantomCohort, index: int, recipe: Recipe, folder: Path) -> None:
    place = folder / _file(cohort, index)
    pictures = _pictures(cohort, index, recipe)
    names = _names(cohort, recipe)
    if all(place.with_name(name).is_file() for name in names):
        return
    for name, picture in zip(names, pictures, strict=True):
        _write_png(picture, place.with_name(name))


def _names(cohort: PhantomCohort, recipe: Recipe) -> list[str]:
    names = [f"{FRONTAL}.png"]
    for intervention in recipe.interventions:
        stem = f"{FRONTAL}.{slug(intervention)}"
        names += [f"{stem}.png", f"{stem}.mask.png"]
    if recipe.masks:
        names += [f"{FRONTAL}.mask-{name}.png" for name in _mask_names(cohort)]
    return names


def _pictures(cohort: PhantomCohort, index: int, recipe: Recipe) -> Iterator[NDArray[np.uint8]]:
    """The pictures of one subject, in the order of `_names`."""
    yield _grey(cohort.image(index))
    for intervention in recipe.interventions:
        truth = cohort.truth(index, intervention)
        yield _grey(truth.image)
        yield _grey(truth.mask)
    if recipe.masks:
        yield from map(_grey, cohort.masks(index).values())


def _mask_names(cohort: PhantomCohort) -> list[str]:
    return [name.lower().replace(" ", "-").replace("_", "-") for name in cohort.masks(0)]


def _grey(image: NDArray[np.float32] | NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.rint(image.astype(np.float32) * 255).astype(np.uint8)


def _write_png(pixels: NDArray[np.uint8], path: Path) -> None:
    """An 8-bit grey PNG whose text says that nobody was imaged."""
    information = PngInfo()
    information.add_text("Description", f"{SIMULATED} radiograph, no patient")
    with paths.written_whole(path) as temporary:
        PillowImage.fromarray(pixels).save(temporary, pnginfo=information)


def _file(cohort: PhantomCohort, index: int) -> Path:
    return Path("train") / str(cohort.table.loc[index, "Patient"]) / "study1" / f"{FRONTAL}.png"


def _listed(cohort: PhantomCohort, index: int, name: str | None = None) -> str:
    """A file as the tables name it: from the data set's folder, as CheXpert does."""
    file = Path(ROOT_NAME) / _file(cohort, index)
    return (file.with_name(name) if name else file).as_posix()


def _counterfactuals(cohort: PhantomCohort, recipe: Recipe) -> pd.DataFrame:
    rows = [
        {
            "Path": _listed(cohort, index),
            "Intervention": ", ".join(f"{name}={value:g}" for name, value in given.items()),
            "Counterfactual": _listed(cohort, index, f"{FRONTAL}.{slug(given)}.png"),
            "Mask": _listed(cohort, index, f"{FRONTAL}.{slug(given)}.mask.png"),
        }
        for index in range(recipe.n)
        for given in recipe.interventions
    ]
    return pd.DataFrame(rows)


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with paths.written_whole(path) as temporary:
        table.assign(domain=SIMULATED).to_csv(temporary, index=False)
