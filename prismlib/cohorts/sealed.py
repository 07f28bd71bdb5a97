"""The test split under seal: what it is was fixed beforehand, and each opening is written down.

Settings are chosen on the development split; the test split is for code that reports. Its list and
eight of its pictures are held by `data_manifests/phantom_v1.yaml`, so that a change to the
simulator cannot change the test without being seen. Who changes a method after a list was opened
knows something of it, so there are further lists of other subjects: the same split, other seeds.
"""

import csv
import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from prismlib import paths
from prismlib.cohorts.cohort import Cohort, Image, unsealed
from prismlib.cohorts.labels import LABELS
from prismlib.config import Profile
from prismlib.errors import PrismError, UsageError

SEALED_N = 4096  # rows of the test split whose list is sealed
SEALED_SEED = 0
SEALED_LISTS = {  # names and seeds
    "test_list": SEALED_SEED,
    "second_list": 1,
    "third_list": 2,
    "fourth_list": 3,
    "fifth_list": 4,
    "sixth_list": 5,
    "seventh_list": 6,
}
SEALED_IMAGES = 8
BLOCK = 32  # pixels; a picture is held as 16x16 blocks' means and standard deviations
TOLERANCE = 1 / 255
OPENINGS = "test_openings.csv"

_TEXT = ("Path", "Patient", "Sex", "Age", "AP/PA")


def open_test(
    profile: Profile, n: int | None = None, seed: int | None = None, *, reason: str
) -> Cohort:
    """The test cohort of a profile, for what is reported; `reason` says what for.

    The simulated list is compared with the sealed one, `PrismError` if they differ. CheXpert's
    list depends on the user's copy, so its hash is recorded and compared with nothing. The opening
    is added to `runs/<profile>/test_openings.csv`, with a warning where that cannot be written.
    """
    if not reason.strip():
        raise UsageError("the test split is opened for no reason; say which table or figure it is")
    if profile.simulated:
        _check_seed(profile.seed if seed is None else seed)
        check_list()
    cohort = unsealed(profile, "test", n, seed)
    _record_opening(paths.runs(profile.name) / OPENINGS, cohort, seed, reason)
    return cohort


def manifest() -> Path:
    """Where the sealed cohort's version is described and its hashes are held."""
    from prismlib.cohorts.phantom.cohort import VERSION

    return paths.manifests() / f"phantom_v{VERSION}.yaml"


def read_manifest() -> Mapping[str, Any]:
    """The manifest of the simulated cohort; `PrismError` if it is missing."""
    path = manifest()
    if not path.is_file():
        raise PrismError(f"{path} is missing; expected the seal that comes with the checkout")
    content: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def _check_seed(seed: int) -> None:
    if seed not in SEALED_LISTS.values():
        known = " or ".join(f"{one} ({name})" for name, one in SEALED_LISTS.items())
        raise UsageError(f"no test list of seed {seed} was sealed; expected {known}")


def check_list() -> None:
    """Raise `PrismError` unless the simulated test lists are the sealed ones."""
    held = read_manifest()
    for name, seed in SEALED_LISTS.items():
        sealed, now = held[name]["sha256"], sealed_list_hash(seed)
        if now != sealed:
            raise PrismError(
                f"the simulated {name} is {now[:12]}, {manifest().name} seals {sealed[:12]}: the "
                "cohort is frozen; undo the change to the simulator, or bump VERSION and seal anew"
            )


@cache
def sealed_list_hash(seed: int = SEALED_SEED) -> str:
    """The hash of the first `SEALED_N` rows of the simulated test split at a seed."""
    from prismlib.cohorts.phantom.cohort import PhantomCohort

    return list_hash(PhantomCohort("test", SEALED_N, seed=seed).table)


def list_hash(table: pd.DataFrame) -> str:
    """The SHA-256 of a cohort's list: who, which labels, and if simulated what is in the picture.

    One line a row, fields separated by tabs: text, labels as 1, 0, -1 or nothing, severities in
    ten-thousandths; so neither pandas' formatting nor the last bit of a float has a say.
    """
    simulated = [str(c) for c in table if str(c).startswith(("device:", "severity:"))]
    names = [*_TEXT, *LABELS, *simulated]
    columns = [[_field(name, value) for value in table[name].tolist()] for name in names]
    lines = ["\t".join(names), *map("\t".join, zip(*columns, strict=True))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _field(name: str, value: Any) -> str:
    if name in _TEXT and isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return ""
    return str(round(value * 10_000)) if name.startswith("severity:") else str(int(value))


def _record_opening(path: Path, cohort: Cohort, seed: int | None, reason: str) -> None:
    opening = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
        "cohort": cohort.name,
        "n": len(cohort),
        "seed": "" if seed is None else seed,
        "sha256": list_hash(cohort.table),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="") as file:
            rows = csv.DictWriter(file, opening)
            if file.tell() == 0:
                rows.writeheader()
            rows.writerow(opening)
    except OSError as error:
        warnings.warn(f"the opening of the test split is not recorded: {error}", stacklevel=3)


def block_statistics(image: Image) -> NDArray[np.float64]:
    """Mean and standard deviation of each 32x32 block of a (512, 512) image, (2, 16, 16)."""
    side = image.shape[0] // BLOCK
    blocks = image.astype(np.float64).reshape(side, BLOCK, side, BLOCK)
    return np.stack([blocks.mean(axis=(1, 3)), blocks.std(axis=(1, 3))])


def packed(image: Image) -> str:
    """The block statistics in 255ths, as 1024 hexadecimal digits."""
    return np.rint(block_statistics(image) * 255).astype(np.uint8).tobytes().hex()


def pixel_distances(images: Sequence[Image], packs: Sequence[str]) -> list[float]:
    """How far each image's block statistics are from a packed picture's, at most.

    Means and deviations are compared, and not the pixels' hash: processors differ in the last bit
    of an exponential, and a pixel between two grey levels then falls to either side. Such a pixel
    moves a block by a thousandth of a grey level, another grain of noise by more than a whole one.
    """
    distances = []
    for image, pack in zip(images, packs, strict=True):
        held = np.frombuffer(bytes.fromhex(pack), np.uint8).reshape(2, 16, 16) / 255
        distances.append(float(np.abs(block_statistics(image) - held).max()))
    return distances


def check_pixels() -> None:
    """Raise `PrismError` unless the first simulated test pictures are the sealed ones."""
    distances = pixel_distances(sealed_images(), read_manifest()["test_pixels"]["blocks"])
    if max(distances) > TOLERANCE:
        raise PrismError(
            f"test picture {int(np.argmax(distances))} differs from {manifest().name} by "
            f"{255 * max(distances):.1f} grey levels in a block: the cohort is frozen as version "
            f"{read_manifest()['version']}; bump VERSION"
        )


def sealed_images() -> list[Image]:
    """The first `SEALED_IMAGES` pictures of the simulated test split, drawn now."""
    from prismlib.cohorts.phantom.cohort import PhantomCohort

    cohort = PhantomCohort("test", SEALED_IMAGES, seed=SEALED_SEED)
    return [cohort.image(index) for index in range(SEALED_IMAGES)]
