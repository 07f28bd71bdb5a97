"""One simulated study on disk: its pictures, and a record that says what they are."""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from prismlib import paths
from prismlib.cohorts.phantom.cohort import FIRST_PATIENT
from prismlib.cohorts.phantom.latents import latent_measures
from prismlib.cohorts.phantom.render import Scene
from prismlib.cohorts.phantom.scm import intervene, sample_subject, total
from prismlib.cohorts.phantom.subject import Subject
from prismlib.report.artefacts import SIMULATED, write_json

FRONTAL = "view1_frontal"
FORMS = {"direct": intervene, "total": total}


@dataclass(frozen=True)
class Recipe:
    """What is to be made; the same recipe makes the same folder, byte for byte.

    `interventions` ask for the direct counterfactuals, with `total` also for those in which what
    the intervention causes follows; `masks` for masks of what is there, `clean` for each picture
    also without noise, `latents` for the measurements.
    """

    n: int
    seed: int
    split: str
    spurious: str | float
    interventions: tuple[Mapping[str, float], ...] = ()
    masks: bool = False
    total: bool = False
    clean: bool = False
    latents: bool = False

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms of each counterfactual."""
        return ("direct", "total") if self.total else ("direct",)


class Version(NamedTuple):
    """A study as it is (no intervention), or as it would be; `stem` begins its files' names."""

    stem: str
    intervention: str
    form: str
    subject: Subject


def slug(intervention: Mapping[str, float], form: str = "direct") -> str:
    """An intervention as part of a file name: `do-support-devices-0`, `total-...`."""
    parts = (f"{name}-{value:g}" for name, value in intervention.items())
    return _plain(("do-" if form == "direct" else "total-") + "-".join(parts))


def place(split: str, patient: int, study: int) -> Path:
    """Where the factual image of a study lies, from the folder's top."""
    number = FIRST_PATIENT[split] + patient
    return Path("train") / f"patient{number:06d}" / f"study{study + 1}" / f"{FRONTAL}.png"


def record_of(image: Path) -> Path:
    """The record beside a factual image; the study is complete when it is there."""
    return image.with_suffix(".json")


def write_studies(recipe: Recipe, folder: Path, numbers: Sequence[int]) -> int:
    """Write all files of some studies; give how many they are."""
    for number in numbers:
        subject = sample_subject(recipe.seed, recipe.split, number, recipe.spurious)
        image = folder / place(recipe.split, subject.patient, subject.study)
        write_json(
            _write_pictures(Scene.of(subject), subject, recipe, image.parent), record_of(image)
        )
    return len(numbers)


def versions(subject: Subject, recipe: Recipe) -> list[Version]:
    """The study as it is, then under each intervention in each form."""
    found = [Version(FRONTAL, "", "factual", subject)]
    for given in recipe.interventions:
        text = ", ".join(f"{name}={value:g}" for name, value in given.items())
        for form in recipe.forms:
            other = FORMS[form](subject, given)
            found.append(Version(f"{FRONTAL}.{slug(given, form)}", text, form, other))
    return found


def _write_pictures(scene: Scene, subject: Subject, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Write every picture of a study; give its record."""
    entries = []
    drawn: list[tuple[Subject, list[NDArray[np.uint8]]]] = []
    for version in versions(subject, recipe):
        pictures = next((kept for other, kept in drawn if other == version.subject), None)
        if pictures is None:  # an intervention that changes nothing gives the picture there is
            pictures = _developed(scene, version.subject, recipe)
            drawn.append((version.subject, pictures))
        for suffix, pixels in zip((".png", ".clean.png"), pictures, strict=False):
            write_png(pixels, folder / f"{version.stem}{suffix}")
        if version.form != "factual":
            changed = scene.changed(subject, version.subject)  # from geometry
            write_png(grey(changed), folder / f"{version.stem}.mask.png")
        entries.append(_entry(scene, subject, version, recipe))
    masks = dict(_write_masks(scene, subject, folder)) if recipe.masks else {}
    return {"domain": SIMULATED, "versions": entries, "masks": masks}


def _developed(scene: Scene, subject: Subject, recipe: Recipe) -> list[NDArray[np.uint8]]:
    noises = (True, False) if recipe.clean else (True,)
    return [grey(scene.image(subject, noise=noise)) for noise in noises]


def _entry(scene: Scene, subject: Subject, version: Version, recipe: Recipe) -> dict[str, Any]:
    other = version.subject
    latents = latent_measures(scene, other) if recipe.latents else {}
    return {
        "file": f"{version.stem}.png",
        "intervention": version.intervention,
        "form": version.form,
        "changed": other != subject,
        "truth": {
            "Pleural Effusion": int(other.severity["Pleural Effusion"] > 0),
            "Cardiomegaly": int(other.severity["Cardiomegaly"] > 0),
            "No Finding": int(other.no_finding),
            "Support Devices": int(bool(other.devices)),
        },
        "latents": {name: round(value, 4) for name, value in latents.items()},
    }


def _write_masks(scene: Scene, subject: Subject, folder: Path) -> Iterator[tuple[str, str]]:
    """Write the masks that are not empty; give the file of each structure."""
    for name, mask in scene.masks(subject).items():
        if mask.any():
            file = f"{FRONTAL}.mask-{_plain(name)}.png"
            write_png(grey(mask), folder / file)
            yield name, file


def _plain(name: str) -> str:
    return name.lower().replace(" ", "-").replace("_", "-")


def grey(image: NDArray[np.float32] | NDArray[np.bool_]) -> NDArray[np.uint8]:
    """[0, 1] as 0 to 255."""
    return np.rint(image.astype(np.float32) * 255).astype(np.uint8)


def write_png(pixels: NDArray[np.uint8], path: Path) -> None:
    """An 8-bit grey PNG whose text says that nobody was imaged.

    Run lengths of filtered rows are all that is compressed: at 512x512 it takes a sixth of the
    default's time and gives a smaller file, since noise does not repeat itself.
    """
    information = PngInfo()
    information.add_text("Description", f"{SIMULATED} radiograph, no patient")
    with paths.written_whole(path) as temporary:
        PillowImage.fromarray(pixels).save(
            temporary, pnginfo=information, compress_level=1, compress_type=zlib.Z_RLE
        )


def read_record(image: Path) -> dict[str, Any]:
    """The record of a study that is complete."""
    return json.loads(record_of(image).read_text(encoding="utf-8"))
