"""What fluid does at the bottom of a lung: it blunts the angle, stands high and whitens."""

import numpy as np

from prismlib.measures.signs.thorax import Image, Thorax, find_thorax

ANGLE = (0.78, 0.95)  # half widths between which the floor's slope is taken
USUAL, FLATTENS = 36, 0.075  # degrees in health; widths of fluid that flatten it by a factor of e


def fluid_height(image: Image, side: int, mm_per_pixel: float | None = None) -> float:
    """How high fluid stands at the lateral wall; side -1 is the patient's right, +1 the left.

    From the recess (that of the side without fluid, or where lungs of this size should end) to
    the lowest air beside the wall, 0 where the recess is seen to hold air. In widths of the
    thorax, or in mm given the size of a pixel.
    """
    thorax = find_thorax(image)
    return float("nan") if thorax is None else height_in(thorax, side, mm_per_pixel)


def height_in(thorax: Thorax, side: int, mm_per_pixel: float | None = None) -> float:
    """How high fluid stands in a thorax that was found."""
    index = (side + 1) // 2
    height = 0.0 if thorax.sharp[index] else max(0.0, thorax.bases[index] - thorax.levels[index])
    return height / thorax.width if mm_per_pixel is None else height * mm_per_pixel


def costophrenic_angle(image: Image, side: int) -> float:
    """The angle in degrees between chest wall and lowest air; side -1 is the patient's right.

    Sharp in health, where it is read from the slope of the lung's floor beside the wall. Fluid
    flattens it towards 180 degrees with its height, as the latent angle does by definition.
    """
    thorax = find_thorax(image)
    return float("nan") if thorax is None else angle_in(thorax, side)


def angle_in(thorax: Thorax, side: int) -> float:
    """The costophrenic angle in a thorax that was found."""
    height = height_in(thorax, side)
    columns = np.arange(512)[thorax.columns(side, *ANGLE)]
    rows = thorax.floors[(side + 1) // 2, columns]
    known = np.isfinite(rows)
    if height > 0:
        return float(180 - (180 - USUAL) * np.exp(-height / FLATTENS))
    if known.sum() < 8:
        return float("nan")
    drop = side * np.polyfit(columns[known], rows[known], 1)[0]
    return float(90 - np.degrees(np.arctan(drop)))


def lower_zone_opacity(image: Image) -> float:
    """How dense the outer lower zone is, on the denser side: 0 like upper lung, 1 like the heart.

    The clearer side's upper lung is the measure for both, since fluid may whiten a whole side.
    Fluid collects there, in front of the chest wall above the costophrenic angle. Consolidation
    and breast shadows raise it too: it is a sign, not a diagnosis.
    """
    thorax = find_thorax(image)
    return float("nan") if thorax is None else opacity_in(image, thorax)


def opacity_in(image: Image, thorax: Thorax) -> float:
    """The opacity of the outer lower zones of a thorax that was found."""
    near = slice(max(0, thorax.midline - 20), thorax.midline + 20)
    dense = float(np.median(image[thorax.rows(0.38, 0.22), near]))
    clear, lower = [], []
    for side in (-1, 1):
        columns = thorax.columns(side, 0.80, 0.95)
        clear.append(float(np.median(image[thorax.rows(0.75, 0.55), columns])))
        lower.append(float(np.mean(image[thorax.rows(0.30, 0.14), columns])))
    contrast = dense - min(clear)
    return (max(lower) - min(clear)) / contrast if contrast >= 0.05 else float("nan")
