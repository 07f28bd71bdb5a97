"""A subject's radiograph, what is where in it, and what an intervention changes."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from prismlib.cohorts.cohort import Truth
from prismlib.cohorts.phantom import acquisition, anatomy
from prismlib.cohorts.phantom.airways import airways, lung_texture, trachea_x, vessels
from prismlib.cohorts.phantom.body import body_thickness, posterior_recess, stomach_bubble
from prismlib.cohorts.phantom.canvas import SIZE, Canvas, Map
from prismlib.cohorts.phantom.devices import Device, draw_device
from prismlib.cohorts.phantom.findings import SIGNS, Sign, Thorax, draw_sign
from prismlib.cohorts.phantom.lettering import burned_in_text
from prismlib.cohorts.phantom.scm import intervene
from prismlib.cohorts.phantom.skeleton import bones, rib_paths
from prismlib.cohorts.phantom.subject import DEVICE_KINDS, Subject
from prismlib.memory import keep_freed_memory

SOFT_TISSUE, LUNG, CORTICAL_BONE = 0.217, 0.053, 0.604  # per cm at 60 keV
CHANGED = 0.08  # a share of the path that differs by this much counts as changed
MOVED_CM = 0.15  # lung depth that differs by this much counts as changed
SHAPES = ("Cardiomegaly", "Enlarged Cardiomediastinum")  # drawn by the outlines, not as signs


@dataclass(frozen=True)
class Scene:
    """All of a subject that no intervention changes, drawn once.

    Maps are (512, 512): `air_cm` is the lungs' depth if there were no heart, `blood_cm` the
    vessels, `texture` the relative variation of the lung, `solid` the optical depth of all else,
    `field` what the collimator leaves open (None: everything).
    """

    thorax: Thorax
    air_cm: Map
    blood_cm: Map
    texture: Map
    solid: Map
    noise: Map
    text: Map
    field: Map | None
    subject: Subject
    _drawn: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, subject: Subject) -> "Scene":
        """Draw the anatomy of a subject."""
        keep_freed_memory()
        a = anatomy.sample_anatomy(subject)
        right, left = (Canvas(a.frame).polygon(anatomy.lung_outline(a, s)).map() for s in (-1, 1))
        body = body_thickness(subject, a)
        air = a.chest_depth_cm * (a.frame.depth(right, 62) + a.frame.depth(left, 62))
        air = np.clip(np.minimum(air, body - 2.0), 0, None)
        solid = body * np.float32(SOFT_TISSUE)
        solid += bones(subject, a) * np.float32(CORTICAL_BONE - SOFT_TISSUE)
        solid -= posterior_recess(a) * np.float32(SOFT_TISSUE - LUNG)
        solid -= (airways(subject, a) + stomach_bubble(subject, a)) * np.float32(SOFT_TISSUE)
        return cls(
            thorax=Thorax(a, right, left), air_cm=air, blood_cm=vessels(subject, a),
            texture=lung_texture(subject), solid=np.maximum(solid, 0),
            noise=acquisition.quantum_noise(subject), text=burned_in_text(subject),
            field=acquisition.collimation(subject), subject=subject,
        )  # fmt: skip

    @property
    def anatomy(self) -> anatomy.Anatomy:
        """The landmarks."""
        return self.thorax.anatomy

    @cached_property
    def lung(self) -> Map:
        """Coverage of both lungs."""
        return np.maximum(self.thorax.right_lung, self.thorax.left_lung)

    @cached_property
    def exposure(self) -> acquisition.Exposure:
        """Window, tone and dose, from the subject without disease or devices."""
        clean = intervene(self.subject, {"No Finding": 1, "Support Devices": 0})
        depth = self.optical_depth(clean)
        return acquisition.choose_exposure(self.subject, depth, self.lung, self.anatomy.frame)

    def heart(self, subject: Subject) -> Map:
        """Coverage of the heart at the subject's cardiomegaly."""
        outline = anatomy.heart_outline(self.anatomy, subject.severity["Cardiomegaly"])
        return Canvas(self.anatomy.frame).polygon(outline).map(2.1)

    def mediastinum(self, subject: Subject) -> Map:
        """Coverage of the great vessels at the subject's enlarged cardiomediastinum."""
        severity = subject.severity["Enlarged Cardiomediastinum"]
        outline = anatomy.mediastinum_outline(self.anatomy, severity)
        return Canvas(self.anatomy.frame).polygon(outline).map(2.4)

    def sign(self, subject: Subject, finding: str) -> Sign | None:
        """What a finding does to the beam's path; None where it is absent."""
        key = (finding, subject.severity[finding])
        return self._keep(key, lambda: draw_sign(subject, self.thorax, finding))

    def device(self, subject: Subject, kind: str) -> Device:
        """One device kind, whether or not the subject has it."""
        return self._keep(kind, lambda: draw_device(subject, self.anatomy, kind))

    def air(self, subject: Subject) -> Map:
        """Lung in cm along the beam beside heart and great vessels, disease aside."""
        key = ("air", *(subject.severity[name] for name in SHAPES))
        return self._keep(key, lambda: self._air(subject))

    def _air(self, subject: Subject) -> Map:
        heart = self.heart(subject)
        bulk = heart * (0.30 + 0.62 * self.anatomy.frame.depth(heart, 46))
        share = np.maximum(bulk, np.float32(0.93) * self.mediastinum(subject))
        return self.air_cm * (1 - share)

    def _keep(self, key, draw):
        if key not in self._drawn:
            self._drawn[key] = draw()
        return self._drawn[key]

    def signs(self, subject: Subject) -> list[Sign]:
        """The signs of all findings that are present and not shapes of the heart."""
        drawn = [self.sign(subject, name) for name in SIGNS if subject.severity[name]]
        return [sign for sign in drawn if sign is not None]

    def optical_depth(self, subject: Subject) -> Map:
        """Attenuation times thickness summed along the beam, (512, 512)."""
        air, signs = self.air(subject), self.signs(subject)
        kept = np.ones_like(air)
        markings = air / np.maximum(self.air_cm, np.float32(0.1))
        weight, material = np.zeros_like(air), np.zeros_like(air)
        extra = np.zeros_like(air)
        for sign in signs:
            kept *= 1 - sign.share
            weight += sign.share
            material += sign.share * np.float32(sign.material)
            if sign.clears is not None:
                markings *= 1 - sign.clears
            if sign.added is not None:
                extra += sign.added
        filled = air * (1 - kept)
        total = self.solid - air * np.float32(SOFT_TISSUE - LUNG)
        if signs:
            total += filled * (material / np.maximum(weight, 1e-6) - np.float32(LUNG)) + extra
        lung_cm = air * kept * np.float32(0.05 * LUNG) * self.texture
        total += (self.blood_cm * np.float32(SOFT_TISSUE - LUNG) + lung_cm) * markings
        for kind in sorted(subject.devices):
            total += self.device(subject, kind).optical_depth
        return np.maximum(total, 0)

    def image(self, subject: Subject, noise: bool = True) -> Map:
        """The radiograph of the subject in this scene, (512, 512) in [0, 1]."""
        depth = self.optical_depth(subject)
        shade = acquisition.develop(depth, self.exposure, self.noise if noise else None)
        if self.field is not None:
            shade = shade * self.field
        return np.maximum(shade, self.text)

    def truth(self, subject: Subject, intervention: Mapping[str, float]) -> Truth:
        """The true counterfactual: everything else held, noise included."""
        other = intervene(subject, intervention)
        return Truth(self.image(other), self.changed(subject, other))

    def changed(self, before: Subject, after: Subject) -> NDArray[np.bool_]:
        """Where two versions of the subject differ, from geometry and not from the pictures."""
        mask = np.zeros((SIZE, SIZE), dtype=bool)
        for kind in before.devices ^ after.devices:
            mask |= self.device(before, kind).footprint > CHANGED
        for name in SIGNS:
            if before.severity[name] != after.severity[name]:
                for sign in (self.sign(before, name), self.sign(after, name)):
                    mask |= sign.mask if sign is not None else False
        if any(before.severity[name] != after.severity[name] for name in SHAPES):
            mask |= np.abs(self.air(before) - self.air(after)) > MOVED_CM
        margin = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 2)
        mask = ndimage.binary_dilation(mask, margin)
        return mask if self.field is None else mask & (self.field > 0.5)

    def masks(self, subject: Subject) -> dict[str, NDArray[np.bool_]]:
        """Where each organ, finding and device lies, from geometry, (512, 512) each.

        An absent finding or device has an empty mask; a finding that is a shape of the heart or of
        the mediastinum lies where that organ reaches beyond what it would be without.
        """
        empty = np.zeros((SIZE, SIZE), dtype=bool)
        masks = organ_masks(self, subject)
        for name in SIGNS:
            sign = self.sign(subject, name) if subject.severity[name] else None
            masks[name] = empty if sign is None else sign.mask
        organs = {"heart": self.heart, "mediastinum": self.mediastinum}
        for name, (organ, drawn) in zip(SHAPES, organs.items(), strict=True):
            masks[name] = empty
            if subject.severity[name]:
                masks[name] = masks[organ] & ~(drawn(intervene(subject, {name: 0})) > 0.5)
        for kind in DEVICE_KINDS:
            on = kind in subject.devices
            masks[kind] = self.device(subject, kind).footprint > CHANGED if on else empty
        return masks


def organ_masks(scene: Scene, subject: Subject) -> dict[str, NDArray[np.bool_]]:
    """Organs by name, (512, 512) each."""
    a, x = scene.anatomy, scene.anatomy.frame.grid[0]
    ribs = Canvas(a.frame)
    for rib in rib_paths(subject, a):
        ribs.curve(rib.path, rib.width_mm)
    return {
        "right_lung": scene.thorax.right_lung > 0.5,
        "left_lung": scene.thorax.left_lung > 0.5,
        "heart": scene.heart(subject) > 0.5,
        "mediastinum": scene.mediastinum(subject) > 0.5,
        "trachea": (airways(subject, a) > 0.6) & (np.abs(x - trachea_x(a)) < 14),
        "ribs": ribs.map() > 0.5,
    }
