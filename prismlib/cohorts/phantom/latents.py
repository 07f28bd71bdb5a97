"""What a reader would measure in the picture, known here from the geometry; in mm, mL, degrees."""

import numpy as np
from numpy.typing import NDArray

from prismlib.cohorts.phantom.anatomy import heart_outline, lung_outline, mediastinum_outline
from prismlib.cohorts.phantom.devices import device_measures
from prismlib.cohorts.phantom.findings import effusion_measures
from prismlib.cohorts.phantom.render import Scene
from prismlib.cohorts.phantom.subject import DEVICE_KINDS, Subject

SIDES = ((-1, "right"), (1, "left"))
ANGLE_MM = 22.0  # of wall and of dome beside the recess that the costophrenic angle lies between


def latent_measures(scene: Scene, subject: Subject) -> dict[str, float]:
    """The latent measurements of a subject in its scene.

    `ctr` is the widest heart over the widest inner thorax; `costophrenic_angle_<side>` in degrees,
    of the air that fluid leaves (180 where the recess is full); `effusion_height_<side>_mm`,
    `effusion_volume_<side>_ml`; `<kind>_area_mm2` for every device kind, 0 if absent.
    """
    a = scene.anatomy
    heart = heart_outline(a, subject.severity["Cardiomegaly"])
    lungs = {name: lung_outline(a, side) for side, name in SIDES}
    thorax = lungs["left"][:, 0].max() - lungs["right"][:, 0].min()
    above = mediastinum_outline(a, subject.severity["Enlarged Cardiomediastinum"])
    above = above[np.abs(above[:, 1] - (a.carina_y - 22)) < 8]
    measures = {
        "heart_width_mm": float(np.ptp(heart[:, 0])),
        "thorax_width_mm": float(thorax),
        "ctr": float(np.ptp(heart[:, 0]) / thorax),
        "mediastinum_width_mm": float(np.ptp(above[:, 0])),
    }
    fluid = effusion_measures(subject, scene.thorax, scene.air(subject))
    measures |= {f"effusion_{name}": value for name, value in fluid.items()}
    for side, name in SIDES:
        level = fluid[f"height_{name}_mm"]
        measures[f"costophrenic_angle_{name}"] = _angle(lungs[name] * (side, 1), level)
    devices = device_measures(subject, a)
    measures |= {f"{kind}_area_mm2": devices.pop(f"{kind} area", 0.0) for kind in DEVICE_KINDS}
    return measures | {f"{name.replace(' ', '_')}_mm": value for name, value in devices.items()}


def _angle(outline: NDArray[np.floating], fluid_mm: float) -> float:
    """Between wall and dome at the recess; fluid that rises flattens it to 90 degrees and more.

    NaN where the outline has no wall or no dome beside the recess.
    """
    corner = outline[np.argmax(outline[:, 1])]
    beside = outline[np.hypot(*(outline - corner).T) < ANGLE_MM]
    wall, dome = beside[beside[:, 0] >= corner[0] - 1], beside[beside[:, 0] < corner[0] - 1]
    if not len(wall) or not len(dome):
        return float("nan")
    up, inwards = wall.mean(axis=0) - corner, dome.mean(axis=0) - corner
    cosine = up @ inwards / (np.linalg.norm(up) * np.linalg.norm(inwards))
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return float(angle + (180 - angle) * -np.expm1(-fluid_mm / ANGLE_MM))
