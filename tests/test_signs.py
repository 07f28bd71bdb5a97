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
    for side in (-1, 1):
        lung = ((columns - 256 - side * 110) / 80) ** 4 + ((rows - 225) / 160) ** 4 < 1
        image[lung] = 0.2
        image[lung & (rows > 290)] = 0.2 + fluid * 0.6
    image[(rows > 345) & (np.abs(columns - 256) < 190)] = 0.7
    grown = np.clip((rows - 190) / 130, 0, 1)
    right, left = (
        36 + (share * heart_width - 36) * grown for share in (to_the_right, 1 - to_the_right)
    )
    image[(columns > 256 - right) & (columns < 256 + left) & (rows < 350)] = 0.85
    for wire in range(wires):
        image[90 + 14 * wire : 92 + 14 * wire, 90:400] = 1.0
    return ndimage.gaussian_filter(image, 1.0).astype(np.float32)


REBUILT = pytest.mark.xfail(
    reason="the signs are being rebuilt for cohort version 1, whose films vary more than they do"
)


@REBUILT
def test_the_frame_of_a_drawn_chest():
    thorax = signs.find_thorax(chest())
    assert thorax is not None
    assert thorax.width == pytest.approx(380, abs=8)
    assert thorax.midline == pytest.approx(256, abs=4)
    assert thorax.top == pytest.approx(65, abs=12)
    assert not (thorax.right_lung & thorax.left_lung).any()
    assert thorax.right_lung[:, :256].sum() == thorax.right_lung.sum()


@pytest.mark.parametrize("width", [140, 165, 190, 215])
def test_the_ratio_of_a_drawn_chest(width):
    assert signs.cardiothoracic_ratio(chest(width)) == pytest.approx(width / 380, abs=0.03)


def test_a_heart_that_does_not_reach_to_the_left_is_none():
    assert math.isnan(signs.cardiothoracic_ratio(chest(200, to_the_right=0.6)))


@REBUILT
def test_denser_lower_zones_measure_denser():
    measured = [signs.lower_zone_opacity(chest(fluid=fluid)) for fluid in (0, 0.3, 0.6)]
    assert measured[0] < measured[1] < measured[2]
    assert measured[2] - measured[0] > 0.2


@REBUILT
def test_wires_add_their_area():
    clean, wired = signs.device_area(chest()), signs.device_area(chest(wires=4))
    drawn = 4 * 2 * 310 / 512**2
    assert drawn < wired - clean < 3 * drawn, "the detector's blur widens a wire, no more"


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


def test_no_device_area_outside_the_size_it_was_made_for():
    assert math.isnan(signs.device_area(np.zeros((64, 64), np.float32)))


@pytest.mark.parametrize(
    ("name", "sign", "least"),
    [
        ("Cardiomegaly", signs.cardiothoracic_ratio, 0.02),
        ("Pleural Effusion", signs.lower_zone_opacity, 0.05),
        pytest.param("Support Devices", signs.device_area, 0.001, marks=REBUILT),
    ],
)
def test_each_sign_follows_its_own_intervention_in_simulated_subjects(name, sign, least):
    cohort = PhantomCohort("development", 5, seed=11)
    shifts = []
    for index in range(len(cohort)):
        present, absent = (cohort.truth(index, {name: value}).image for value in (1, 0))
        shifts.append(sign(present) - sign(absent))
    assert np.isfinite(shifts).sum() >= 4
    assert np.nanmedian(shifts) > least
