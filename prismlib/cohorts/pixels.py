"""What a file of any format gives: grey values between 0 and 1, and what is known about them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset

from prismlib.errors import UsageError

MIN_SIDE = 64
MAX_SIDE = 10_000

# Two channels of a grey image saved as colour differ by compression alone; marks differ by more.
_COLOURED = 64 / 255
_COLOURED_SHARE = 0.25

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Pixels:
    """One decoded image before it is brought to the size that the models take.

    `values` is float32 (height, width) in [0, 1], bright = dense. `bits` is how many bits a
    stored value has. `spacing_mm` is (between rows, between columns). `header` is a DICOM data
    set without its pixels.
    """

    values: np.ndarray
    bits: int
    photometric: str
    notes: tuple[str, ...] = ()
    spacing_mm: tuple[float, float] | None = None
    header: Dataset | None = None


def check_shape(path: Path, height: int, width: int) -> None:
    """Refuse an image too small to show a chest or too large to be one, from its header alone."""
    if min(height, width) < MIN_SIDE:
        raise UsageError(
            f"{path}: got an image of {width}x{height}, expected at least {MIN_SIDE} pixels on "
            "each side; pass the radiograph at its full size"
        )
    if max(height, width) > MAX_SIDE:
        raise UsageError(
            f"{path}: got an image of {width}x{height}, expected at most {MAX_SIDE} pixels on "
            "each side; reduce it first"
        )


def check_contrast(path: Path, values: np.ndarray) -> None:
    """Refuse an image whose pixels are all alike."""
    if float(np.ptp(values)) < 1e-6:
        raise UsageError(
            f"{path}: got an image whose pixels all have one value, expected a radiograph; "
            "check how it was exported"
        )


def stretched(values: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Show values of more than eight bits that came without a window; returns a note if changed.

    Ten, twelve or fourteen bits are often stored in sixteen and would look black. If all but one
    pixel in a thousand fit into a quarter of the scale, the scale is quartered, again and again
    down to eight bits of sixteen. If the middle 99.8% then still span less than half the scale
    (raw detector values), they are spread over all of it. Values are in [0, 1], before and after.
    """
    low, high = (float(bound) for bound in np.percentile(values, (0.1, 99.9)))
    scale = 1.0
    while scale > 4**-4 and high <= scale / 4 * (1 + 1e-3):
        scale /= 4
    if 0 < high - low < scale / 2:
        note = "no window was stored: the middle 99.8% of the values span black to white"
        return np.clip((values - low) / (high - low), 0, 1).astype(np.float32), note
    if scale == 1:
        return values, None
    note = f"no window was stored: white is set at 1/{round(1 / scale)} of the scale"
    return np.clip(values / scale, 0, 1).astype(np.float32), note


def grey(path: Path, channels: np.ndarray) -> tuple[np.ndarray, str | None]:
    """The brightness of a colour image (H, W, 3) in [0, 1]; a note says if colour was lost.

    Radiographs saved as colour have equal channels but for marks drawn on them. Raises
    `UsageError` where more than a quarter of the pixels are coloured: not a radiograph.
    """
    coloured = np.ptp(channels, axis=2) > _COLOURED
    share = float(coloured.mean())
    if share > _COLOURED_SHARE:
        raise UsageError(
            f"{path}: got an image coloured in {share:.0%} of its pixels, expected a grey "
            "radiograph; export it in grey"
        )
    values = np.clip(channels @ np.asarray(_LUMA, dtype=np.float32), 0, 1).astype(np.float32)
    note = f"colour in {share:.2%} of the pixels was turned to grey" if coloured.any() else None
    return values, note
