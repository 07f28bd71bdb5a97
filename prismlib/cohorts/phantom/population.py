"""The fitted coefficients of the structural causal model, read from `population.yaml`.

`benchmarks/fit_population.py` writes that file: it samples, compares with the frontal rows of
CheXpert's label table (age 18 and over, AP or PA) and corrects, with one seed, until rates and
odds ratios agree. Coefficients are in standard deviations of a mechanism's own noise (probit).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

PATH = Path(__file__).with_name("population.yaml")
PerView = tuple[float, float]


@dataclass(frozen=True)
class Equation:
    """One binary mechanism: present where intercept + weights + causes + noise is above 0.

    `intercept` is for AP and PA. `weights` act on what is upstream of all findings (age in decades
    from 60, male, habitus, frailty, acuity and the hidden diseases), `causes` on the severity of
    other findings: these are the arrows. `persistence` is the share of the noise's variance that
    the studies of one patient have in common.
    """

    intercept: PerView
    weights: Mapping[str, float] = field(default_factory=dict)
    causes: Mapping[str, float] = field(default_factory=dict)
    persistence: float = 0.0


@dataclass(frozen=True)
class Laterality:
    """How a present finding looks: the chances of right, left, both; severity's share of acuity."""

    sides: tuple[float, float, float]
    acuity: float = 0.0


@dataclass(frozen=True)
class Report:
    """How one finding is reported; pairs are for AP and PA.

    At severity s it is called positive with chance ceiling * expit((s - threshold) / 0.1), else
    uncertain with chance `doubt`. Absent, it is positive or uncertain with the chances named.
    `negative` is how often a finding neither positive nor uncertain is denied instead of left
    blank, `negative_if_clear` the same in a report that says No Finding. `echoes` are chances that
    another finding, once seen, is called by this name too, or below 0 that its own replaces it.
    """

    threshold: float
    ceiling: PerView
    doubt: float
    false_positive: PerView
    uncertain: PerView
    negative: PerView
    negative_if_clear: PerView
    echoes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DeviceReport:
    """The chance that each device kind, if present, is mentioned; pairs are for AP and PA."""

    mentioned: Mapping[str, float]
    uncertain: PerView
    negative: PerView


@dataclass(frozen=True)
class Population:
    """Every coefficient of the model; `ages` counts CheXpert's images at 18, 19, ..., 90 years.

    `leave[k]` is the chance that a patient with k + 1 studies has no further one; `frailty` is
    acuity's correlation with chronic frailty; `clear` the chance that a film on which nothing is
    seen is reported as No Finding.
    """

    ages: tuple[int, ...]
    leave: tuple[float, ...]
    male: float
    frailty: float
    view: Equation
    supine: Equation
    findings: Mapping[str, Equation]
    appearance: Mapping[str, Laterality]
    devices: Mapping[str, Equation]
    reports: Mapping[str, Report]
    device_report: DeviceReport
    clear: PerView


@lru_cache(maxsize=1)
def fitted() -> Population:
    """The population that the package ships."""
    return from_data(yaml.safe_load(PATH.read_text(encoding="utf-8")))


def from_data(data: Mapping[str, Any]) -> Population:
    """A population from plain lists and mappings, as `population.yaml` has them."""

    def each(kind: type, entries: Mapping[str, Any]) -> dict[str, Any]:
        return {name: kind(**_tuples(entry)) for name, entry in entries.items()}

    return Population(
        ages=tuple(data["ages"]),
        leave=tuple(data["leave"]),
        male=data["male"],
        frailty=data["frailty"],
        view=Equation(**_tuples(data["view"])),
        supine=Equation(**_tuples(data["supine"])),
        findings=each(Equation, data["findings"]),
        appearance=each(Laterality, data["appearance"]),
        devices=each(Equation, data["devices"]),
        reports=each(Report, data["reports"]),
        device_report=DeviceReport(**_tuples(data["device_report"])),
        clear=tuple(data["clear"]),
    )


def _tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
