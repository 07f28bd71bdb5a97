"""Anatomical signs measured in the picture alone, in the place of a question-answering model.

Nothing here sees a label, a mask or a classifier. Each sign is NaN where it cannot be measured.
The constants were chosen on simulated frontal radiographs; `benchmarks/signs.py` prints how far
the signs agree with the latent truth there. On patients they are unvalidated.
"""

from prismlib.measures.signs.devices import device_area
from prismlib.measures.signs.fluid import costophrenic_angle, fluid_height, lower_zone_opacity
from prismlib.measures.signs.heart import cardiothoracic_ratio
from prismlib.measures.signs.thorax import Thorax, find_thorax

__all__ = [
    "Thorax",
    "cardiothoracic_ratio",
    "costophrenic_angle",
    "device_area",
    "find_thorax",
    "fluid_height",
    "lower_zone_opacity",
]
