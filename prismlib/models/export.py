"""From a finished training to a model folder that plain libraries load."""

import json
import shutil
from pathlib import Path

import diffusers

from prismlib import paths
from prismlib.models import architectures, grounding, weights
from prismlib.models.card import write_card
from prismlib.models.records import read_records, trained_on
from prismlib.models.sources import FROZEN, find_source
from prismlib.models.training_log import LOG

RECORD = "record.json"


def export(out: Path, folders: list[str], model: Path, part: str) -> None:
    """Copy what a training left in `out/model` into a model folder, and its record and log.

    The folder is described anew from the records of all its parts.
    """
    for name in folders:
        with weights.written_folder(model / name) as temporary:
            shutil.copytree(out / "model" / name, temporary, dirs_exist_ok=True)
    training = model / "training"
    training.mkdir(exist_ok=True)
    for source, suffix in ((RECORD, "json"), (LOG, "csv")):
        if (out / source).is_file():
            with paths.written_whole(training / f"{part}.{suffix}") as temporary:
                shutil.copyfile(out / source, temporary)
    _write_index(model / "pipeline")
    describe(model)


def describe(model: Path) -> None:
    """Write a model folder's card anew, and the manifest if it is the bundled one."""
    write_card(model)
    if model.resolve() == weights.bundled_folder().resolve():
        weights.refresh_manifest(trained_on(read_records(model)))


def complete(model: Path, frozen: str) -> None:
    """Put the frozen parts beside an exported U-Net where the folder has none of its own.

    And the grounding, if there is one: it reads the same latents and the same words. They are
    copied byte for byte, so that what was cached of them is still theirs.
    """
    source = find_source(frozen).folder
    for name in FROZEN:
        if not (model / "pipeline" / name).is_dir():
            with weights.written_folder(model / "pipeline" / name) as temporary:
                shutil.copytree(source / name, temporary, dirs_exist_ok=True)
    found = grounding.beside(source)
    if found is not None and not (model / grounding.PART).is_dir():
        with weights.written_folder(model / grounding.PART) as temporary:
            shutil.copytree(found, temporary, dirs_exist_ok=True)


def _write_index(pipeline: Path) -> None:
    """`model_index.json`, by which diffusers knows what the folders of a pipeline are."""
    if not pipeline.is_dir():
        return
    if not (pipeline / "scheduler").is_dir():
        with weights.written_folder(pipeline / "scheduler") as temporary:
            architectures.scheduler().save_pretrained(temporary)
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    with paths.written_whole(pipeline / "model_index.json") as temporary:
        temporary.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
