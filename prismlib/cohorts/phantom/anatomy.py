"""The shape of one subject: landmarks and the outlines of lungs, heart and mediastinum, in mm.

Widths follow published means (thorax 297 and 271 mm, cardiothoracic ratio 0.466 and 0.478 for men
and women: Brakohiapa et al., Pan African Medical Journal 27:201). An AP film magnifies the heart
by about 1/0.92 and is taken in a shallower breath, lying or half upright.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prismlib.cohorts.phantom.canvas import Frame, smooth_curve, smooth_outline
from prismlib.cohorts.phantom.subject import Subject

Outline = NDArray[np.floating]


@dataclass(frozen=True)
class Anatomy:
    """Landmarks of one subject at one study, in mm; what no intervention changes.

    `shift` is how far rotation moves the heart and the front of the chest to the patient's left;
    `flank` the half width of the trunk; `chest_depth_cm` and `body_depth_cm` front to back, of the
    lungs and of the trunk; `knob` how far the aortic knob stands out from the midline; `taper` how
    much wider the lungs are above, `uneven` how much wider the left is than the right, as shares.
    """

    frame: Frame
    half_thorax: float
    apex_y: float
    dome_right_y: float
    dome_left_y: float
    recess_y: float
    shift: float
    ctr: float
    carina_y: float
    body_depth_cm: float
    chest_depth_cm: float
    flank: float
    shoulder_x: float
    shoulder_y: float
    knob: float
    roundness: float
    taper: float
    uneven: float

    def dome_y(self, side: int) -> float:
        """The height of a dome; side -1 is the patient's right, +1 the left."""
        return self.dome_right_y if side < 0 else self.dome_left_y

    def base_y(self, side: int) -> float:
        """The height of a costophrenic recess, the lung's lowest point."""
        return self.recess_y + (self.dome_y(side) - self.dome_right_y) * 0.6

    @property
    def rib_spacing(self) -> float:
        """From one posterior rib to the next; the tenth meets the right dome."""
        return (self.dome_right_y - self.apex_y) / 9.3


def sample_anatomy(subject: Subject) -> Anatomy:
    """Draw the patient's shape, then what posture, breath and position make of it in this study."""
    z = subject.patient_stream("anatomy").standard_normal(18)
    study = subject.stream("posture").standard_normal(10)
    ap, age = subject.ap, (subject.age - 60) / 20
    half = (148.5 if subject.male else 135.5) * (1 + 0.05 * z[0]) + 2.5 * subject.habitus
    half = float(np.clip(half, 116, 174))
    breath = 9 * z[1] + 9 * study[0] - (17 if ap else 0) - (8 if subject.supine else 0)
    dome = 290 + (6 if subject.male else -4) + breath - 3 * max(subject.habitus, 0)
    ctr = (0.450 if subject.male else 0.462) + 0.026 * z[2] + 0.004 * age + (0.024 if ap else 0.0)
    ctr -= 0.0010 * breath * (1 if ap else 0.6)
    shoulder_y = 96 + 7 * z[3] + 5 * study[1] - (12 if ap else 0)
    body = float(
        np.clip(22 + 2.3 * subject.habitus + 0.9 * z[4] + (0.8 if subject.male else 0), 16, 31)
    )
    chest = 15.0 + 0.8 * z[9] + 0.35 * (body - 22) - (0.8 if ap else 0)
    return Anatomy(
        frame=_frame(subject, half),
        half_thorax=half,
        apex_y=float(58 + 6 * z[5] - (5 if ap else 0)),
        dome_right_y=float(np.clip(dome, 236, 325)),
        dome_left_y=float(np.clip(dome, 236, 325) + 11 + 6 * z[6]),
        recess_y=float(np.clip(dome, 236, 325) + 36 + 5 * z[7] - (5 if ap else 0)),
        shift=float((3.5 if not ap else 8.0) * study[2]),
        ctr=float(np.clip(ctr, 0.36, 0.56)),
        carina_y=float(136 + 5 * z[8] - (4 if ap else 0)),
        body_depth_cm=body,
        chest_depth_cm=float(np.clip(chest, 11, 19)),
        flank=half + float(np.clip(30 + 10 * subject.habitus + 3 * z[10], 14, 70)),
        shoulder_x=half + 40 + 4 * z[11] + (4 if ap else 12),
        shoulder_y=float(shoulder_y),
        knob=float(np.clip(34 + 3.5 * z[12] + 3 * age, 27, 46)),
        roundness=float(z[13]),
        taper=float(np.clip(0.030 * z[14], -0.07, 0.07)),
        uneven=float(np.clip(0.022 * z[15] + 0.02 * study[3], -0.08, 0.08)),
    )  # fmt: skip


def _frame(subject: Subject, half: float) -> Frame:
    """Where the detector lies: portable films are centred and turned less carefully."""
    z = subject.stream("position").standard_normal(4)
    loose = 1.7 if subject.ap else 1.0
    width = np.clip(382 + 0.35 * (half - 142) + 24 * z[0], 325, 455)
    return Frame(
        mm_per_pixel=float(width / 512),
        x=float(7 * loose * z[1]),
        y=float(203 + 11 * loose * z[2] - (10 if subject.ap else 0)),
        tilt=float(np.radians(1.5 * loose * z[3])),
    )


def lung_outline(a: Anatomy, side: int) -> Outline:
    """The outline of a lung, about (150, 2); side -1 is the patient's right, +1 the left."""
    w, top, dome, base = a.half_thorax, a.apex_y, a.dome_y(side), a.base_y(side)
    w, tall, above = w * (1 + side * a.uneven / 2), base - top, 1 + a.taper
    wall = [
        (0.125 * w, dome + 15), (0.12 * w, dome - 60), (0.13 * w, a.carina_y + 12),
        (0.16 * w, top + 46), (0.22 * w, top + 13), (0.38 * w, top), (0.58 * above * w, top + 10),
        (0.75 * above * w, top + 0.12 * tall), (0.875 * above * w, top + 0.25 * tall),
        (0.95 * (1 + 0.6 * a.taper) * w, top + 0.41 * tall), (0.99 * w, top + 0.62 * tall),
        (1.0 * w, top + 0.84 * tall), (0.985 * w, base),
    ]  # fmt: skip
    peak = 0.46 * w
    floor = [
        (0.985 * w, base), (0.93 * w, dome + 0.58 * (base - dome)),
        (0.78 * w, dome + 0.22 * (base - dome)), (0.61 * w, dome + 3.5), (peak, dome),
        (0.29 * w, dome + 5), (0.125 * w, dome + 15),
    ]  # fmt: skip
    points = np.vstack([smooth_curve(wall, 100), smooth_curve(floor, 50)[1:-1]])
    return points * (side, 1) + (0.4 * a.shift, 0)


def wall_x(a: Anatomy, side: int, y: NDArray[np.floating] | float) -> NDArray[np.floating]:
    """How far from the midline the inner chest wall lies at height y, in mm, positive."""
    outline = lung_outline(a, side)[5:100]
    lateral = np.abs(outline[:, 0] - 0.4 * a.shift)
    start = int(np.argmin(outline[:, 1]))
    return np.interp(y, outline[start:, 1], lateral[start:])


def enlargement(cardiomegaly: float) -> float:
    """What a severity adds to the cardiothoracic ratio: 0.02 at first, 0.20 at 1."""
    return 0.02 + 0.18 * cardiomegaly if cardiomegaly > 0 else 0.0


def heart_outline(a: Anatomy, cardiomegaly: float) -> Outline:
    """The heart's outline, (160, 2); enlargement goes down and to the left before the right."""
    gain = enlargement(cardiomegaly)
    width = 2 * a.half_thorax * (a.ctr + gain)
    right = (0.335 - 0.10 * gain) * width
    left = width - right
    base, top = a.dome_left_y + 8 + 25 * gain, a.carina_y + 16
    tall = base - top
    full = 0.03 * a.roundness + 0.35 * gain
    points = [
        (-0.17 * width, top + 2), (0.02 * width, top - 8), (0.20 * width, top + 0.08 * tall),
        (0.31 * width + full * 30, top + 0.30 * tall), (0.78 * left + full * 40, top + 0.58 * tall),
        (0.97 * left, top + 0.79 * tall), (left, top + 0.88 * tall), (0.93 * left, base - 3),
        (0.5 * left, base + 5), (-0.3 * right, base + 2), (-0.84 * right, base - 0.10 * tall),
        (-right, top + 0.70 * tall), (-0.93 * right, top + 0.50 * tall),
        (-0.68 * right, top + 0.27 * tall),
    ]  # fmt: skip
    return smooth_outline([(x + a.shift, y) for x, y in points])


def widening(mediastinum: float) -> float:
    """What a severity of enlarged cardiomediastinum adds to each side, in mm."""
    return 4 + 20 * mediastinum if mediastinum > 0 else 0.0


def mediastinum_outline(a: Anatomy, severity: float) -> Outline:
    """Great vessels and trachea above the heart, with the aortic knob on the left, (160, 2)."""
    s, c, wide = 0.8 * a.shift, a.carina_y, widening(severity)
    vein = 27 + 0.25 * (a.knob - 34)
    points = [
        (-24, a.apex_y - 60), (24, a.apex_y - 60), (25 + 0.5 * wide, a.apex_y),
        (26 + 1.0 * wide, c - 50), (a.knob - 3 + wide, c - 34), (a.knob + 0.9 * wide, c - 22),
        (a.knob - 2 + 0.7 * wide, c - 10), (30 + 0.45 * wide, c + 3), (33 + 0.3 * wide, c + 16),
        (36 + 0.2 * wide, c + 30), (33 + 0.1 * wide, c + 48), (18, c + 66), (-14, c + 66),
        (-23, c + 44), (-vein - 0.25 * wide, c + 16), (-vein - 0.75 * wide, c - 14),
        (-vein - 0.95 * wide, c - 50), (-26 - 0.5 * wide, a.apex_y),
    ]  # fmt: skip
    return smooth_outline([(x + s, y) for x, y in points])
