"""What makes and judges the counterfactuals of `prism edit`: loaded once, asked per request."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prismlib import paths
from prismlib.cohorts.radiographs import Radiograph, read_radiograph, read_region
from prismlib.commands.edit import BUNDLED
from prismlib.commands.edit_requests import Request
from prismlib.commands.edit_results import Result
from prismlib.editing.recipes import find_recipe
from prismlib.errors import UsageError

if TYPE_CHECKING:
    from prismlib.editing.cache import InversionCache
    from prismlib.editing.counterfactual import Counterfactual
    from prismlib.measures.familiarity import Reference, Unfamiliarity
    from prismlib.models.classifiers import Classifier
    from prismlib.models.clip import ImageTextEncoder
    from prismlib.models.pipeline import LatentDiffusion

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

_SIMULATED_MODEL = (
    f"{BUNDLED} was trained on SIMULATED radiographs: a real one lies outside what it knows, "
    "and its result is to be read as such"
)
_UNKNOWN_MODEL = (
    "what the model was trained on is not known here: look it up before reading results"
)
_SIMULATED_JUDGES = (
    f"S_CLIP and the probabilities come from {BUNDLED}'s encoder and classifier, which were "
    "trained on SIMULATED radiographs"
)
_UNBOUNDED = (
    "nothing was looked for, so that anything may have changed: the model has no grounding (then "
    "--recipe ungrounded does better), or the target prompt takes nothing known away"
)
_REDUCED = "the model works at 512x512: finer detail of the input is not in the counterfactual"


@dataclass(frozen=True)
class Engine:
    """A loaded model, the encoder and classifier that judge it, and the function that edits.

    `reference` knows the radiographs that the model was trained on, as the classifier sees them.
    """

    model: "LatentDiffusion"
    encoder: "ImageTextEncoder"
    classifier: "Classifier"
    edit: "Callable[..., list[Counterfactual]]"
    reference: "Reference | None" = None
    seed: int = 0
    kept: "InversionCache | None" = None

    def seeded(self, seed: int) -> "Engine":
        """The same with another seed of the noise."""
        return replace(self, seed=seed)

    def keeping(self, folder: Path) -> "Engine":
        """The same with inversions kept in a folder."""
        from prismlib.editing.cache import InversionCache

        return replace(self, kept=InversionCache(folder))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the weights' training data before a result is believed."""
        model = _SIMULATED_MODEL if self.model.name == BUNDLED else _UNKNOWN_MODEL
        judged = BUNDLED in (self.encoder.name, self.classifier.name)
        return (model, _SIMULATED_JUDGES) if judged else (model,)

    def provenance(self) -> dict[str, Any]:
        """Which weights took part, by name and SHA-256, and on which device."""
        parts: dict[str, Any] = {
            "model": self.model,
            "encoder": self.encoder,
            "classifier": self.classifier,
        }
        described = {
            role: {"name": part.name, "weights_sha256": part.weights_sha256}
            for role, part in parts.items()
        }
        return {**described, "device": str(self.model.device)}


@dataclass(frozen=True)
class Job:
    """A request found to be in order; its prompts are as long as they may be."""

    request: Request
    notes: tuple[str, ...]


def check_model(name: str) -> None:
    """Refuse a model that is neither bundled, nor a diffusers folder, nor shaped like a hub id."""
    if name == BUNDLED:
        return
    if Path(name).is_dir():
        if any((Path(name) / inner / "model_index.json").is_file() for inner in ("", "pipeline")):
            return
        raise UsageError(
            f"{name}: got a folder without model_index.json, expected a diffusers folder for "
            "--model; name the folder that save_pretrained wrote"
        )
    if not _HUB_ID.fullmatch(name):
        raise UsageError(
            f"got the model {name!r}, expected {BUNDLED}, a local diffusers folder or a hub id "
            "org/name; check --model"
        )


def check_images(requests: Sequence[Request]) -> None:
    """Read every image and look up every recipe once, to refuse before the first edit."""
    read: set[tuple[Path, Path | None]] = set()
    for request in requests:
        try:
            check_mask(request)
            if (request.image, request.mask) not in read:
                radiograph = read_radiograph(request.image)
                if request.mask is not None:
                    read_region(request.mask, radiograph)
                read.add((request.image, request.mask))
        except UsageError as error:
            raise request.error(str(error)) from error


def check_mask(request: Request) -> None:
    """Refuse a mask that the recipe has no use for, and a recipe without the mask it needs."""
    needed = find_recipe(request.recipe).mask == "given"
    if needed and request.mask is None:
        raise UsageError(f"got no mask for the recipe {request.recipe!r}; add --mask FILE")
    if request.mask is not None and not needed:
        raise UsageError(
            f"got a mask for the recipe {request.recipe!r}, which takes none; leave it out, or "
            "choose radedit or inpainting"
        )


def load_engine(name: str, device: str | None) -> Engine:
    """Load the model and what judges its results.

    The judges are those beside the model, in `clip/` and `classifier/` of its folder, or else
    prism-mini's.
    """
    from prismlib.editing.counterfactual import edit
    from prismlib.measures.familiarity import load_reference
    from prismlib.models.classifiers import Classifier
    from prismlib.models.clip import ImageTextEncoder
    from prismlib.models.pipeline import LatentDiffusion

    check_device(device)
    with _without_chatter():
        model = LatentDiffusion.load(name, device=device)
        encoder = ImageTextEncoder.load(_judge(name, "clip"), device=device)
        classifier = Classifier.load(_judge(name, "classifier"), device=device)
    return Engine(model, encoder, classifier, edit, load_reference(name, classifier))


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep the libraries' loading bars, and what they say before they raise, off the terminal."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    verbosity = diffusers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    diffusers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _judge(name: str, part: str) -> str:
    return name if (Path(name) / part).is_dir() else BUNDLED


def check_device(device: str | None) -> None:
    """Refuse a device that torch does not know or this machine does not have."""
    import torch

    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(
            f"got the device {device!r}, which cannot be used here, expected cpu or an installed "
            "GPU such as cuda:0; change --device or leave it out"
        ) from error


def prepare(request: Request, engine: Engine, truncate: bool) -> Job:
    """Make sure that the tokenizer takes both prompts whole; with `truncate`, cut them by words.

    Words that the model never met in training are noted.
    """
    from prismlib.commands.edit_prompts import unknown_words

    check_mask(request)
    notes: tuple[str, ...] = ()
    if truncate:
        source, source_notes = _cut(request, "source", request.source, engine.model.tokenizer)
        target, target_notes = _cut(request, "target", request.target, engine.model.tokenizer)
        request = replace(request, source=source, target=target)
        notes = (*source_notes, *target_notes)
    try:
        engine.model.embed([request.source, request.target])
    except UsageError as error:
        raise request.error(f"{error} with --truncate") from error
    judge = engine.encoder.tokenizer
    if any(_excess(judge, prompt.split()) > 0 for prompt in (request.source, request.target)):
        notes += ("S_CLIP's encoder takes fewer words than the model and saw cut prompts",)
    unknown = unknown_words((request.source, request.target), engine.model.name)
    return Job(request, (*notes, *unknown))


def _cut(request: Request, side: str, prompt: str, tokenizer: Any) -> tuple[str, tuple[str, ...]]:
    """As many words of `prompt` as the tokenizer takes, and a note if some had to go."""
    words = prompt.split()
    fitting = len(words)
    while _excess(tokenizer, words[:fitting]) > 0:
        fitting -= 1
    if fitting == len(words):
        return prompt, ()
    if fitting == 0:
        raise request.error(f"got a {side} prompt whose first word is too long; use shorter words")
    left_out = " ".join(words[fitting:])
    return " ".join(words[:fitting]), (f"the {side} prompt was cut; left out: {left_out}",)


def _excess(tokenizer: Any, words: Sequence[str]) -> int:
    """How many tokens the words take beyond the tokenizer's limit; negative if there is room."""
    return len(tokenizer.backend_tokenizer.encode(" ".join(words)).ids) - tokenizer.model_max_length


def carry_out(jobs: Sequence[Job], engine: Engine) -> list[Result]:
    """Make the counterfactuals of jobs of one recipe in one pass, and let all judges see them."""
    from prismlib.editing.masks import Region

    requests = [job.request for job in jobs]
    radiographs = [read_radiograph(request.image) for request in requests]
    recipe = replace(find_recipe(requests[0].recipe), seed=engine.seed)
    regions = None
    if recipe.mask == "given":
        regions = [
            Region(read_region(request.mask, radiograph))
            for request, radiograph in zip(requests, radiographs, strict=True)
            if request.mask is not None
        ]
    made = engine.edit(
        engine.model,
        engine.encoder,
        [radiograph.image for radiograph in radiographs],
        [request.source for request in requests],
        [request.target for request in requests],
        recipe,
        batch_size=len(jobs),
        regions=regions,
        kept=engine.kept,
    )
    return [
        _judged(job, engine, radiograph, counterfactual)
        for job, radiograph, counterfactual in zip(jobs, radiographs, made, strict=True)
    ]


def _judged(
    job: Job, engine: Engine, radiograph: Radiograph, counterfactual: "Counterfactual"
) -> Result:
    """What encoder and classifier say of one counterfactual."""
    request = job.request
    before, after = _probabilities(engine, counterfactual)
    probabilities = {
        attribute: (before[column], after[column])
        for column, attribute in enumerate(engine.classifier.attributes)
    }
    reduced = (_REDUCED,) if max(radiograph.original_shape) > max(radiograph.image.shape) else ()
    found = _unfamiliarity(engine, radiograph)
    unfamiliar = (found.sentence,) if found and found.unfamiliar else ()
    free = counterfactual.recipe.found_nothing(counterfactual.mask_share)
    unbounded = (_UNBOUNDED,) if free else ()
    notes = (*engine.notes, *reduced, *unfamiliar, *unbounded, *job.notes)
    sha256 = paths.sha256(request.image)
    return Result(request, radiograph, counterfactual, probabilities, notes, sha256, found)


def _unfamiliarity(engine: Engine, radiograph: Radiograph) -> "Unfamiliarity | None":
    import torch

    if engine.reference is None:
        return None
    images = torch.from_numpy(radiograph.image)[None, None]
    return engine.reference.judge(images, engine.classifier)[0]


def _probabilities(engine: Engine, counterfactual: "Counterfactual") -> list[list[float]]:
    """The classifier's probabilities (2, attributes) of the factual and the counterfactual."""
    import torch

    pair = np.stack([counterfactual.factual, counterfactual.image])[:, None]
    return engine.classifier.probabilities(torch.from_numpy(pair)).tolist()
