"""What is kept of a training: who was seen, from where it began, on what, and what it measures."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from prismlib.models import ranks
from prismlib.models.data import TrainingImages
from prismlib.models.records import read_records, shareable
from prismlib.models.request import Request
from prismlib.models.train_unet import BASE_UNET
from prismlib.models.training import Run, Settings

Trained = tuple[list[str], dict[str, Any]]
NOTHING: Trained = ([], {})  # what is left to do for a process that does not lead


def described(request: Request, settings: Settings) -> dict[str, Any]:
    """What a call of `prism train` was told."""
    return {
        "part": request.name,
        "profile": request.profile.name,
        "simulated": request.profile.simulated,
        "cohort_size": request.cohort_size,
        "held_out": request.held_out,
        "model": shareable(str(request.model)),
        "start": started_from(request),
        "device": _device_name(),
        "processes": ranks.joined().num_processes,
        "settings": {name: shareable(value) for name, value in asdict(settings).items()},
    }


def recorded(fit: Callable[[Request, Any], Any]) -> Callable[[Request, Any], Trained]:
    """A trainer of what writes and measures itself, giving its run, data and measures."""

    def trainer(request: Request, settings: Any) -> Trained:
        run, data, measured = fit(request, settings)
        return ([request.name], record_of(run, data, measured)) if ranks.leads() else NOTHING

    return trainer


def record_of(run: Run, data: TrainingImages, measured: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a finished training."""
    patients = data.table["Patient"].astype(str)
    return {
        "steps": run.step,
        "minutes": round(run.seconds / 60, 1),
        "images": len(data),
        "first_patient": patients.min(),
        "last_patient": patients.max(),
        "data": data.key,
        "measured": dict(measured),
    }


def started_from(request: Request) -> list[dict[str, Any]] | None:
    """The records of the part that the training went on from; None if it began with nothing."""
    if request.start is None:
        return None
    model, name = request.start, request.name
    if Path(model).name == BASE_UNET:  # a part of a model, not a whole one
        model, name = str(Path(model).parent), BASE_UNET
    return [record for record in read_records(model) if record["part"] == name]


def _device_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"
