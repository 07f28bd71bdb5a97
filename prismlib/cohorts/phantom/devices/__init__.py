"""Support devices: courses and sizes in millimetres, as optical depth and footprint.

Each kind's course comes from a stream of its own, so that switching one on or off moves no other;
implants draw from the patient's streams and stay the same in all of the patient's studies.
"""

from prismlib.cohorts.phantom.anatomy import Anatomy
from prismlib.cohorts.phantom.devices import external, implants, tubes
from prismlib.cohorts.phantom.devices.film import Device
from prismlib.cohorts.phantom.subject import IMPLANTS, Subject
from prismlib.errors import UsageError

__all__ = ["Device", "device_measures", "draw_device"]

_DRAW = {
    "pacemaker": implants.pacemaker,
    "sternal_wires": implants.sternal_wires,
    "surgical_clips": implants.surgical_clips,
    "shoulder_prosthesis": implants.shoulder_prosthesis,
    "central_line": tubes.central_line,
    "endotracheal_tube": tubes.endotracheal_tube,
    "nasogastric_tube": tubes.nasogastric_tube,
    "ecg_leads": external.ecg_leads,
    "external_cable": external.external_cable,
}


def draw_device(subject: Subject, a: Anatomy, kind: str) -> Device:
    """Draw one device kind with this subject's course for it, whether or not the subject has it.

    A chest drain lies on the side of the subject's pneumothorax.
    Raises UsageError for a kind that does not exist.
    """
    of = subject.patient_stream if kind in IMPLANTS else subject.stream
    if kind == "chest_drain":
        return tubes.chest_drain(of("chest_drain course"), a, subject.side["Pneumothorax"])
    if kind not in _DRAW:
        raise UsageError(f"device kind {kind!r}; expected one of chest_drain, {', '.join(_DRAW)}")
    return _DRAW[kind](of(f"{kind} course"), a)


def device_measures(subject: Subject, a: Anatomy) -> dict[str, float]:
    """Areas in the field (mm2) of the kinds present, and where tubes end against the carina (mm).

    Keys: `<kind> area`, `endotracheal_tube tip above carina`, `central_line tip below carina`.
    """
    measures: dict[str, float] = {}
    for kind in sorted(subject.devices):
        device = draw_device(subject, a, kind)
        measures[f"{kind} area"] = float(device.footprint.sum()) * a.frame.mm_per_pixel**2
        if device.tip and kind == "endotracheal_tube":
            measures[f"{kind} tip above carina"] = a.carina_y - device.tip[1]
        if device.tip and kind == "central_line":
            measures[f"{kind} tip below carina"] = device.tip[1] - a.carina_y
    return measures
