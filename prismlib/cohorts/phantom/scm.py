"""The structural causal model: who a simulated subject is, and who they would be otherwise.

Devices and effusion share a hidden `acuity` instead of an arrow, so that taking the effusion away
leaves the devices where they are, as an edit is asked to; arrows remain where one brings the other
(pneumothorax -> chest drain, cardiomegaly -> pacemaker). Every mechanism has exogenous noise of its
own, whether or not it is used. `population.yaml` holds the coefficients and how they were fitted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prismlib.cohorts.phantom import mechanisms
from prismlib.cohorts.phantom.interventions import intervene, total
from prismlib.cohorts.phantom.mechanisms import Background, Truths
from prismlib.cohorts.phantom.noise import Array
from prismlib.cohorts.phantom.population import Population, fitted
from prismlib.cohorts.phantom.reporting import band, labels, report_labels
from prismlib.cohorts.phantom.studies import Rows
from prismlib.cohorts.phantom.subject import (
    DEVICE_KINDS,
    FINDINGS,
    LINES,
    SIDES,
    Subject,
)
from prismlib.errors import UsageError

__all__ = (
    "DEVICE_KINDS",
    "FINDINGS",
    "SPURIOUS",
    "Sample",
    "band",
    "intervene",
    "report_labels",
    "sample",
    "sample_subject",
    "total",
)

SPURIOUS = ("natural", 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class Sample:
    """Many studies at once: mappings from a name to an array (n,), one entry a study.

    `number` is the row in the split; `severity`, `potential` and `side` are by finding, the side
    as an index in `SIDES`, `devices` and `potential_devices` by device kind.
    """

    seed: int
    split: str
    number: Rows
    background: Background
    severity: Mapping[str, Array]
    potential: Mapping[str, Array]
    side: Mapping[str, Rows]
    devices: Mapping[str, Truths]
    potential_devices: Mapping[str, Truths]

    def labels(self, population: Population | None = None) -> dict[str, Array]:
        """CheXpert's 14 label columns, as `report_labels` gives them for one subject."""
        return labels(
            self.seed, self.split, self.number, self.background.ap, self.severity, self.devices,
            population or fitted(),
        )  # fmt: skip

    def subject(self, index: int) -> Subject:
        """Entry `index` as a subject."""
        b = self.background
        return Subject(
            seed=self.seed, split=self.split, number=int(self.number[index]),
            patient=int(b.patient[index]), study=int(b.study[index]), age=int(b.years[index]),
            male=bool(b.upstream["male"][index]), ap=bool(b.ap[index]),
            supine=bool(b.supine[index]), acuity=float(b.upstream["acuity"][index]),
            habitus=float(b.upstream["habitus"][index]),
            severity={name: float(values[index]) for name, values in self.severity.items()},
            potential={name: float(values[index]) for name, values in self.potential.items()},
            side={name: SIDES[values[index]] for name, values in self.side.items()},
            devices=frozenset(kind for kind, on in self.devices.items() if on[index]),
            potential_devices=frozenset(
                kind for kind, on in self.potential_devices.items() if on[index]
            ),
        )  # fmt: skip


def sample_subject(
    seed: int,
    split: str,
    number: int,
    spurious: str | float = "natural",
    population: Population | None = None,
) -> Subject:
    """Draw subject `number` of a split, the same in a cohort of any size.

    `spurious` is "natural" or the probability that lines and tubes agree with effusion, and a
    pacemaker with cardiomegaly (0.5 makes them independent, 1.0 inseparable), in what is drawn.
    Raises UsageError for any other value.
    """
    return sample(seed, split, [number], spurious, population).subject(0)


def sample(
    seed: int,
    split: str,
    numbers: Sequence[int] | Rows,
    spurious: str | float = "natural",
    population: Population | None = None,
) -> Sample:
    """Draw the studies that `numbers` name at once: 50,000 take about a second."""
    if spurious not in SPURIOUS:
        raise UsageError(f"spurious is {spurious!r}; expected one of {SPURIOUS}")
    population = population or fitted()
    rows = np.asarray(numbers, dtype=np.int64)
    b = mechanisms.background(seed, split, rows, population)
    severity = mechanisms.findings(b, population)
    liability = mechanisms.device_liability(b, severity, population)
    devices = dict(zip(DEVICE_KINDS, liability > 0, strict=True))
    likely = _two_likeliest(b, liability)
    if spurious != "natural":
        devices = _tie(b, severity, devices, likely, float(spurious))
    return Sample(
        seed=seed, split=split, number=rows, background=b, severity=severity,
        potential={name: mechanisms.potential(b, name, population) for name in FINDINGS},
        side={name: mechanisms.side(b, name, population) for name in FINDINGS},
        devices=devices, potential_devices=_lots(b, likely),
    )  # fmt: skip


def _two_likeliest(b: Background, liability: Array) -> Truths:
    """Which two lines a study is nearest to having, (lines, 2, n): the first, and both."""
    lines = liability[[DEVICE_KINDS.index(kind) for kind in LINES]]
    order = np.argsort(-lines, axis=0, kind="stable")
    place = np.arange(len(LINES))[:, None]
    first = place == order[0]
    return np.stack([first, first | (place == order[1])], axis=1)


def _lots(b: Background, likely: Truths) -> dict[str, Truths]:
    """The kinds that do(Support Devices = 1) gives to a subject who has none."""
    kinds = dict(zip(LINES, likely[:, 1], strict=True))
    return {"pacemaker": b.study_noise["pacemaker among lots"] < 0.5, **kinds}


def _tie(
    b: Background,
    severity: Mapping[str, Array],
    devices: Mapping[str, Truths],
    likely: Truths,
    strength: float,
) -> dict[str, Truths]:
    """Make lines agree with effusion and a pacemaker with cardiomegaly, with chance `strength`."""
    agrees = b.study_noise["spurious lines"] < strength
    wanted = (severity["Pleural Effusion"] > 0) == agrees
    none = ~np.any([devices[kind] for kind in LINES], axis=0)
    tied = {kind: devices[kind] for kind in DEVICE_KINDS}
    for kind, first in zip(LINES, likely[:, 0], strict=True):
        tied[kind] = wanted & (devices[kind] | (none & first))
    agrees = b.patient_noise["spurious pacemaker"] < strength
    tied["pacemaker"] = (severity["Cardiomegaly"] > 0) == agrees
    return tied
