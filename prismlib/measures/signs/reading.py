"""All signs of one radiograph at once, and the latent truth under the same names."""

from collections.abc import Mapping

from prismlib.measures.signs.devices import device_area
from prismlib.measures.signs.fluid import angle_in, height_in, opacity_in
from prismlib.measures.signs.heart import heart_ratio
from prismlib.measures.signs.thorax import SIZE, Image, find_thorax

SIDES = {"right": -1, "left": 1}
NAMES = (
    "cardiothoracic_ratio",
    *(f"fluid_height_{name}" for name in SIDES),
    *(f"costophrenic_angle_{name}" for name in SIDES),
    "lower_zone_opacity",
    "device_area",
)


def read_signs(image: Image, mm_per_pixel: float | None = None) -> dict[str, float]:
    """Every sign of a radiograph (512, 512) in [0, 1] by name; NaN where it cannot be measured.

    The keys are `NAMES`; the chest is found once. Fluid heights are in widths of the thorax, or in
    mm given the size of a pixel; angles in degrees; the area is a share of the picture.
    """
    signs = dict.fromkeys(NAMES, float("nan"))
    thorax = find_thorax(image)
    if thorax is not None:
        signs["cardiothoracic_ratio"] = heart_ratio(image, thorax)
        signs["lower_zone_opacity"] = opacity_in(image, thorax)
        for name, side in SIDES.items():
            signs[f"fluid_height_{name}"] = height_in(thorax, side, mm_per_pixel)
            signs[f"costophrenic_angle_{name}"] = angle_in(thorax, side)
    signs["device_area"] = device_area(image)
    return signs


def latent_signs(latents: Mapping[str, float], mm_per_pixel: float) -> dict[str, float]:
    """The truth that `read_signs(image, mm_per_pixel)` should find, from latent measures.

    `mm_per_pixel` is the size of a pixel in the patient; heights are in mm. `lower_zone_opacity`
    has no latent of its own: the higher fluid, in mm, stands in its place. `device_area` sums the
    kinds, so that overlaps count twice.
    """
    devices = sum(value for name, value in latents.items() if name.endswith("_area_mm2"))
    signs = {"cardiothoracic_ratio": latents["ctr"]}
    for name in SIDES:
        signs[f"fluid_height_{name}"] = latents[f"effusion_height_{name}_mm"]
        signs[f"costophrenic_angle_{name}"] = latents[f"costophrenic_angle_{name}"]
    signs["lower_zone_opacity"] = max(signs[f"fluid_height_{name}"] for name in SIDES)
    signs["device_area"] = devices / (SIZE * mm_per_pixel) ** 2
    return {name: float(signs[name]) for name in NAMES}
