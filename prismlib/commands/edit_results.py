"""What `prism edit` writes per request: counterfactual, difference map and a JSON of measures."""

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from prismlib import __version__, paths
from prismlib.cohorts.radiographs import Radiograph, to_original
from prismlib.commands.edit_dicom import write_dicom
from prismlib.commands.edit_marks import DISCLAIMER, marks
from prismlib.commands.edit_requests import Request
from prismlib.editing.recipes import find_recipe
from prismlib.errors import PrismError, UsageError

if TYPE_CHECKING:
    from prismlib.commands.edit_engine import Job
    from prismlib.editing.counterfactual import Counterfactual
    from prismlib.measures.familiarity import Unfamiliarity

_LIBRARIES = ("torch", "diffusers", "transformers", "timm", "numpy", "pillow", "pydicom")


class Outputs(NamedTuple):
    """The files of one request; `dicom` where it was asked for."""

    counterfactual: Path
    difference: Path
    measures: Path
    dicom: Path | None = None

    @property
    def failure(self) -> Path:
        """Where it is said why a request could not be done."""
        return self.measures.with_suffix(".failed.json")

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that are written."""
        return tuple(file for file in self if file is not None)


@dataclass(frozen=True)
class Result:
    """One request carried out; `probabilities` maps each attribute to (before, after).

    `unfamiliarity` is None where nothing is known of the radiographs that the model has seen.
    """

    request: Request
    radiograph: Radiograph
    counterfactual: "Counterfactual"
    probabilities: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]
    input_sha256: str
    unfamiliarity: "Unfamiliarity | None" = None


def plan(
    requests: Sequence[Request], folder: Path, overwrite: bool, dicom: bool = False
) -> list[Outputs]:
    """Name the files of every request, numbered where stems repeat; refuse to lose any file.

    Raises `UsageError` if `folder` cannot be written to, if an output stands from an earlier run
    and `overwrite` is false, or if an output would replace one of the inputs.
    """
    _check_folder(folder)
    taken: set[str] = set()
    outputs = []
    for request in requests:
        stem, number = request.image.stem, 2
        while stem.casefold() in taken:
            stem, number = f"{request.image.stem}_{number}", number + 1
        taken.add(stem.casefold())
        names = (f"{stem}_counterfactual.png", f"{stem}_difference.png", f"{stem}.json")
        more = (folder / f"{stem}_counterfactual.dcm",) if dicom else ()
        outputs.append(Outputs(*(folder / name for name in names), *more))
    _check_standing(requests, [file for group in outputs for file in group.files], overwrite)
    return outputs


def _check_standing(requests: Sequence[Request], files: Sequence[Path], overwrite: bool) -> None:
    given = [file for request in requests for file in (request.image, request.mask) if file]
    inputs = {file.resolve() for file in given}
    try:
        standing = [file for file in files if file.exists()]
    except OSError as error:
        raise UsageError(
            f"{error.filename}: cannot be a name for results ({error.strerror}), expected a "
            "shorter one; rename the image"
        ) from error
    if lost := [file for file in standing if file.resolve() in inputs]:
        raise UsageError(f"{lost[0]}: is an input and would be replaced; choose another --out")
    if standing and not overwrite:
        others = f" and {len(standing) - 1} more" if len(standing) > 1 else ""
        raise UsageError(
            f"{standing[0]}{others}: stands from an earlier run, expected no such file; choose "
            "another --out or add --overwrite"
        )


def _check_folder(folder: Path) -> None:
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise UsageError(f"{parent}: is a file, expected a folder for --out; choose another")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"{parent}: cannot be written to, expected a folder of yours for --out")


def measures(result: Result) -> dict[str, float]:
    """Fidelity on the picture alone, without the black borders that made it square.

    `l1` is between counterfactual and factual; the reconstruction's are between what inversion
    gives back under the source prompt and the factual.
    """
    from prismlib.measures.preservation import l1, psnr

    edited, region = result.counterfactual, result.radiograph.region
    factual = edited.factual[region]
    return {
        "l1": l1(edited.image[region], factual),
        "reconstruction_l1": l1(edited.reconstruction[region], factual),
        "reconstruction_psnr": psnr(edited.reconstruction[region], factual),
    }


def write(result: Result, outputs: Outputs, provenance: Mapping[str, Any]) -> None:
    """Write the files of a request, each whole or not at all.

    The JSON, which says that a request is done, is taken away first and comes last.
    """
    try:
        outputs.measures.unlink(missing_ok=True)
        _write_counterfactual(result, provenance, outputs.counterfactual)
        _write_difference(result, provenance, outputs.difference)
        notes = write_dicom(result, provenance, outputs.dicom) if outputs.dicom else ()
        record = _finite(_record(result, outputs, provenance, notes))
        text = json.dumps(record, indent=2, allow_nan=False)
        with paths.written_whole(outputs.measures) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise PrismError(
            f"{outputs.measures.parent}: results of {result.request.image} could not be written "
            f"({error.strerror or error}); free space or choose another --out, then run again"
        ) from error


def request_key(job: "Job", provenance: Mapping[str, Any]) -> str:
    """One SHA-256 over all that decides a request's results: its files, words and weights."""
    request = job.request
    asked = {
        "image": paths.sha256(request.image),
        "mask": None if request.mask is None else paths.sha256(request.mask),
        "prompts": [request.source, request.target],
        "recipe": asdict(find_recipe(request.recipe)),
        **{key: value for key, value in provenance.items() if key not in ("versions", "device")},
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of the libraries that shape a result."""
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"prismlib": __version__, "python": platform.python_version(), **libraries}


def _write_counterfactual(result: Result, provenance: Mapping[str, Any], path: Path) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    information = PngInfo()
    for keyword, text in marks(result, provenance, "Counterfactual radiograph").items():
        information.add_itxt(keyword, text)
    values = to_original(result.counterfactual.image, result.radiograph)
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    with paths.written_whole(path) as temporary:
        Image.fromarray(levels).save(temporary, format="PNG", pnginfo=information)


def _write_difference(result: Result, provenance: Mapping[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    from prismlib.report.figures import plot_difference

    edited = result.counterfactual
    figure = Figure(figsize=(6.4, 5.6), dpi=100, layout="constrained")
    plot_difference(edited.difference[result.radiograph.region], ax=figure.subplots())
    verdict = "passed" if edited.passed else "NOT passed"
    figure.suptitle(
        f"{result.request.image.name}: S_CLIP {edited.s_clip:.3f}, {verdict}\n{DISCLAIMER}",
        fontsize=10,
    )
    fields = marks(result, provenance, "Counterfactual minus factual radiograph")
    with paths.written_whole(path) as temporary:
        figure.savefig(temporary, format="png", metadata=fields)


def _record(
    result: Result, outputs: Outputs, provenance: Mapping[str, Any], notes: Sequence[str]
) -> dict[str, Any]:
    request, radiograph, edited = result.request, result.radiograph, result.counterfactual
    return {
        "disclaimer": DISCLAIMER,
        "source_prompt": request.source,
        "target_prompt": request.target,
        "context": edited.context,
        "mask_share": edited.mask_share,
        "residual_floor": edited.floor if edited.recipe.residual else None,
        "s_clip": edited.s_clip,
        "s_clip_threshold": edited.recipe.s_clip_threshold,
        "passed": edited.passed,
        **measures(result),
        "probabilities": {
            attribute: {"before": before, "after": after}
            for attribute, (before, after) in result.probabilities.items()
        },
        "unfamiliarity": _unfamiliarity(result),
        "self_replace": edited.self_replace,
        "margin": edited.margin,
        "insisted": edited.insisted,
        "nfe": edited.nfe,
        "seconds": edited.seconds,
        "recipe": asdict(edited.recipe),
        "input": {
            "path": str(request.image),
            "sha256": result.input_sha256,
            "kind": radiograph.kind,
            "bits": radiograph.bits,
            "photometric": radiograph.photometric,
            "height_width": radiograph.original_shape,
            "top_left_height_width_in_512": radiograph.box,
            "pixel_spacing_mm": radiograph.pixel_spacing_mm,
        },
        "outputs": {
            "counterfactual": outputs.counterfactual.name,
            "difference": outputs.difference.name,
            "dicom": outputs.dicom.name if outputs.dicom else None,
        },
        "notes": [*result.notes, *radiograph.notes, *notes],
        **provenance,
    }


def _unfamiliarity(result: Result) -> dict[str, Any] | None:
    found = result.unfamiliarity
    return None if found is None else {**asdict(found), "unfamiliar": found.unfamiliar}


def _finite(value: Any) -> Any:
    """The same record with null where a number is not finite, as JSON has no such numbers."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summary(result: Result, outputs: Outputs) -> str:
    """A line for people: whether the edit passed, what changed, at what cost, and where it is.

    A second one says so where the radiograph is unlike those that the model was trained on.
    """
    edited = result.counterfactual
    verdict = f"passed, S_CLIP {edited.s_clip:.3f}"
    if not edited.passed:
        verdict = (
            f"NOT PASSED, S_CLIP {edited.s_clip:.3f} is below "
            f"{edited.recipe.s_clip_threshold:g}: the image did not follow the prompts "
            "(written all the same)"
        )
    attribute, (before, after) = max(
        result.probabilities.items(), key=lambda item: abs(item[1][1] - item[1][0])
    )
    found = result.unfamiliarity
    warning = f"\n{result.request.image}: {found.sentence}" if found and found.unfamiliar else ""
    return (
        f"{result.request.image}: {verdict}; L1 {measures(result)['l1']:.4f}; "
        f"{attribute} {before:.2f} -> {after:.2f}; {edited.nfe} U-Net evaluations, "
        f"{edited.seconds:.1f} s; {outputs.counterfactual}{warning}"
    )
