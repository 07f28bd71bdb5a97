"""What `prism train` can train: for each part its data, its objective, and what is kept of it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prismlib import paths
from prismlib.cohorts.cohort import open_cohort
from prismlib.cohorts.nih import NihCohort
from prismlib.cohorts.pools import NORMAL, open_pool
from prismlib.errors import UsageError
from prismlib.models import architectures, ranks, weights
from prismlib.models.classifiers import Network
from prismlib.models.clip import ImageTextEncoder
from prismlib.models.clip_patches import with_patches_of
from prismlib.models.data import as_floats
from prismlib.models.export import RECORD, complete, export
from prismlib.models.judging import finished
from prismlib.models.latents import prepare_latents
from prismlib.models.pipeline import LatentDiffusion
from prismlib.models.places import find_letters, find_places
from prismlib.models.recording import NOTHING, Trained, described, record_of, recorded
from prismlib.models.records import read_records
from prismlib.models.request import Request
from prismlib.models.rereading import rereading
from prismlib.models.roles import auxiliary, find_role, targets
from prismlib.models.sources import find_source, widths
from prismlib.models.tokenizers import save_tokenizer
from prismlib.models.train_classifier import (
    ClassifierSettings,
    objective_for,
    resolved,
    settle_statistics,
    untrained,
    without_auxiliary,
)
from prismlib.models.train_clip import (
    ClipObjective,
    ClipSettings,
    cohort_of,
    save_clip,
    text_encoder_of,
)
from prismlib.models.train_ganterfactual import GanterfactualSettings, fitted
from prismlib.models.train_grounding import GroundingSettings, grounded
from prismlib.models.train_text import learned_tokenizer
from prismlib.models.train_unet import (
    BASE_UNET,
    UnetObjective,
    UnetSettings,
    cache_inputs,
    caption_pool,
    trainable,
    validation_loss,
)
from prismlib.models.train_vae import (
    VaeObjective,
    VaeSettings,
    begin,
    reconstruction_psnr,
    settle_latents,
)
from prismlib.models.training import Settings, settings_from
from prismlib.models.zero_shot import zero_shot

STANDARDIZE = 48  # training images, of 1024 latents each, that the latents' scale comes from


def train(request: Request) -> dict[str, Any] | None:
    """Train one part, write it below `out/model`, export it if asked; return its record.

    Under `accelerate launch` every process calls this; the first alone prepares data, writes,
    measures and reports, and the others give None.
    """
    if request.part not in TRAINERS:
        raise UsageError(f"part {request.part!r}; expected one of {', '.join(TRAINERS)}")
    kind, trainer = TRAINERS[request.part]
    settings = settings_from(kind, request.values)
    record: dict[str, Any] | None = None
    if ranks.leads():
        record = _led(request, trainer, settings)
    else:
        trainer(replace(request, report=ranks.silent, bar=False), settings)
    ranks.leave()
    return record


def _led(
    request: Request, trainer: Callable[[Request, Any], Trained], settings: Settings
) -> dict[str, Any]:
    """What the leader does: train with the others, then write, export and record alone."""
    request.out.mkdir(parents=True, exist_ok=True)
    folders, record = trainer(request, settings)
    record = described(request, settings) | record
    with paths.written_whole(request.out / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if request.export is not None:
        export(request.out, folders, weights.model_folder(request.export), request.name)
        if "pipeline/unet" in folders:
            complete(weights.model_folder(request.export), request.model)
    return record


def _first(
    request: Request, load: Callable[[str], Any], build: Callable[[], Any], seed: int
) -> Any:
    """The network to train: the one that `start` names, or one with weights drawn from a seed."""
    if request.start is None:
        return _seeded(build, seed)
    return load(request.start).requires_grad_(True).train()


def _seeded(build: Callable[[], Any], seed: int) -> Any:
    """A network with weights drawn from a seed; the global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _vae_of(model: str) -> Any:
    return LatentDiffusion.load(model).vae.float()


def _clip_of(model: str, part: str) -> Any:
    return ImageTextEncoder.load(model, part=part).model.float()


def _classifier_of(model: str, role: str) -> Any:
    return Network.load(model, role=role).model.float()


def _train_vae(request: Request, settings: VaeSettings) -> Trained:
    cohort = open_cohort(request.profile, "train", request.cohort_size)
    data = request.prepared(cohort)
    near = settings.device_weight or settings.contrast_weight
    places = find_places(cohort, data, report=request.report) if near else None
    letters = find_letters(cohort) if settings.lettered else None
    real = request.prepared(NihCohort(settings.real, "train")) if settings.real else None
    vae = _first(request, _vae_of, architectures.autoencoder, settings.seed)
    if request.start is None:
        begin(vae, data, settings, real)
    clip = ImageTextEncoder.load(request.model) if settings.feature_weight else None
    objective = VaeObjective(vae, data, settings, real, clip, places, letters)
    run = request.fit(objective, settings)
    if not ranks.leads():
        return NOTHING
    latents = settle_latents(vae, as_floats(data.images[:STANDARDIZE]), settings)
    weights.save_pretrained(vae, request.out / "model/pipeline/vae")
    measured = {"psnr_db": reconstruction_psnr(vae, request.held_out_images()[0]), **latents}
    also = {} if real is None else {"real": {"data": real.key, "images": len(real)}}
    return ["pipeline/vae"], record_of(run, data, measured) | also


def _train_tokenizer(request: Request, settings: ClipSettings) -> Trained:
    cohort = cohort_of(request.profile, settings, request.cohort_size)
    tokenizer, record = learned_tokenizer(
        cohort.table, settings.seed, settings.paraphrases, settings.vocabulary
    )
    save_tokenizer(tokenizer, request.out / "model/pipeline/tokenizer")
    return ["pipeline/tokenizer"], record


def _train_clip(request: Request, settings: ClipSettings) -> Trained:
    if request.start is not None and not (settings.freeze_text or settings.keep_text_encoder):
        raise UsageError(
            "--start of clip goes with `--set freeze_text=true`, which keeps its text side, or "
            "with `--set keep_text_encoder=true`, which leaves alone what the U-Net reads with"
        )
    cohort = cohort_of(request.profile, settings, request.cohort_size)
    data = request.prepared(cohort)
    places = find_places(cohort, data, report=request.report) if settings.place_weight else None
    tokenizer, text_tower, text = _text_side(request, settings)
    ids = (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id)
    fresh = partial(architectures.clip, *ids)
    model = _first(
        request,
        lambda name: with_patches_of(_clip_of(name, request.name), fresh()),
        fresh,
        settings.seed,
    )
    text_encoder = request.out / "model/pipeline/text_encoder"
    if text_tower is not None:
        model.text_model.load_state_dict(text_tower)
        model.text_model.requires_grad_(False)
        if ranks.leads():
            weights.save_pretrained(text_encoder_of(model), text_encoder)
            _warn_of_another(text_encoder, request)
    objective = _seeded(
        lambda: ClipObjective(model, tokenizer, data, settings, places), settings.seed
    )
    run = request.fit(objective, settings)
    if not ranks.leads():
        return NOTHING
    folder = request.out / "model" / request.name
    save_clip(model, tokenizer, folder)
    text["zero_shot"] = zero_shot(ImageTextEncoder.load(folder), *request.held_out_images())
    record = record_of(run, data, text)
    if settings.pool != "train":
        return [request.name], record
    if settings.keep_text_encoder:
        if request.start is not None:  # its record, which goes along, tells
            return [request.name], record
        before = _records_of(request.model, "text_encoder_from")
        return [request.name], {**record, "text_encoder_from": before}
    if text_tower is not None:
        before = _records_of(request.model, "text_tower_from")
        return ["pipeline/text_encoder", request.name], {**record, "text_tower_from": before}
    weights.save_pretrained(text_encoder_of(model), text_encoder)
    return ["pipeline/tokenizer", "pipeline/text_encoder", request.name], record


def _warn_of_another(encoder: Path, request: Request) -> None:
    """Say so, before the training, where the U-Net was trained beside another text encoder."""
    held = weights.model_folder(request.model) / "pipeline" / encoder.name
    if held.is_dir() and weights.fingerprint(held) != weights.fingerprint(encoder):
        request.report(
            f"the U-Net of {request.model} reads with another text encoder than the one kept: "
            f"export into a copy of {request.model}, and there train unet, base_unet and grounding "
            f"further, with --model COPY --start {request.model}"
        )


def _records_of(model: str, kept: str) -> list[dict[str, Any]]:
    """The records of what a model's image-text encoder passes on, itself or what it had so kept."""
    found = [record for record in read_records(model) if record["part"] == "clip"]
    return [each for record in found for each in record.get(kept, [record])]


def _text_side(request: Request, settings: ClipSettings) -> tuple[Any, Any, dict[str, Any]]:
    """A tokenizer, the weights of a text tower to keep (or None), and what is known of them."""
    from transformers import CLIPTokenizer

    if request.start is not None and settings.keep_text_encoder:
        return ImageTextEncoder.load(request.start, part=request.name).tokenizer, None, {}
    if settings.freeze_text:
        kept = ImageTextEncoder.load(request.model)
        return kept.tokenizer, kept.model.text_model.state_dict(), {}
    with ranks.leader_first() as leads:
        text = _train_tokenizer(request, settings)[1] if leads else {}
        folder = request.out / "model/pipeline/tokenizer"
        return CLIPTokenizer.from_pretrained(folder), None, text


def _train_unet(request: Request, settings: UnetSettings) -> Trained:
    model, begun = _with_unet(request, settings.seed)
    if settings.subjects == NORMAL:
        data = request.prepared(open_pool(request.profile, NORMAL, request.cohort_size))
    else:
        data = request.images("train", request.cohort_size)
    held_out = request.images("development", request.held_out)
    with ranks.leader_first():
        inputs = cache_inputs(model, data, settings, request.report)
        fixed = cache_inputs(model, held_out, settings, request.report)
    if begun is not None:
        rereading(model.unet, begun, model, caption_pool(data, settings)[0])
        del begun  # its frozen parts are not needed any more
    unet = trainable(model.unet, settings.whole_prompt)
    measured = UnetObjective(unet, model.scheduler, fixed, replace(settings, timestep_centre=0.0))
    objective = UnetObjective(unet, model.scheduler, inputs, settings)
    run = request.fit(objective, settings, partial(validation_loss, measured))
    if not ranks.leads():
        return NOTHING
    folder = BASE_UNET if settings.subjects == NORMAL else "pipeline/unet"
    weights.save_pretrained(unet, request.out / "model" / folder)
    return [folder], record_of(run, data, {"validation_noise_mse": validation_loss(measured)})


def _with_unet(request: Request, seed: int) -> tuple[LatentDiffusion, LatentDiffusion | None]:
    """The frozen parts with the U-Net to train, that of `start` or one drawn from a seed.

    And the model that it began in, if that is another.
    """
    load = partial(LatentDiffusion.load, device=ranks.device())
    if request.start == request.model:
        return load(request.model), None
    if request.start is not None:
        begun = load(request.start, base=request.model)
        return load(request.model, unet=begun.unet.float().requires_grad_(True)), begun
    sizes = widths(find_source(request.model))
    return load(request.model, unet=_seeded(lambda: architectures.unet(*sizes), seed)), None


def _train_classifier(request: Request, settings: ClassifierSettings) -> Trained:
    role, settings = find_role(settings.role), resolved(settings)
    pool = open_pool(request.profile, role.name, request.cohort_size)
    data = request.prepared(pool)
    known = prepare_latents(pool, data) if role.learns == "latents" else data.table
    wanted, also = targets(role, known, settings.policy), auxiliary(role, known)
    model = _first(
        request,
        lambda name: _classifier_of(name, role.name),
        lambda: untrained(settings, also.shape[1]),
        settings.seed,
    )
    wanted = np.concatenate([wanted, also], axis=1) if request.start is None else wanted
    with ranks.leader_first():
        reduced = data.at(settings.image_size)
    objective = objective_for(role, model, reduced, wanted, settings)
    run = request.fit(objective, settings)
    if not ranks.leads():
        return NOTHING
    settle_statistics(objective)
    held_out = request.images("development", request.held_out)
    images, table = as_floats(held_out.images[:]), held_out.table
    if role.learns == "latents":
        cohort = open_cohort(request.profile, "development", request.held_out)
        table = prepare_latents(cohort, held_out)
    model = without_auxiliary(model, len(role.outputs))
    network, scores = finished(role, model, images, table, settings.policy)
    network.save(request.out / "model" / role.folder)
    return [role.folder], record_of(run, data, {"held_out": scores})


TRAINERS: Mapping[str, tuple[type[Settings], Callable[[Request, Any], Trained]]] = {
    "vae": (VaeSettings, _train_vae),
    "text": (ClipSettings, _train_tokenizer),
    "clip": (ClipSettings, _train_clip),
    "unet": (UnetSettings, _train_unet),
    "classifier": (ClassifierSettings, _train_classifier),
    "ganterfactual": (GanterfactualSettings, recorded(fitted)),
    "grounding": (GroundingSettings, recorded(grounded)),
}
