"""Who a simulated subject is: names, fields and the random streams that all else draws from."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FINDINGS = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion",
    "Pleural Other", "Fracture",
)  # fmt: skip
LINES = (
    "central_line", "endotracheal_tube", "nasogastric_tube", "chest_drain", "ecg_leads",
)  # fmt: skip
IMPLANTS = ("pacemaker", "sternal_wires", "surgical_clips", "shoulder_prosthesis")
DEVICE_KINDS = (*IMPLANTS, *LINES, "external_cable")
SIDES = ("right", "left", "both")


@dataclass(frozen=True)
class Subject:
    """One simulated subject at one study, before any picture is drawn.

    `number` is the study's row in its split, `patient` the number of its patient there; studies of
    one patient share `patient_stream`. `severity` maps each finding to 0 (absent) or (0, 1];
    `potential` is the severity the subject has if the finding is switched on, `side` where it lies
    (`right`, `left` or `both`, the patient's). `devices` are the kinds present,
    `potential_devices` those that do(Support Devices = 1) would add. Age in years; habitus is a
    standard score of body size; `supine` says that an AP film was taken lying down.
    """

    seed: int
    split: str
    number: int
    patient: int
    study: int
    age: int
    male: bool
    ap: bool
    supine: bool
    acuity: float
    habitus: float
    severity: Mapping[str, float]
    potential: Mapping[str, float]
    side: Mapping[str, str]
    devices: frozenset[str]
    potential_devices: frozenset[str]

    def stream(self, mechanism: str) -> np.random.Generator:
        """The random stream of one mechanism of this study, always the same one."""
        return stream(self.seed, self.split, self.number, mechanism)

    def patient_stream(self, mechanism: str) -> np.random.Generator:
        """The random stream of one mechanism of the patient, the same in each of the studies."""
        return stream(self.seed, self.split, self.patient, f"patient {mechanism}")

    @property
    def no_finding(self) -> bool:
        """Whether the picture shows no disease; devices do not count as findings."""
        return not any(self.severity.values())


def stream(seed: int, split: str, number: int, mechanism: str) -> np.random.Generator:
    """A generator keyed by subject and mechanism; order and cohort size do not matter."""
    words = [seed, zlib.crc32(split.encode()), number, zlib.crc32(mechanism.encode())]
    return np.random.default_rng(np.random.SeedSequence(words))
