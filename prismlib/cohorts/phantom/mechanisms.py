"""The structural equations, for many studies at once: arrays of shape (n,), one entry a study.

A finding or device is present where its liability is above zero: an intercept for the view, what
is upstream, the severity of its causes among the findings, and noise of its own. The view stands
for the setting that it is taken in: AP at the bedside, PA in the radiology department.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from prismlib.cohorts.phantom.noise import Array, uniforms
from prismlib.cohorts.phantom.population import Equation, Population
from prismlib.cohorts.phantom.studies import Rows, locate
from prismlib.cohorts.phantom.subject import DEVICE_KINDS, FINDINGS

Truths = NDArray[np.bool_]
Severities = Mapping[str, Array]

ORDER = (
    "Cardiomegaly", "Enlarged Cardiomediastinum", "Edema", "Pleural Effusion", "Pneumonia",
    "Consolidation", "Atelectasis", "Pneumothorax", "Lung Lesion", "Lung Opacity",
    "Pleural Other", "Fracture",
)  # fmt: skip
HIDDEN = ("frailty", "heart_failure", "lung_disease")
MILDEST = 0.04
_BODY = ("age", "sex", "habitus", *HIDDEN)
_VARIABLE = (
    "view", "supine", *FINDINGS, *(f"{name} severity" for name in FINDINGS),
    *(f"{name} side" for name in FINDINGS), *DEVICE_KINDS,
)  # fmt: skip
PATIENT_NOISE = (*_BODY, *_VARIABLE, "spurious pacemaker")
STUDY_NOISE = ("acuity", *_VARIABLE, "spurious lines", "pacemaker among lots")


@dataclass(frozen=True)
class Background:
    """All that no intervention changes.

    `upstream` has age (decades from 60), male, habitus, frailty, heart_failure, lung_disease and
    acuity; `patient_noise` and `study_noise` are uniform, by mechanism.
    """

    patient: Rows
    study: Rows
    years: Rows
    upstream: Mapping[str, Array]
    ap: Truths
    supine: Truths
    patient_noise: Mapping[str, Array]
    study_noise: Mapping[str, Array]

    def noise(self, mechanism: str, persistence: float) -> Array:
        """Standard normal noise; `persistence` of its variance is the patient's."""
        if persistence >= 1:
            return ndtri(self.patient_noise[mechanism])
        own = ndtri(self.study_noise[mechanism])
        if persistence <= 0:
            return own
        return np.sqrt(persistence) * ndtri(self.patient_noise[mechanism]) + (
            np.sqrt(1 - persistence) * own
        )


def background(seed: int, split: str, numbers: Rows, population: Population) -> Background:
    """Everything upstream of the findings in the studies that `numbers` name."""
    patient, study = locate(seed, split, numbers, population.leave)
    patient_noise = _named(seed, split, "patient", patient, PATIENT_NOISE)
    study_noise = _named(seed, split, "study", numbers, STUDY_NOISE)
    years = _ages(patient_noise["age"], population.ages)
    hidden = {name: ndtri(patient_noise[name]) for name in HIDDEN}
    frail = population.frailty
    upstream = {
        "age": (years - 60) / 10,
        "male": (patient_noise["sex"] < population.male).astype(np.float64),
        "habitus": np.clip(ndtri(patient_noise["habitus"]), -2.2, 2.2),
        **hidden,
        "acuity": frail * hidden["frailty"] + np.sqrt(1 - frail**2) * ndtri(study_noise["acuity"]),
    }
    nobody = np.zeros(len(numbers), dtype=bool)
    unseen = Background(patient, study, years, upstream, nobody, nobody, patient_noise, study_noise)
    ap = liability(unseen, "view", population.view, {}) > 0
    supine = ap & (liability(unseen, "supine", population.supine, {}) > 0)
    return Background(patient, study, years, upstream, ap, supine, patient_noise, study_noise)


def liability(b: Background, name: str, equation: Equation, severity: Severities) -> Array:
    """The linear predictor plus noise of one mechanism."""
    total = np.where(b.ap, *equation.intercept) + b.noise(name, equation.persistence)
    for parent, weight in equation.weights.items():
        total = total + weight * b.upstream[parent]
    for cause, effect in equation.causes.items():
        total = total + effect * severity[cause]
    return total


def potential(b: Background, name: str, population: Population) -> Array:
    """The severity of a finding where it is present: Kumaraswamy(1.5, 1.6) from 0.04 to 1."""
    share = population.appearance[name].acuity
    latent = b.noise(f"{name} severity", population.findings[name].persistence)
    latent = share * b.upstream["acuity"] + np.sqrt(1 - share**2) * latent
    quantile = (1 - (1 - ndtr(latent)) ** (1 / 1.6)) ** (1 / 1.5)
    return MILDEST + (1 - MILDEST) * quantile


def side(b: Background, name: str, population: Population) -> Rows:
    """Where a finding lies: the index in `SIDES`."""
    right, left, _ = population.appearance[name].sides
    place = ndtr(b.noise(f"{name} side", population.findings[name].persistence))
    return (place > right).astype(np.int64) + (place > right + left)


def finding(b: Background, name: str, severity: Severities, population: Population) -> Array:
    """The severity of one finding, 0 where it is absent, given the findings that cause it."""
    present = liability(b, name, population.findings[name], severity) > 0
    return np.where(present, potential(b, name, population), 0.0)


def findings(b: Background, population: Population) -> dict[str, Array]:
    """The severity of every finding, causes first."""
    severity: dict[str, Array] = {}
    for name in ORDER:
        severity[name] = finding(b, name, severity, population)
    return {name: severity[name] for name in FINDINGS}


def device_liability(b: Background, severity: Severities, population: Population) -> Array:
    """Liabilities of the device kinds, (kinds, n); a kind is present where its own is above 0."""
    return np.stack(
        [liability(b, kind, population.devices[kind], severity) for kind in DEVICE_KINDS]
    )


def _ages(uniform: Array, counts: Sequence[int]) -> Rows:
    below = np.cumsum(counts) / np.sum(counts)
    return 18 + np.searchsorted(below, uniform, side="right")


def _named(
    seed: int, split: str, level: str, units: Rows, names: Iterable[str]
) -> dict[str, Array]:
    names = tuple(names)
    return dict(
        zip(names, uniforms(seed, split, level, units.astype(np.uint64), names), strict=True)
    )
