"""The structural causal model: who a simulated subject is, and who they would be otherwise.

Devices and effusion share a hidden `acuity` instead of an arrow, so that taking the effusion away
leaves the devices where they are, as an edit is asked to. Every mechanism draws from a random
stream of its own, whether or not it is used; an intervention therefore changes nothing else.
The coefficients follow CheXpert's frontal label table (logits on decades from 60 years, male sex
and the AP view); acuity takes the place of the arrows between disease and devices.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from prismlib.cohorts.phantom.subject import DEVICE_KINDS, FINDINGS, LINES, Subject, stream
from prismlib.errors import UsageError

SPURIOUS = ("natural", 0.5, 0.75, 0.9, 1.0)

AGE_BANDS = ((18, 40, 0.137), (40, 60, 0.307), (60, 75, 0.307), (75, 91, 0.249))
UNCERTAIN = {name: 0.04 for name in FINDINGS}


def _chance(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


def sample_subject(
    seed: int, split: str, number: int, spurious: str | float = "natural"
) -> Subject:
    """Draw subject `number` of a split.

    `spurious` is "natural" or the probability that lines and tubes agree with effusion, and a
    pacemaker with cardiomegaly (0.5 makes them independent, 1.0 inseparable).
    Raises UsageError for any other value.
    """
    if spurious not in SPURIOUS:
        raise UsageError(f"spurious is {spurious!r}; expected one of {SPURIOUS}")

    def draw(mechanism: str) -> np.random.Generator:
        return stream(seed, split, number, mechanism)

    age = _sample_age(draw("age"))
    decades = (age - 60) / 10
    male = bool(draw("sex").random() < 0.594)
    acuity = float(draw("acuity").standard_normal())
    ap = bool(draw("view").random() < _chance(1.92 + 0.13 * decades - 0.33 * male))
    potential = {name: _severity(draw(f"{name} severity")) for name in FINDINGS}
    logits = {
        "Pleural Effusion": -0.84 + 0.02 * decades + 0.55 * ap + 0.8 * acuity,
        "Cardiomegaly": -2.28 + 0.13 * decades + 0.14 * male + 0.23 * ap + 0.2 * acuity,
        **{name: -2.0 for name in FINDINGS if name not in ("Pleural Effusion", "Cardiomegaly")},
    }
    present = {name: draw(name).random() < _chance(logit) for name, logit in logits.items()}
    devices, lots = _sample_devices(draw, age, male, ap, acuity, present, spurious)
    return Subject(
        seed=seed, split=split, number=number, patient=number, study=0, supine=False,
        side={name: ("right", "left", "both")[draw(f"{name} side").integers(3)] for name in FINDINGS},
        age=age, male=male, ap=ap, acuity=acuity,
        habitus=float(np.clip(draw("habitus").standard_normal(), -2.2, 2.2)),
        severity={name: potential[name] if present[name] else 0.0 for name in FINDINGS},
        potential=potential, devices=devices, potential_devices=lots,
    )  # fmt: skip


def _sample_age(rng: np.random.Generator) -> int:
    low, high, _ = AGE_BANDS[rng.choice(len(AGE_BANDS), p=[share for *_, share in AGE_BANDS])]
    return int(rng.integers(low, high))


def _severity(rng: np.random.Generator) -> float:
    """Continuous, reaching down to what is hard to see."""
    return float(0.08 + 0.92 * rng.beta(1.6, 1.5))


def _sample_devices(draw, age, male, ap, acuity, present, spurious):
    """Device kinds present, and the kinds a subject with lots of devices would carry."""
    decades = (age - 60) / 10
    logits = {
        **{kind: -2.5 for kind in DEVICE_KINDS},
        "pacemaker": -3.36 + 0.30 * decades + 0.45 * male + 1.08 * present["Cardiomegaly"],
        "central_line": (-1.25 if ap else -3.2) + 0.8 * acuity,
        "ecg_leads": (-0.75 if ap else -2.3) + 0.6 * acuity,
        "endotracheal_tube": (-2.45 if ap else -6.0) + 0.9 * acuity,
    }
    rolls = {kind: draw(f"{kind} present").random() for kind in DEVICE_KINDS}
    on = {kind for kind in DEVICE_KINDS if rolls[kind] < _chance(logits[kind])}
    likely = sorted(LINES, key=lambda kind: rolls[kind] / _chance(logits[kind]))
    if spurious != "natural":
        agrees = draw("spurious lines").random() < float(spurious)
        wanted = present["Pleural Effusion"] == agrees
        on = (on & {"pacemaker"}) | ((on & set(LINES) or {likely[0]}) if wanted else set())
        agrees = draw("spurious pacemaker").random() < float(spurious)
        on = on - {"pacemaker"} | ({"pacemaker"} if present["Cardiomegaly"] == agrees else set())
    lots = {likely[0], likely[1]} | ({"pacemaker"} if rolls["pacemaker"] < 0.5 else set())
    return frozenset(on), frozenset(lots)


def intervene(subject: Subject, intervention: Mapping[str, float]) -> Subject:
    """The direct counterfactual do(name = value): descendants and noise stay as they are.

    Names are the findings, "No Finding", "Support Devices" or a device kind. A finding takes 0,
    1 (its own potential severity) or a severity between; the others take 0 or 1.
    Raises UsageError for an unknown name or a value that means nothing.
    """
    for name, value in intervention.items():
        subject = _set(subject, name, float(value))
    return subject


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


def report_labels(subject: Subject) -> dict[str, float]:
    """What a report would say: 1, 0, -1 (uncertain) or NaN (not mentioned), as in CheXpert.

    The label and the picture are distinct variables: a finding that is there may be reported as
    uncertain, and most absent findings are simply not mentioned.
    """
    labels: dict[str, float] = {}
    for name in FINDINGS:
        rng = subject.stream(f"{name} report")
        uncertain, mentioned = rng.random() < UNCERTAIN[name], rng.random() < 0.15
        present = subject.severity[name] > 0
        labels[name] = -1.0 if uncertain else 1.0 if present else 0.0 if mentioned else math.nan
    labels["Support Devices"] = 1.0 if subject.devices else math.nan
    clear = subject.no_finding and not any(labels[name] == -1.0 for name in FINDINGS)
    labels["No Finding"] = 1.0 if clear else math.nan
    return labels
