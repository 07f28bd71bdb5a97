"""Every measure of each counterfactual of a task, a row a subject.

`MEASURES` says which way each is better. Which of them may serve as evidence is not assumed: see
`ranking`, which asks them about counterfactuals whose worth is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from prismlib.errors import UsageError
from prismlib.measures import alignment, effect, localisation, preservation
from prismlib.measures.axioms import excess_change, unchanged_but
from prismlib.measures.extractors import Stages
from prismlib.measures.identity import same_patient
from prismlib.measures.perceptual import perceptual_distance
from prismlib.measures.scorecard import Task, truth_errors

if TYPE_CHECKING:
    from prismlib.cohorts.cohort import Truth
    from prismlib.models.classifiers import Classifier
    from prismlib.models.clip import ImageTextEncoder
    from prismlib.models.readers import PatientVerifier

Image = NDArray[np.float32]
UNKNOWN = float("nan")
EQUAL = 100.0  # dB that equal images, whose PSNR has no bound, are given
NEAR = 12  # pixels beyond the mask that still count as its place: some 8 mm

# 1: more is better, -1: less is better, 0: best at exactly 1.
MEASURES: Mapping[str, int] = MappingProxyType(
    {
        "error_inside": -1,
        "error_outside": -1,
        "psnr_to_truth": 1,
        "ssim_to_truth": 1,
        "ms_ssim_to_truth": 1,
        "perceptual_to_truth": -1,
        "l1": -1,
        "cpg": 1,
        "signed_cpg": 1,
        "flipped": 1,
        "others_kept": 1,
        "s_clip": 1,
        "directional_similarity": 1,
        "editing_score": 1,
        "caption_gain": 1,
        "average_precision": 1,
        "iou": 1,
        "share_near": 1,
        "identity": 1,
        "excess_change": 0,
    }
)


@dataclass(frozen=True)
class Eyes:
    """What looks at the images: a judge with its feature maps, an image-text encoder, and where
    there is one a verifier of patients."""

    judge: "Classifier"
    stages: Stages
    encoder: "ImageTextEncoder"
    verifier: "PatientVerifier | None" = None


def sheet(
    task: Task, images: Sequence[Image], source: str, target: str, eyes: Eyes
) -> pd.DataFrame:
    """All of `MEASURES` for what a method made of a task's subjects, (N, measures).

    `source` and `target` are the edit's prompts. NaN where a measure cannot be taken: without a
    truth, without a verifier, or for a flip where the judge did not see the attribute before.
    """
    if len(images) != len(task.factual):
        raise UsageError(f"got {len(images)} images for {len(task.factual)} subjects")
    before, after = (_batch(pictures) for pictures in (task.factual, images))
    columns = {
        **_against_truth(task, images, eyes),
        **_effect(task, before, after, eyes.judge),
        **_words(before, after, source, target, eyes.encoder),
        **_place(task, images),
        "identity": _identity(before, after, eyes.verifier),
    }
    return pd.DataFrame(columns)[list(MEASURES)]


def _batch(images: Sequence[Image]) -> Tensor:
    return torch.from_numpy(np.stack(images).astype(np.float32))[:, None]


def _against_truth(task: Task, images: Sequence[Image], eyes: Eyes) -> dict[str, NDArray]:
    errors = truth_errors(task, images)
    measures = {
        "psnr_to_truth": lambda a, b: min(preservation.psnr(a, b), EQUAL),
        "ssim_to_truth": preservation.ssim,
        "ms_ssim_to_truth": preservation.ms_ssim,
        "perceptual_to_truth": lambda a, b: _perceptual(a, b, eyes.stages),
    }
    found = {
        name: _each(task.truths, images, lambda truth, image, m=measure: m(image, truth.image))
        for name, measure in measures.items()
    }
    return {"error_inside": errors[:, 0], "error_outside": errors[:, 1], **found}


def _perceptual(a: Image, b: Image, stages: Stages) -> float:
    return float(perceptual_distance(_batch([a]), _batch([b]), stages)[0])


def _each(truths: "Sequence[Truth | None]", images: Sequence[Image], measure) -> NDArray:
    values = [
        UNKNOWN if truth is None else measure(truth, image)
        for truth, image in zip(truths, images, strict=True)
    ]
    return np.array(values, dtype=float)


def _effect(task: Task, before: Tensor, after: Tensor, judge: "Classifier") -> dict[str, NDArray]:
    column = judge.attributes.index(task.attribute)
    first, second = (judge.probabilities(batch).double().numpy() for batch in (before, after))
    levels = np.array([judge.threshold(name) for name in judge.attributes])
    free = [judge.attributes.index(n) for n in ("No Finding",) if n in judge.attributes]
    expected = unchanged_but(
        first, column, float(task.target), thresholds=levels, free=[f for f in free if f != column]
    )
    others = np.delete(expected, column, axis=1)
    agrees = np.delete(second >= levels, column, axis=1) == (others == 1)
    kept = np.where(np.isnan(others), np.nan, agrees.astype(float))
    one, other = first[:, column], second[:, column]
    return {
        "l1": (after - before).abs().mean(dim=(1, 2, 3)).double().numpy(),
        "cpg": np.abs(other - one),
        "signed_cpg": effect.gains(one, other, task.target),
        "flipped": effect.flips(one, other, threshold=levels[column], target=task.target),
        "others_kept": np.nanmean(kept, axis=1),
    }


def _words(
    before: Tensor, after: Tensor, source: str, target: str, encoder: "ImageTextEncoder"
) -> dict[str, NDArray]:
    images = [encoder.embed_images(batch).cpu() for batch in (before, after)]
    texts = [encoder.embed_texts([text] * len(before)).cpu() for text in (source, target)]
    scores = {
        "s_clip": alignment.s_clip(*images, *texts),
        "directional_similarity": alignment.directional_similarity(*images, *texts),
        "editing_score": alignment.editing_score(images[1], texts[1]),
        "caption_gain": alignment.caption_gain(images[0], images[1], texts[1]),
    }
    return {name: score.double().numpy() for name, score in scores.items()}


def _place(task: Task, images: Sequence[Image]) -> dict[str, NDArray]:
    pairs = list(zip(task.truths, images, task.factual, strict=True))

    def each(measure) -> NDArray:
        values = [
            UNKNOWN if truth is None else measure(np.subtract(image, factual), truth)
            for truth, image, factual in pairs
        ]
        return np.array(values, dtype=float)

    excess = [
        UNKNOWN if truth is None else excess_change(image, factual, truth.image)
        for truth, image, factual in pairs
    ]
    return {
        "average_precision": each(lambda d, t: localisation.average_precision(d, t.mask)),
        "iou": each(lambda d, t: localisation.iou(d, t.mask)),
        "share_near": each(lambda d, t: localisation.share_near(d, t.mask, NEAR)),
        "excess_change": np.array(excess, dtype=float),
    }


def _identity(before: Tensor, after: Tensor, verifier: "PatientVerifier | None") -> NDArray:
    if verifier is None:
        return np.full(len(before), UNKNOWN)
    return same_patient(verifier.embed(before).numpy(), verifier.embed(after).numpy())
