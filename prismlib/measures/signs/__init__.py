"""Anatomical signs measured in the picture alone, in the place of a question-answering model.

Nothing here sees a label, a mask or a classifier of findings. Each sign is NaN where it cannot be
measured. The constants were chosen on simulated frontal radiographs, and the finder of devices was
fitted to them; `benchmarks/signs.py` prints how far the signs agree with the latent truth there,
and with reports' labels on patients, on whom they are unvalidated.
"""

from prismlib.measures.signs.devices import device_area, device_mask
from prismlib.measures.signs.fluid import costophrenic_angle, fluid_height, lower_zone_opacity
from prismlib.measures.signs.heart import cardiothoracic_ratio
from prismlib.measures.signs.reading import NAMES, latent_signs, read_signs
from prismlib.measures.signs.thorax import Thorax, find_thorax

__all__ = [
    "NAMES",
    "Thorax",
    "cardiothoracic_ratio",
    "costophrenic_angle",
    "device_area",
    "device_mask",
    "find_thorax",
    "fluid_height",
    "latent_signs",
    "lower_zone_opacity",
    "read_signs",
]
