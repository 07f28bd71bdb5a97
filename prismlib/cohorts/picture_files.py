"""PNG and JPEG files as grey values."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from prismlib.cohorts.pixels import Pixels, check_shape, grey, stretched
from prismlib.errors import UsageError

# What Pillow raises on files that are torn or were altered.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


def read_picture(path: Path, kind: str) -> Pixels:
    """Decode a PNG or JPEG; the size is checked in the header, before any pixel is decoded.

    Orientation tags are obeyed. Eight-bit values are divided by 255 and left as they are;
    sixteen-bit values come without a window and go through `pixels.stretched`.
    """
    with _opened(path, kind) as image:
        _check_header(path, image)
        deep_colour = kind == "png" and image.mode == "RGB" and _png_bits(path) == 16
        upright = _decoded(path, kind, image)
    if deep_colour:
        return _deep_colour(path, upright)
    if upright.mode.startswith("I"):
        values, note = stretched(np.asarray(upright, dtype=np.float32) / 65535)
        return Pixels(values, 16, "L", _present(note))
    if upright.mode == "L":
        return Pixels(_fractions(upright), 8, "L")
    channels, alpha_note = _on_black(upright)
    values, colour_note = grey(path, channels)
    return Pixels(values, 8, upright.mode, _present(alpha_note, colour_note))


def _check_header(path: Path, image: Image.Image) -> None:
    """Refuse what the header alone shows to be no radiograph or not to be read in full depth."""
    check_shape(path, image.height, image.width)
    if image.mode == "1":
        raise UsageError(
            f"{path}: got an image of black and white alone, expected shades of grey; "
            "export it with at least 8 bits"
        )
    if getattr(image, "is_animated", False):
        raise UsageError(f"{path}: got an animation, expected one image; export one frame")
    if image.mode in ("LA", "RGBA") and _png_bits(path) == 16:
        raise UsageError(
            f"{path}: got a 16-bit PNG with transparency, expected one without; save it without "
            "its alpha channel"
        )


def _present(*notes: str | None) -> tuple[str, ...]:
    return tuple(note for note in notes if note)


def _opened(path: Path, kind: str) -> Image.Image:
    # Image.open would judge the size before it could be named; the readers themselves do not.
    try:
        return PngImageFile(path) if kind == "png" else JpegImageFile(path)
    except _DAMAGE as error:
        raise _damaged(path, kind, error) from error


def _decoded(path: Path, kind: str, image: Image.Image) -> Image.Image:
    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except _DAMAGE as error:
        raise _damaged(path, kind, error) from error


def _damaged(path: Path, kind: str, error: Exception) -> UsageError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UsageError(
        f"{path}: got a {kind.upper()} that cannot be decoded ({reason}), expected a whole file; "
        "copy or export it again"
    )


def _png_bits(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(25)[24]


def _on_black(image: Image.Image) -> tuple[np.ndarray, str | None]:
    """Colour channels (H, W, 3) in [0, 1], what is transparent laid on black."""
    if not image.has_transparency_data:
        return _fractions(image.convert("RGB")), None
    layers = _fractions(image.convert("RGBA"))
    alpha = layers[..., 3:]
    note = "transparent parts were laid on black" if alpha.min() < 1 else None
    return layers[..., :3] * alpha, note


def _fractions(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float32) / 255


def _deep_colour(path: Path, upright: Image.Image) -> Pixels:
    """A PNG of sixteen bits in colour: Pillow keeps the high bytes, so the low ones are fetched.

    PNG is big-endian; unpacked as little-endian, the byte that Pillow keeps is the low one.
    """
    with _opened(path, "png") as opened:
        swapped: Any = opened
        swapped.tile = [tile._replace(args=tile.args[:-1] + "L") for tile in swapped.tile]
        low = _fractions(_decoded(path, "png", swapped))
    high = _fractions(upright)
    values, colour_note = grey(path, (high * 256 + low) / 257)
    shown, window_note = stretched(values)
    return Pixels(shown, 16, "RGB", _present(colour_note, window_note))
