"""A subject's radiograph, what is where in it, and what an intervention changes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from prismlib.cohorts.cohort import Truth
from prismlib.cohorts.phantom import acquisition, anatomy, findings
from prismlib.cohorts.phantom.canvas import SIZE, Canvas, Map
from prismlib.cohorts.phantom.devices import Device, draw_device
from prismlib.cohorts.phantom.scm import intervene
from prismlib.cohorts.phantom.subject import DEVICE_KINDS, Subject

SOFT_TISSUE, LUNG, FLUID, CORTICAL_BONE = 0.217, 0.053, 0.206, 0.604  # per cm at 60 keV
CHANGED = 0.08  # a share of the path that differs by this much counts as changed


@dataclass(frozen=True)
class Scene:
    """All of a subject that no intervention changes, drawn once."""

    anatomy: anatomy.Anatomy
    right_lung: Map
    left_lung: Map
    lung_depth_cm: Map
    mediastinum: Map
    other_depth: Map  # optical depth of everything except air in the lungs and the heart
    exposure: acquisition.Exposure
    noise: Map
    text: Map

    @classmethod
    def of(cls, subject: Subject) -> "Scene":
        """Draw the anatomy and fix the exposure from the subject without disease or devices."""
        a = anatomy.sample_anatomy(subject)
        right, left = anatomy.lungs(a)
        body = anatomy.body_thickness(subject, a)
        other = body * SOFT_TISSUE + anatomy.bones(subject, a) * (CORTICAL_BONE - SOFT_TISSUE)
        lung = np.maximum(right, left)
        other += anatomy.vessels(subject, a) * (SOFT_TISSUE - LUNG) * lung * 1.5
        other -= (anatomy.airways(a) + anatomy.stomach_bubble(subject, a)) * SOFT_TISSUE
        rng = subject.stream("exposure")
        depth_cm = anatomy.lung_depth(right, left, a)
        vessels_band = anatomy.mediastinum(a, float(subject.stream("aorta").standard_normal()))
        scene = cls(
            anatomy=a, right_lung=right, left_lung=left, lung_depth_cm=depth_cm,
            mediastinum=vessels_band, other_depth=np.maximum(other, 0.02),
            exposure=acquisition.Exposure.unset(lung),
            noise=acquisition.quantum_noise(subject.stream("noise"), lung.shape),
            text=_burned_in_text(subject),
        )  # fmt: skip
        clean = intervene(subject, {"No Finding": 1, "Support Devices": 0})
        exposure = acquisition.choose_exposure(scene.optical_depth(clean), lung, a.frame, rng)
        return cls(**{**scene.__dict__, "exposure": exposure})

    @property
    def lung(self) -> Map:
        """Coverage of both lungs."""
        return np.maximum(self.right_lung, self.left_lung)

    def heart(self, subject: Subject) -> Map:
        """Coverage of the heart at the subject's cardiomegaly."""
        outline = anatomy.heart_outline(self.anatomy, subject.severity["Cardiomegaly"])
        return Canvas(self.anatomy.frame).polygon(outline).map(1.4)

    def effusion(self, subject: Subject) -> Map:
        """Share of the lung's depth taken by fluid."""
        return findings.effusion_fraction(subject, self.anatomy, self.right_lung, self.left_lung)

    def opacity(self, subject: Subject) -> Map:
        """Share of the lung's depth that is consolidated."""
        return findings.opacity_fraction(subject, self.anatomy, self.lung)

    def device(self, subject: Subject, kind: str) -> Device:
        """One device kind, whether or not the subject has it."""
        return draw_device(subject, self.anatomy, kind)

    def optical_depth(self, subject: Subject) -> Map:
        """Attenuation times thickness summed along the beam, (512, 512)."""
        heart = self.heart(subject)
        share = np.maximum(heart * (0.62 + 0.38 * self.anatomy.frame.depth(heart, 26)), 0.97 * self.mediastinum)
        air = self.lung_depth_cm * (1 - share)
        fluid, consolidated = self.effusion(subject), self.opacity(subject)
        total = self.other_depth - air * (SOFT_TISSUE - LUNG)
        total = total + air * fluid * (FLUID - LUNG)
        total = total + air * (1 - fluid) * consolidated * (SOFT_TISSUE - LUNG)
        for kind in sorted(subject.devices):
            total = total + self.device(subject, kind).optical_depth
        return total

    def image(self, subject: Subject, noise: bool = True) -> Map:
        """The radiograph of the subject in this scene, (512, 512) in [0, 1]."""
        shade = acquisition.develop(
            self.optical_depth(subject), self.exposure, self.noise if noise else None
        )
        return np.maximum(shade, self.text)

    def masks(self, subject: Subject) -> dict[str, NDArray[np.bool_]]:
        """Where each organ, finding and device lies, from geometry, (512, 512) each."""
        masks = {
            "right_lung": self.right_lung > 0.5,
            "left_lung": self.left_lung > 0.5,
            "heart": self.heart(subject) > 0.5,
            "Pleural Effusion": self.effusion(subject) > CHANGED,
            "Lung Opacity": self.opacity(subject) > CHANGED,
        }
        for kind in DEVICE_KINDS:
            on = kind in subject.devices
            masks[kind] = (self.device(subject, kind).footprint > CHANGED) & on
        return masks

    def changed(self, before: Subject, after: Subject) -> NDArray[np.bool_]:
        """Where two versions of the subject differ, from geometry and not from the pictures."""
        mask = np.zeros((SIZE, SIZE), dtype=bool)
        for kind in before.devices ^ after.devices:
            mask |= self.device(before, kind).footprint > CHANGED
        for share in (self.effusion, self.opacity, self._heart_in_lung):
            mask |= np.abs(share(before) - share(after)) > CHANGED
        margin = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 2)
        return ndimage.binary_dilation(mask, margin)

    def _heart_in_lung(self, subject: Subject) -> Map:
        heart = self.heart(subject)
        return heart * (0.62 + 0.38 * self.anatomy.frame.depth(heart, 26)) * self.lung

    def truth(self, subject: Subject, intervention: Mapping[str, float]) -> Truth:
        """The true counterfactual: everything else held, noise included."""
        other = intervene(subject, intervention)
        return Truth(self.image(other), self.changed(subject, other))

    def cardiothoracic_ratio(self, subject: Subject) -> float:
        """Widest heart over inner thorax, from the outlines."""
        outline = anatomy.heart_outline(self.anatomy, subject.severity["Cardiomegaly"])
        return float(np.ptp(outline[:, 0]) / (2 * self.anatomy.half_thorax))


def _burned_in_text(subject: Subject) -> Map:
    """A side marker, and on AP films PORTABLE and a time, as white letters over the picture."""
    rng = subject.stream("text")
    image = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(image)
    marker = "L" if rng.random() < 0.6 else "R"
    x = (SIZE - 50 if marker == "L" else 26) + rng.integers(-8, 9)
    draw.text(
        (int(x), int(rng.integers(18, 70))), marker, fill=235, font=ImageFont.load_default(26)
    )
    if subject.ap and rng.random() < 0.6:
        time = f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}"
        left = 14 if marker == "L" else SIZE - 96
        draw.text((left, 14), f"PORTABLE\n{time}", fill=215, font=ImageFont.load_default(13))
    return np.asarray(image, dtype=np.float32) / np.float32(255)
