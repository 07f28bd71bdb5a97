"""From optical depth to a radiograph: Beer-Lambert, scatter, quantum noise, window and tone.

Window, tone and the background of local contrast come from the subject without disease or
devices, so that an intervention does not spread over the picture through normalisation. Scatter
is honestly non-local. The noise is lambda + sqrt(lambda) u, u shared by all versions of a subject.
"""

from dataclasses import dataclass, replace

import numpy as np

from prismlib.cohorts.phantom.canvas import Frame, Map

SCATTER_TO_PRIMARY = 0.45
SCATTER_SPREAD_MM = 30.0
DETAIL_GAIN = 0.7
TOE = 1.5  # curvature of the display curve: lifts the lungs, flattens the abdomen
DETAIL_SPREAD_MM = 11.0


@dataclass(frozen=True)
class Exposure:
    """Window in log signal, tone exponent, quanta per pixel behind no object, local mean.

    `background` (512, 512) is the blurred clean shade that local contrast is measured against.
    """

    low: float
    high: float
    gamma: float
    quanta: float
    background: Map
    frame: Frame

    def shade(self, signal: Map) -> Map:
        """The detector signal on a scale where the window is [0, 1]."""
        return np.clip((-np.log(signal) - self.low) / (self.high - self.low), -0.25, 1.4)

    @classmethod
    def unset(cls, like: Map) -> "Exposure":
        """The identity, before the clean picture is known."""
        return cls(0.0, 1.0, 1.0, 1.0, np.zeros_like(like), Frame())


def expose(optical_depth: Map, frame: Frame) -> Map:
    """Relative detector signal: the primary beam and its scatter."""
    primary = np.exp(-optical_depth)
    return primary + SCATTER_TO_PRIMARY * frame.broad_soften(primary, SCATTER_SPREAD_MM)


def choose_exposure(clean: Map, lung: Map, frame: Frame, rng: np.random.Generator) -> Exposure:
    """Fix window, tone and dose from the clean optical depth and the lungs' coverage."""
    log_signal = -np.log(expose(clean, frame))
    low = float(np.percentile(log_signal[lung > 0.5], 2.0)) - 0.12
    high = float(np.percentile(log_signal, 98.5)) + 0.10
    width = (high - low) * rng.uniform(0.96, 1.10)
    gamma, quanta = float(rng.uniform(0.85, 1.2)), float(rng.uniform(2e4, 6e4))
    exposure = Exposure(low, low + width, gamma, quanta, np.zeros_like(clean), frame)
    background = frame.broad_soften(exposure.shade(expose(clean, frame)), DETAIL_SPREAD_MM, factor=4)
    return replace(exposure, background=background)


def develop(optical_depth: Map, exposure: Exposure, noise: Map | None) -> Map:
    """The displayed radiograph in [0, 1]; `noise` is standard normal, or None for noise-free."""
    signal = expose(optical_depth, exposure.frame)
    if noise is not None:
        quanta = signal * exposure.quanta
        signal = np.maximum(quanta + np.sqrt(quanta) * noise, 1.0) / exposure.quanta
    shade = exposure.shade(signal)
    shade = shade + DETAIL_GAIN * (shade - exposure.background)
    tone = -np.expm1(-TOE * np.clip(shade, 0, 1)) / -np.expm1(-TOE)
    return (tone**exposure.gamma).astype(np.float32)


def quantum_noise(rng: np.random.Generator, shape: tuple[int, int]) -> Map:
    """Standard normal noise, slightly blurred by the detector and scaled back to unit variance."""
    noise = Frame().soften(rng.standard_normal(shape).astype(np.float32), 0.5)
    return noise / noise.std()
