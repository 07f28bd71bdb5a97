"""Disease, as what it puts in the beam's path: one sign a finding, continuous in its severity.

Cardiomegaly and an enlarged cardiomediastinum are no signs but outlines of the anatomy.
"""

from collections.abc import Callable

from prismlib.cohorts.phantom.findings.clouds import (
    draw_consolidation,
    draw_opacity,
    draw_pneumonia,
)
from prismlib.cohorts.phantom.findings.edema import draw_edema
from prismlib.cohorts.phantom.findings.effusion import draw_effusion, effusion_measures
from prismlib.cohorts.phantom.findings.focal import draw_atelectasis, draw_lesion
from prismlib.cohorts.phantom.findings.fracture import draw_fracture
from prismlib.cohorts.phantom.findings.pleural_other import draw_pleural_other
from prismlib.cohorts.phantom.findings.pneumothorax import draw_pneumothorax
from prismlib.cohorts.phantom.findings.sign import Sign
from prismlib.cohorts.phantom.findings.thorax import Hemithorax, Thorax
from prismlib.cohorts.phantom.subject import Subject

__all__ = ["SIGNS", "Hemithorax", "Sign", "Thorax", "draw_sign", "effusion_measures"]

SIGNS: dict[str, Callable[[Subject, Thorax, float], Sign]] = {
    "Lung Opacity": draw_opacity,
    "Lung Lesion": draw_lesion,
    "Edema": draw_edema,
    "Consolidation": draw_consolidation,
    "Pneumonia": draw_pneumonia,
    "Atelectasis": draw_atelectasis,
    "Pneumothorax": draw_pneumothorax,
    "Pleural Effusion": draw_effusion,
    "Pleural Other": draw_pleural_other,
    "Fracture": draw_fracture,
}


def draw_sign(subject: Subject, thorax: Thorax, finding: str) -> Sign | None:
    """What a finding does to the beam's path; None where its severity is 0.

    `finding` is one of SIGNS.
    """
    severity = subject.severity[finding]
    return SIGNS[finding](subject, thorax, severity) if severity > 0 else None
