"""What a report would say of a study: a variable of its own, distinct from what the picture shows.

A film on which nothing is seen may be called No Finding; otherwise each finding is reported by
itself. Mild findings are missed or called uncertain more often, absent ones are seldom reported.
"""

import math
from collections.abc import Mapping

import numpy as np
from scipy.special import expit

from prismlib.cohorts.labels import LABELS
from prismlib.cohorts.phantom.mechanisms import Truths
from prismlib.cohorts.phantom.noise import Array, uniforms
from prismlib.cohorts.phantom.population import Population, Report, fitted
from prismlib.cohorts.phantom.studies import Rows
from prismlib.cohorts.phantom.subject import DEVICE_KINDS, FINDINGS, Subject

SHARPNESS = 0.1
_REPORTED = ("No Finding", *FINDINGS, "Support Devices")


def band(severity: float) -> str:
    """How hard a finding is to see: `absent` (0), `hard` (< 0.3), `usual` (< 0.65) or `easy`."""
    if severity == 0:
        return "absent"
    return "hard" if severity < 0.3 else "usual" if severity < 0.65 else "easy"


def report_labels(subject: Subject, population: Population | None = None) -> dict[str, float]:
    """What a report would say: 1, 0, -1 (uncertain) or NaN (not mentioned), for all 14 labels."""
    columns = labels(
        subject.seed, subject.split, np.array([subject.number]), np.array([subject.ap]),
        {name: np.array([subject.severity[name]]) for name in FINDINGS},
        {kind: np.array([kind in subject.devices]) for kind in DEVICE_KINDS},
        population or fitted(),
    )  # fmt: skip
    return {name: float(column[0]) for name, column in columns.items()}


def labels(
    seed: int,
    split: str,
    numbers: Rows,
    ap: Truths,
    severity: Mapping[str, Array],
    devices: Mapping[str, Truths],
    population: Population,
) -> dict[str, Array]:
    """The 14 label columns of many studies, (n,) each, in CheXpert's order."""
    noise = uniforms(seed, split, "report", numbers.astype(np.uint64), _REPORTED)
    rolls = dict(zip(_REPORTED, noise, strict=True))
    seen = {name: _seen(severity[name], population.reports[name]) for name in FINDINGS}
    overlooked = np.prod([1 - chance for chance in seen.values()], axis=0)
    clear = rolls["No Finding"] < overlooked * np.where(ap, *population.clear)
    columns = {"No Finding": np.where(clear, 1.0, math.nan)}
    for name in FINDINGS:
        report = population.reports[name]
        positive, uncertain = _chances(report, ap, severity[name] > 0, seen[name], seen)
        positive, uncertain = np.where(clear, 0, positive), np.where(clear, 0, uncertain)
        denied = np.where(
            clear, np.where(ap, *report.negative_if_clear), np.where(ap, *report.negative)
        )
        columns[name] = _call(rolls[name], positive, uncertain, denied)
    columns["Support Devices"] = _device_label(rolls["Support Devices"], ap, devices, population)
    return {name: columns[name] for name in LABELS}


def _seen(severity: Array, report: Report) -> Array:
    return np.where(severity > 0, expit((severity - report.threshold) / SHARPNESS), 0.0)


def _chances(
    report: Report, ap: Truths, present: Truths, seen: Array, all_seen: Mapping[str, Array]
) -> tuple[Array, Array]:
    """The chances of a positive and of an uncertain label."""
    positive = np.where(present, np.where(ap, *report.ceiling) * seen,
                        np.where(ap, *report.false_positive))  # fmt: skip
    for other, chance in report.echoes.items():
        echo = chance * all_seen[other]
        positive = np.where(echo > 0, 1 - (1 - positive) * (1 - echo), positive * (1 + echo))
    uncertain = np.where(present, report.doubt, np.where(ap, *report.uncertain))
    return positive, uncertain * (1 - positive)


def _call(roll: Array, positive: Array, uncertain: Array, denied: Array) -> Array:
    """One uniform number decides: positive, uncertain, then denied or not mentioned."""
    rest = (roll - positive - uncertain) / (1 - positive - uncertain)
    unsure = np.where(rest < 0, -1.0, np.where(rest < denied, 0.0, math.nan))
    return np.where(roll < positive, 1.0, unsure)


def _device_label(
    roll: Array, ap: Truths, devices: Mapping[str, Truths], population: Population
) -> Array:
    """Positive if any kind is mentioned; leads and clips seldom are."""
    report = population.device_report
    unmentioned = np.ones(len(roll))
    for kind in DEVICE_KINDS:
        unmentioned = unmentioned * (1 - report.mentioned[kind] * devices[kind])
    uncertain = np.where(ap, *report.uncertain) * unmentioned
    return _call(roll, 1 - unmentioned, uncertain, np.where(ap, *report.negative))
