"""How training radiographs are varied. Never flipped: the heart lies left."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Variation:
    """How far: `shift` in shares of the side, `blur` and `noise` at most (pixels of 512, and
    fractions of full scale).

    Blur belongs here since an autoencoder blurs too, and must not make devices vanish.
    """

    shift: float = 0.05
    gain: float = 0.1
    offset: float = 0.05
    gamma: float = 0.15
    blur: float = 1.5
    noise: float = 0.02


def varied(images: Bytes, rng: np.random.Generator, how: Variation) -> Tensor:
    """Images in bytes (B, s, s) as floats (B, 1, s, s) in [0, 1], each moved and of another
    brightness and contrast, and a part of them blurred or grainy."""
    reach = int(how.shift * images.shape[-1])
    shifts = rng.integers(-reach, reach + 1, (len(images), 2))
    curves = _curves(rng, len(images), how)
    pixels = np.empty((len(images), 1, *images.shape[1:]), np.float32)
    for image, (down, right), curve, place in zip(images, shifts, curves, pixels, strict=True):
        np.take(curve, moved_by(image, down, right), out=place[0])
    drawn = torch.from_numpy(pixels)
    _blur(drawn, rng, how.blur * images.shape[-1] / 512)
    _roughen(drawn, rng, how.noise)
    return drawn


def _curves(rng: np.random.Generator, count: int, how: Variation) -> np.ndarray:
    """What becomes of each of the 256 bytes in each image, (count, 256)."""
    gain, offset, gamma = (
        rng.uniform(middle - reach, middle + reach, (count, 1))
        for middle, reach in ((1, how.gain), (0, how.offset), (1, how.gamma))
    )
    grey = np.arange(256) / 255
    return (np.clip(grey * gain + offset, 0, 1) ** gamma).astype(np.float32)


def _blur(pixels: Tensor, rng: np.random.Generator, most: float) -> None:
    """Blur a quarter of the images in place."""
    chosen = np.flatnonzero(rng.random(len(pixels)) < 1 / 4)
    for index, width in zip(chosen, rng.uniform(0.2, 1, len(chosen)) * most, strict=True):
        image = pixels[index, 0].numpy()
        gaussian_filter(image, float(width), output=image, mode="nearest", truncate=3)


def _roughen(pixels: Tensor, rng: np.random.Generator, most: float) -> None:
    """Put grain into a quarter of the images, in place."""
    chosen = np.flatnonzero(rng.random(len(pixels)) < 1 / 4)
    for index, strength in zip(chosen, rng.uniform(0, most, len(chosen)), strict=True):
        grain = rng.standard_normal(pixels.shape[1:], dtype=np.float32)
        pixels[index] = (pixels[index] + float(strength) * torch.from_numpy(grain)).clamp(0, 1)


def moved_by(image: Bytes, down: int, right: int) -> Bytes:
    """An image (H, W) shifted by whole pixels, its border repeated."""
    reach = max(abs(down), abs(right))
    wide = np.pad(image, reach, mode="edge")
    height, width = image.shape
    return wide[reach - down : reach - down + height, reach - right : reach - right + width]
