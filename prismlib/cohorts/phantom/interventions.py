"""do(name = value): the direct form freezes all else, in the total form descendants respond."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from prismlib.cohorts.phantom import mechanisms
from prismlib.cohorts.phantom.population import Population, fitted
from prismlib.cohorts.phantom.subject import DEVICE_KINDS, FINDINGS, Subject
from prismlib.errors import UsageError


def intervene(subject: Subject, intervention: Mapping[str, float]) -> Subject:
    """The direct counterfactual do(name = value): descendants and noise stay as they are.

    Names are the findings, "No Finding", "Support Devices" or a device kind. A finding takes 0,
    1 (its own potential severity) or a severity between; the others take 0 or 1.
    Raises UsageError for an unknown name or a value that means nothing.
    """
    for name, value in intervention.items():
        subject = _set(subject, name, float(value))
    return subject


def total(
    subject: Subject, intervention: Mapping[str, float], population: Population | None = None
) -> Subject:
    """The total counterfactual: what the intervention causes follows, with the subject's own noise.

    A finding or device whose equation gives the same before and after stays as the subject has it.
    Names, values and errors are those of `intervene`.
    """
    population = population or fitted()
    other = intervene(subject, intervention)
    held = set(intervention) | (set(FINDINGS) if "No Finding" in intervention else set())
    numbers = np.array([subject.number])
    b = mechanisms.background(subject.seed, subject.split, numbers, population)
    severity = dict(other.severity)
    for name in mechanisms.ORDER:
        if name not in held and population.findings[name].causes:
            before = mechanisms.finding(b, name, _rows(subject.severity), population)
            after = mechanisms.finding(b, name, _rows(severity), population)
            if before[0] != after[0]:
                severity[name] = float(after[0])
    other = replace(other, severity=severity)
    if "Support Devices" in intervention:
        return other
    return replace(other, devices=_respond(subject, other, b, held, population))


def _respond(
    subject: Subject,
    other: Subject,
    b: mechanisms.Background,
    held: set[str],
    population: Population,
) -> frozenset[str]:
    """The devices of `other` after those that its findings bring or spare."""
    before = mechanisms.device_liability(b, _rows(subject.severity), population)[:, 0] > 0
    after = mechanisms.device_liability(b, _rows(other.severity), population)[:, 0] > 0
    devices = set(other.devices)
    for kind, was, becomes in zip(DEVICE_KINDS, before, after, strict=True):
        if kind not in held and was != becomes:
            devices = devices | {kind} if becomes else devices - {kind}
    return frozenset(devices)


def _rows(severity: Mapping[str, float]) -> dict[str, mechanisms.Array]:
    return {name: np.array([value]) for name, value in severity.items()}


def _set(subject: Subject, name: str, value: float) -> Subject:
    if name in FINDINGS and 0 <= value <= 1:
        severity = subject.severity[name] or subject.potential[name] if value == 1 else value
        return replace(subject, severity={**subject.severity, name: severity})
    if value not in (0, 1):
        raise UsageError(f"do({name} = {value:g}): expected 0 or 1 (findings also a severity)")
    if name == "No Finding":
        if value == 0:
            raise UsageError("do(No Finding = 0) does not say which finding; name one of them")
        return replace(subject, severity=dict.fromkeys(FINDINGS, 0.0))
    if name == "Support Devices":
        kinds = (subject.devices or subject.potential_devices) if value else frozenset()
        return replace(subject, devices=kinds)
    if name in DEVICE_KINDS:
        kinds = subject.devices | {name} if value else subject.devices - {name}
        return replace(subject, devices=frozenset(kinds))
    known = ", ".join((*FINDINGS, "No Finding", "Support Devices", *DEVICE_KINDS))
    raise UsageError(f"do({name}): no such attribute; expected one of {known}")
