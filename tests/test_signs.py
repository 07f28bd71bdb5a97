"""Signs measured in drawn chests of known size, and in simulated pairs that differ in one thing."""

import math

import numpy as np
import pytest
from scipy import ndimage

from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.measures import signs


def chest(
    heart_width: float = 170, fluid: float = 0.0, wires: int = 0, to_the_right: float = 0.36
) -> np.ndarray:
    """Two dark lungs 380 pixels apart at their outer edges, a bright heart, optional fluid, wires.

    `fluid` is how dense the lungs are below row 290, from 0 (air) to 1 (like the heart);
    `to_the_right` the share of the heart on the patient's right.
    """
    rows, columns = np.mgrid[0:512, 0:512]
    image = np.full((512, 512), 0.65)
    image[(columns < 40) | (columns > 472)] = 0.05
    beside = np.abs(columns - 256)
    floor = 330 + 50 * np.clip((beside - 120) / 60, 0, 1)
    rounded = np.clip(225 - rows, 0, None)
    lungs = ((beside - 110) / 80) ** 4 + (rounded / 160) ** 4 < 1
    image[lungs] = 0.2
    image[lungs & (rows > 290)] = 0.2 + fluid * 0.6
    image[(rows > floor) & (beside < 190)] = 0.7
    grown = np.clip((rows - 190) / 130, 0, 1)
    right, left = (
        36 + (share * heart_width - 36) * grown for share in (to_the_right, 1 - to_the_right)
    )
    image[(columns > 256 - right) & (columns < 256 + left) & (rows < 350)] = 0.85
    for wire in range(wires):
        image[90 + 14 * wire : 92 + 14 * wire, 90:400] = 1.0
    return ndimage.gaussian_filter(image, 1.0).astype(np.float32)


def test_the_frame_of_a_drawn_chest():
    thorax = signs.find_thorax(chest())
    assert thorax is not None
    assert thorax.width == pytest.approx(380, abs=8)
    assert thorax.midline == pytest.approx(256, abs=4)
    assert thorax.top == pytest.approx(65, abs=25), "drawn lungs are matched in steps"
    assert thorax.levels == pytest.approx((380, 380), abs=6)
    assert thorax.sharp == (True, True)
    assert 380 < thorax.base < 412, "a usual recess reaches below the lowest air that is seen"
    assert not (thorax.right_lung & thorax.left_lung).any()
    assert thorax.right_lung[:, :256].sum() == thorax.right_lung.sum()


@pytest.mark.parametrize("width", [140, 165, 190, 215])
def test_the_ratio_of_a_drawn_chest(width):
    assert signs.cardiothoracic_ratio(chest(width)) == pytest.approx(width / 380, abs=0.03)


def test_a_heart_that_does_not_reach_to_the_left_is_none():
    assert math.isnan(signs.cardiothoracic_ratio(chest(200, to_the_right=0.6)))


def test_denser_lower_zones_measure_denser():
    measured = [signs.lower_zone_opacity(chest(fluid=fluid)) for fluid in (0, 0.3, 0.6)]
    assert measured[0] < measured[1] < measured[2]
    assert measured[2] - measured[0] > 0.1


def test_fluid_is_high_where_it_is_drawn_and_blunts_the_angle():
    one_sided = chest(fluid=0.8)
    one_sided[:, :256] = chest()[:, :256]
    clear, filled = (signs.fluid_height(one_sided, side) for side in (-1, 1))
    assert clear == pytest.approx(0, abs=0.02)
    assert signs.find_thorax(one_sided).levels[1] == pytest.approx(290, abs=6)
    assert filled == pytest.approx(0.05 + 90 / 380, abs=0.03), "recesses reach below the air"
    in_mm = signs.fluid_height(one_sided, 1, mm_per_pixel=0.7)
    assert in_mm == pytest.approx(filled * 380 * 0.7, rel=0.02)


def slanted(drop: float) -> np.ndarray:
    """A chest whose diaphragm falls by `drop` pixels a pixel on the way outwards."""
    rows, columns = np.mgrid[0:512, 0:512]
    floor = 285 + drop * (np.abs(columns - 256) - 60)
    image = np.where((rows > floor) & (np.abs(columns - 256) < 190), np.float32(0.7), chest())
    return ndimage.gaussian_filter(image, 1.0)


def test_a_steeper_diaphragm_makes_a_sharper_angle():
    flat, steep = (signs.costophrenic_angle(slanted(drop), 1) for drop in (0.0, 0.4))
    assert flat > 120, "a level floor on both sides is read as fluid"
    assert steep == pytest.approx(90 - np.degrees(np.arctan(0.4)), abs=12)


def change(index: int, change_of: str) -> float:
    """How far the ratio of a simulated subject moves with its picture."""
    image = PhantomCohort("development", 24, seed=0).image(index)
    if change_of == "place":
        other = ndimage.shift(image, (10, -20), order=1, mode="nearest")
    else:
        other = ndimage.affine_transform(image, [1 / 0.9] * 2, 256 - 256 / 0.9, mode="nearest")
    return abs(signs.cardiothoracic_ratio(other) - signs.cardiothoracic_ratio(image))


@pytest.mark.parametrize("change_of", ["place", "size"])
def test_the_ratio_stays_when_the_picture_is_moved_or_made_smaller(change_of):
    changes = np.array([change(index, change_of) for index in (0, 2, 4, 9, 11, 12, 17, 19, 22)])
    assert np.isfinite(changes).all()
    assert (changes < 0.015).sum() >= 8


def test_wires_add_their_area():
    clean, wired = signs.device_area(chest()), signs.device_area(chest(wires=4))
    drawn = 4 * 2 * 310 / 512**2
    assert 0.7 * drawn < wired - clean < 2 * drawn


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((512, 512), np.float32),
        np.full((512, 512), 0.5, np.float32),
        np.linspace(0, 1, 512 * 512, dtype=np.float32).reshape(512, 512),
        np.zeros((64, 64), np.float32),
    ],
    ids=["black", "grey", "ramp", "small"],
)
def test_what_is_no_chest_has_no_ratio(image):
    assert math.isnan(signs.cardiothoracic_ratio(image))
    assert math.isnan(signs.lower_zone_opacity(image))
    assert math.isnan(signs.fluid_height(image, 1))
    assert math.isnan(signs.costophrenic_angle(image, -1))


def test_one_reading_holds_every_sign_by_its_name():
    image = chest()
    read = signs.read_signs(image)
    assert tuple(read) == signs.NAMES
    assert read["cardiothoracic_ratio"] == signs.cardiothoracic_ratio(image)
    assert read["lower_zone_opacity"] == signs.lower_zone_opacity(image)
    assert read["device_area"] == signs.device_area(image)
    for side, name in ((-1, "right"), (1, "left")):
        assert read[f"fluid_height_{name}"] == signs.fluid_height(image, side)
        assert read[f"costophrenic_angle_{name}"] == signs.costophrenic_angle(image, side)
    in_mm = signs.read_signs(image, mm_per_pixel=0.7)
    assert in_mm["fluid_height_left"] == signs.fluid_height(image, 1, 0.7)


def test_what_is_no_chest_reads_as_gaps():
    read = signs.read_signs(np.full((512, 512), 0.5, np.float32))
    assert all(math.isnan(read[name]) for name in signs.NAMES if name != "device_area")
    assert read["device_area"] == pytest.approx(0, abs=0.005)


def test_the_truth_has_the_same_names_and_units():
    latents = {
        "ctr": 0.5, "effusion_height_right_mm": 20.0, "effusion_height_left_mm": 70.0,
        "costophrenic_angle_right": 60.0, "costophrenic_angle_left": 120.0,
        "ecg_leads_area_mm2": 1000.0, "pacemaker_area_mm2": 638.4, "heart_width_mm": 150.0,
    }  # fmt: skip
    truth = signs.latent_signs(latents, mm_per_pixel=0.8)
    assert tuple(truth) == signs.NAMES
    assert truth["cardiothoracic_ratio"] == 0.5
    assert (truth["fluid_height_right"], truth["fluid_height_left"]) == (20, 70)
    assert truth["lower_zone_opacity"] == 70
    assert truth["device_area"] == pytest.approx(1638.4 / (512 * 0.8) ** 2)


def test_no_device_area_outside_the_size_it_was_made_for():
    assert math.isnan(signs.device_area(np.zeros((64, 64), np.float32)))


def test_fluid_rises_with_a_large_effusion_in_simulated_subjects():
    cohort = PhantomCohort("development", 8, seed=11)
    rises = []
    for index in range(len(cohort)):
        large, none = (cohort.truth(index, {"Pleural Effusion": v}).image for v in (0.7, 0))
        rises.append(
            sum(signs.fluid_height(large, s) - signs.fluid_height(none, s) for s in (-1, 1))
        )
    assert np.median(rises) > 0.05


@pytest.mark.parametrize(
    ("name", "sign", "least", "measured"),
    [
        ("Cardiomegaly", signs.cardiothoracic_ratio, 0.02, 5),
        ("Pleural Effusion", signs.lower_zone_opacity, 0.05, 8),
        ("Support Devices", signs.device_area, 0.001, 8),
    ],
)
def test_each_sign_follows_its_own_intervention_in_simulated_subjects(name, sign, least, measured):
    cohort = PhantomCohort("development", 8, seed=11)
    shifts = []
    for index in range(len(cohort)):
        present, absent = (cohort.truth(index, {name: value}).image for value in (1, 0))
        shifts.append(sign(present) - sign(absent))
    assert np.isfinite(shifts).sum() >= measured
    assert np.nanmedian(shifts) > least
