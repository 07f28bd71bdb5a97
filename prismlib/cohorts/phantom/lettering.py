"""Burned-in letters: side markers, the view, a time, a technician's initials, an arrow.

They lie on the picture and not on the patient, so their place is in pixels.
"""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from prismlib.cohorts.phantom.canvas import SIZE, Map
from prismlib.cohorts.phantom.subject import Subject

Picture = Image.Image
STYLES = ("plain", "ring", "box", "lead", "word")
BLANK = 0.07  # films without any lettering


def burned_in_text(subject: Subject) -> Map:
    """The lettering of this study, (512, 512) in [0, 1]; 0 where there is none.

    About one film in fourteen has none, half of the others a side marker alone; portable films
    carry more words.
    """
    rng = subject.stream("text")
    picture = Image.new("L", (SIZE, SIZE))
    if rng.random() >= BLANK:
        left = bool(rng.random() < 0.72)
        x, y = _marker_place(rng, left)
        _paste(picture, _marker(rng, "L" if left else "R"), x, y)
        if rng.random() < (0.50 if subject.ap else 0.15):
            _words(picture, rng, subject, x, y)
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


def _marker_place(rng: np.random.Generator, left: bool) -> tuple[int, int]:
    """The centre: mostly an upper corner, else beside the shoulder or low at the flank."""
    inset = rng.integers(10, 58)
    y = rng.choice((rng.integers(16, 70), rng.integers(70, 200), rng.integers(300, 470)),
                   p=(0.68, 0.27, 0.05))  # fmt: skip
    return int(SIZE - inset if left else inset), int(y)


def _marker(rng: np.random.Generator, letter: str) -> Picture:
    """A side marker in one of its styles."""
    style = rng.choice(STYLES, p=(0.17, 0.21, 0.06, 0.51, 0.05))
    initials = "".join(chr(65 + k) for k in rng.integers(0, 26, rng.choice((2, 3))))
    tone, size = int(rng.integers(205, 250)), int(rng.integers(15, 27))
    turn, ball = rng.normal(0, 22) * (rng.random() < 0.6), rng.random() < 0.3
    signed, flipped = rng.random() < 0.6, rng.random() < 0.05
    if style == "ring":
        return _ringed(letter, int(rng.integers(12, 18)), tone)
    if style == "box":
        return _boxed(letter, size, tone)
    if style == "word":
        return _letters({"L": "LEFT", "R": "RIGHT"}[letter], int(0.7 * size) + 3, tone, 0)
    if style == "plain":
        return _letters(letter, size, tone, int(rng.integers(0, 2)))
    stamp = _lead_marker(letter, initials if signed else "", size, tone, turn, ball)
    return ImageOps.mirror(stamp) if flipped else stamp


def _lead_marker(
    letter: str, initials: str, size: int, tone: int, turn: float, ball: bool
) -> Picture:
    """A lead letter on its plate, laid down by hand: slanted, soft, with initials or a ball."""
    face, under = (
        _letters(letter, size, tone, 1),
        _letters(initials or " ", int(0.55 * size) + 3, tone, size % 2),
    )
    width = max(face.width, under.width) + 8
    plate = Image.new("L", (width, face.height + 8 + (under.height + 2 if initials else 0)))
    frame = (0, 0, plate.width - 1, plate.height - 1)
    ImageDraw.Draw(plate).rounded_rectangle(frame, 4, fill=tone // 4 if ball else 0)
    _paste(plate, face, width // 2, 4 + face.height // 2)
    if initials:
        _paste(plate, under, width // 2, face.height + 6 + under.height // 2)
    if ball:
        plate = _with_ball(plate, tone)
    return plate.rotate(turn, Image.Resampling.BICUBIC, expand=True).filter(
        ImageFilter.GaussianBlur(0.6)
    )


def _with_ball(plate: Picture, tone: int) -> Picture:
    """A round cup above the letter whose beads show which way is down."""
    tall = Image.new("L", (plate.width, plate.height + 18))
    tall.paste(plate, (0, 18))
    middle = plate.width // 2
    ImageDraw.Draw(tall).ellipse((middle - 8, 1, middle + 8, 17), fill=int(0.8 * tone))
    return tall


def _ringed(letter: str, size: int, tone: int) -> Picture:
    """A small letter in a circle, as workstations stamp it."""
    side = 2 * (2 * size + 1)
    stamp = Image.new("L", (side, side))
    ImageDraw.Draw(stamp).ellipse((2, 2, side - 3, side - 3), outline=tone, width=3)
    stamp = stamp.resize((side // 2, side // 2), Image.Resampling.BOX)
    _paste(stamp, _letters(letter, size, tone, 0), side // 4, side // 4)
    return stamp


def _boxed(letter: str, size: int, tone: int) -> Picture:
    face = _letters(letter, size, tone, 0)
    stamp = Image.new("L", (face.width + 12, face.height + 12))
    ImageDraw.Draw(stamp).rectangle((1, 1, stamp.width - 2, stamp.height - 2), outline=tone)
    _paste(stamp, face, stamp.width // 2, stamp.height // 2)
    return stamp


def _words(picture: Picture, rng: np.random.Generator, subject: Subject, x: int, y: int) -> None:
    """Lines of small text near the marker or at the lower border, sometimes with an arrow."""
    size, tone = int(rng.integers(10, 14)), int(rng.integers(225, 256))
    time = f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}"
    posture = "SUPINE" if subject.supine else rng.choice(("ERECT", "SEMI-UPRIGHT", "UPRIGHT"))
    view, where = ("AP", "PORTABLE") if subject.ap else ("PA", "")
    lines = [line for line, chance in ((view, 0.6), (where, 0.65), (posture, 0.45), (time, 0.4))
             if line and rng.random() < chance] or [view]  # fmt: skip
    apart, low, arrow = int(rng.integers(15, 36)), rng.random() < 0.12, rng.random() < 0.24
    column = int(np.clip(x + rng.normal(0, 6), 46, SIZE - 46))
    if low:
        column, y = int(rng.integers(60, SIZE - 60)), SIZE - 44 - apart * len(lines)
    if arrow:
        _paste(picture, _arrow(tone), column, y + 44)
        y += 36
    for number, line in enumerate(lines):
        _paste(picture, _letters(line, size, tone, 0), column, y + 40 + apart * number)


def _arrow(tone: int) -> Picture:
    """An outlined arrow that points up."""
    stamp = Image.new("L", (44, 52))
    corners = [(22, 3), (40, 23), (30, 23), (30, 48), (14, 48), (14, 23), (4, 23)]
    ImageDraw.Draw(stamp).polygon(corners, fill=tone)
    return stamp.resize((22, 26), Image.Resampling.BOX)


def _letters(text: str, size: int, tone: int, weight: int) -> Picture:
    """A tight picture of a line of text."""
    font = _font(size)
    left, top, right, bottom = font.getbbox(text, stroke_width=weight)
    stamp = Image.new("L", (max(int(right - left), 1) + 2, max(int(bottom - top), 1) + 2))
    ImageDraw.Draw(stamp).text((1 - left, 1 - top), text, fill=tone, font=font, stroke_width=weight)
    return stamp


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _paste(picture: Picture, stamp: Picture, x: int, y: int) -> None:
    """Lay a stamp centred on (x, y) over what is there, the brighter winning; cut at the border."""
    layer = Image.new("L", picture.size)
    layer.paste(stamp, (x - stamp.width // 2, y - stamp.height // 2))
    picture.paste(ImageChops.lighter(picture, layer))
