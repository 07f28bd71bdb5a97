"""From optical depth to a radiograph: Beer-Lambert, scatter, blur, quantum noise, window and tone.

Window, tone and the background of local contrast come from the subject without disease or
devices, so that an intervention does not spread over the picture through normalisation. Scatter
is honestly non-local. The noise is lambda + sqrt(lambda) u, u shared by all versions of a subject.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from prismlib.cohorts.phantom.canvas import SIZE, Frame, Map
from prismlib.cohorts.phantom.subject import Subject

SCATTER_TO_PRIMARY = 0.025  # what passes grid and correction, of the blurred primary beam
GLARE = 0.025  # the detector's even offset, of the clean picture's mean signal
SCATTER_SPREAD_MM = 32.0
BLUR_PIXELS = 0.57  # focal spot and detector
DETAIL_SPREAD_MM = 10.0
DETAIL_LIMIT = 0.10
QUANTA = 1.7e4  # a pixel behind the lungs


@dataclass(frozen=True)
class Exposure:
    """How a signal becomes a grey value: fixed before any disease or device is drawn.

    `lung` and `dense` are the log signals (-log of the relative detector signal) that are shown at
    `lung_grey` and `dense_grey`; `quanta` is the number of quanta a pixel at full signal;
    `glare` the detector's offset;
    `background` (512, 512) the blurred clean picture that local contrast is measured against.
    """

    frame: Frame
    lung: float
    dense: float
    lung_grey: float
    dense_grey: float
    gamma: float
    detail: float
    quanta: float
    glare: float
    background: Map

    def shade(self, signal: Map) -> Map:
        """The signal on a scale where the clean lungs lie at `lung_grey`."""
        slope = np.float32((self.dense_grey - self.lung_grey) / (self.dense - self.lung))
        shade = (-np.log(signal) - np.float32(self.lung)) * slope + np.float32(self.lung_grey)
        return np.clip(shade, -0.25, 1.35)


def expose(optical_depth: Map, frame: Frame, glare: float) -> Map:
    """Relative detector signal: the primary beam and its scatter, blurred."""
    primary = np.exp(-optical_depth)
    scatter = frame.broad_soften(primary, SCATTER_SPREAD_MM)
    blurred = ndimage.gaussian_filter(primary, BLUR_PIXELS, mode="nearest", truncate=3)
    return blurred + np.float32(SCATTER_TO_PRIMARY) * scatter + np.float32(glare)


def choose_exposure(subject: Subject, clean: Map, lung: Map, frame: Frame) -> Exposure:
    """Fix window, tone and dose from the clean optical depth and the lungs' coverage."""
    rng = subject.stream("exposure")
    glare = GLARE * float(np.exp(-clean[::4, ::4]).mean())
    signal = expose(clean, frame, glare)
    log_signal = -np.log(signal[::4, ::4])
    lung_level = float(np.median(log_signal[lung[::4, ::4] > 0.5]))
    dense = float(np.percentile(log_signal, 96))
    veiled = rng.random() < (0.22 if subject.ap else 0.08)
    veil, starved = rng.uniform(0.05, 0.20), rng.uniform(0.35, 0.8)
    quanta = (
        (starved if veiled else 1.0)
        * QUANTA
        * np.exp(lung_level)
        * rng.uniform(0.5, 1.6)
        * (0.6 if subject.ap else 1.0)
    )
    lung_grey = rng.normal(0.39, 0.075) + 0.05 * subject.ap + veil * veiled
    lung_grey = float(np.clip(lung_grey, 0.2, 0.62))
    dense_grey = float(np.clip(rng.normal(0.85, 0.06), max(0.72, lung_grey + 0.22), 0.97))
    exposure = Exposure(
        frame=frame, lung=lung_level, dense=max(dense, lung_level + 0.8),
        lung_grey=lung_grey, dense_grey=dense_grey,
        gamma=float(rng.uniform(0.74, 1.08)), detail=float(rng.uniform(0.2, 0.75)),
        quanta=float(quanta), glare=glare, background=np.zeros_like(clean),
    )  # fmt: skip
    background = frame.broad_soften(exposure.shade(signal), DETAIL_SPREAD_MM, factor=4)
    return replace(exposure, background=background)


def develop(optical_depth: Map, exposure: Exposure, noise: Map | None) -> Map:
    """The displayed radiograph in [0, 1]; `noise` is standard normal, or None for noise-free."""
    signal = expose(optical_depth, exposure.frame, exposure.glare)
    if noise is not None:
        quanta = signal * np.float32(exposure.quanta)
        signal = np.maximum(quanta + np.sqrt(quanta) * noise, 1.0) / np.float32(exposure.quanta)
    shade = exposure.shade(signal)
    local = np.clip(shade - exposure.background, -DETAIL_LIMIT, DETAIL_LIMIT)
    local = local - local**3 / np.float32(3 * DETAIL_LIMIT**2)  # large steps are not exaggerated
    shade = shade + np.float32(exposure.detail) * local
    return _tone(shade) ** np.float32(exposure.gamma)


def _tone(shade: Map) -> Map:
    """Linear in the middle, with a soft toe and a soft shoulder, onto [0, 1]."""
    knee = np.float32(0.86)
    high = knee + (1 - knee) * -np.expm1(-np.maximum(shade - knee, 0) / (1 - knee))
    low = np.float32(0.06)
    toe = low * np.exp(np.minimum(shade - low, 0) / low)
    return np.where(shade > knee, high, np.where(shade < low, toe, shade)).astype(np.float32)


def quantum_noise(subject: Subject) -> Map:
    """Standard normal noise, slightly correlated by the detector, unit variance, (512, 512)."""
    white = subject.stream("noise").standard_normal((SIZE, SIZE), dtype=np.float32)
    noise = white + np.float32(0.35) * (np.roll(white, 1, 0) + np.roll(white, 1, 1))
    return np.asarray(noise / np.sqrt(1 + 2 * 0.35**2), dtype=np.float32)


def collimation(subject: Subject) -> Map | None:
    """The field that the collimator leaves open, (512, 512) in [0, 1]; None if it is all.

    About one film in four has a dark border, at times turned a little.
    """
    rng = subject.stream("collimation")
    there, turn = rng.random() < (0.30 if subject.ap else 0.18), rng.normal(0, 0.012)
    edges = rng.exponential(14, 4) * (rng.random(4) < 0.55)
    if not there or not edges.any():
        return None
    left, top, right, bottom = np.minimum(edges, 46) * (1, 1, -1, -1) + (0, 0, SIZE, SIZE)
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) - SIZE / 2
    spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    field = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(field).polygon((corners @ spin + SIZE / 2).ravel().tolist(), fill=255)
    return ndimage.uniform_filter(np.asarray(field, dtype=np.float32), 3) / np.float32(255)
