"""Support devices: drawn where they belong, at their sizes, each from a stream of its own."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from prismlib.cohorts.phantom.anatomy import Anatomy, sample_anatomy
from prismlib.cohorts.phantom.canvas import Frame
from prismlib.cohorts.phantom.devices import device_measures, draw_device
from prismlib.cohorts.phantom.devices.film import Film, course
from prismlib.cohorts.phantom.lettering import burned_in_text
from prismlib.cohorts.phantom.subject import DEVICE_KINDS, FINDINGS, IMPLANTS, LINES, Subject

TUBES_WITH_A_TIP = ("central_line", "endotracheal_tube", "nasogastric_tube", "chest_drain")


def subject(number: int, *, patient: int | None = None, devices: tuple[str, ...] = ()) -> Subject:
    """A subject of every sex, view and habitus in turn; `number` keys its streams."""
    return Subject(
        seed=0, split="train", number=number, patient=number if patient is None else patient,
        study=0, age=60, male=number % 2 == 0, ap=number % 3 > 0, supine=number % 6 == 1,
        acuity=0.0, habitus=(number % 9 - 4) / 2.5,
        severity=dict.fromkeys(FINDINGS, 0.0), potential=dict.fromkeys(FINDINGS, 0.5),
        side=dict.fromkeys(FINDINGS, ("right", "left", "both")[number % 3]),
        devices=frozenset(devices), potential_devices=frozenset(),
    )  # fmt: skip


def anatomy(number: int) -> Anatomy:
    return sample_anatomy(subject(number))


@pytest.mark.parametrize("kind", DEVICE_KINDS)
def test_nearly_every_subject_shows_the_device_in_the_field(kind: str) -> None:
    shown = [
        draw_device(subject(number), anatomy(number), kind).optical_depth.max() > 0.03
        for number in range(200)
    ]
    least = 0.90 if kind == "shoulder_prosthesis" else 0.97  # narrow films cut the shoulders off
    assert np.mean(shown) >= least


@pytest.mark.parametrize("kind", DEVICE_KINDS)
def test_the_footprint_covers_what_the_device_attenuates(kind: str) -> None:
    for number in range(25):
        device = draw_device(subject(number), anatomy(number), kind)
        assert device.optical_depth.dtype == device.footprint.dtype == np.float32
        assert device.optical_depth.min() >= -1e-5 and device.footprint.min() >= 0
        assert device.footprint.max() <= 1
        assert (device.footprint[device.optical_depth > 0.01] > 0).all()
        reach = ndimage.binary_dilation(device.footprint > 0.08)
        assert reach[device.optical_depth > 0.01].all()


@pytest.mark.parametrize("kind", DEVICE_KINDS)
def test_a_device_is_the_same_twice_and_whatever_else_is_switched(kind: str) -> None:
    for number in range(5):
        plain, a = subject(number), anatomy(number)
        other = replace(
            plain,
            devices=frozenset(DEVICE_KINDS),
            severity=dict.fromkeys(FINDINGS, 1.0),
            acuity=2.0,
        )
        assert sample_anatomy(other) == a
        once, again = draw_device(plain, a, kind), draw_device(other, a, kind)
        assert once.optical_depth.tobytes() == again.optical_depth.tobytes()
        assert once.footprint.tobytes() == again.footprint.tobytes()


@pytest.mark.parametrize("kind", DEVICE_KINDS)
def test_implants_stay_from_study_to_study_and_lines_do_not(kind: str) -> None:
    same = []
    for number in range(6):
        a = anatomy(number)
        first, second = (draw_device(subject(n, patient=7), a, kind) for n in (number, number + 99))
        same.append(bool((first.optical_depth == second.optical_depth).all()))
    assert all(same) if kind in IMPLANTS else not any(same)


@pytest.mark.parametrize("kind", [*IMPLANTS, "endotracheal_tube", "central_line", "chest_drain"])
def test_area_in_mm2_does_not_depend_on_the_frame(kind: str) -> None:
    """A wide field at three pixel sizes: the device keeps its area and its attenuation."""
    for number in range(8):
        a = replace(anatomy(number), frame=Frame(1.1))
        areas, masses = [], []
        for scale in (0.95, 1.1, 1.3):
            device = draw_device(subject(number), replace(a, frame=Frame(scale)), kind)
            areas.append(device.footprint.sum() * scale**2)
            masses.append(device.optical_depth.sum() * scale**2)
        if max(areas) > 1.6 * min(areas):
            continue  # it leaves even the wide field
        assert areas[0] == pytest.approx(areas[2], rel=0.12)
        if kind in ("sternal_wires", "surgical_clips", "pacemaker"):
            assert masses[0] == pytest.approx(masses[2], rel=0.02)


def test_a_pacemakers_can_is_about_51_by_42_mm() -> None:
    for number in range(30):
        a = replace(anatomy(number), frame=Frame(1.0, 0, 160))
        depth = draw_device(subject(number), a, "pacemaker").optical_depth
        can = ndimage.binary_opening(depth > 1.2, iterations=3)
        rows, columns = np.nonzero(can)
        spread = np.stack([columns, rows]) - np.mean([columns, rows], axis=1, keepdims=True)
        axes = np.linalg.svd(spread, full_matrices=False)[0].T @ spread
        length, height = np.ptp(axes, axis=1)
        assert 44 < length < 66 and 34 < height < 58


def test_a_shoulder_head_is_40_to_55_mm_wide() -> None:
    for number in range(20):
        a = replace(anatomy(number), frame=Frame(1.0, 0, 160))
        depth = draw_device(subject(number), a, "shoulder_prosthesis").optical_depth
        head = ndimage.binary_opening(depth > 4.5, iterations=2)
        rows, columns = np.nonzero(head)
        ends = np.stack([columns, rows], axis=1)
        turns = [np.array([np.cos(t), np.sin(t)]) for t in np.linspace(0, np.pi, 36)]
        widest = max(float(np.ptp(ends @ turn)) for turn in turns)
        assert 36 < widest < 57


@pytest.mark.parametrize(("diameter", "scale"), [(0.8, 0.7), (0.8, 0.86), (2.3, 0.8), (10.0, 0.8)])
def test_a_wire_keeps_its_width_and_its_mass(diameter: float, scale: float) -> None:
    """A wire of length L and diameter d covers L d and holds pi d^2 / 4 of metal per mm."""
    path = course([(-60.0, 150.0), (0.0, 180.0), (60.0, 210.0)])
    device = Film(Frame(scale)).wire(path, diameter, 0.5).device()
    length = float(np.hypot(120, 60))
    assert device.optical_depth.sum() * scale**2 == pytest.approx(
        0.5 * length * np.pi * diameter**2 / 4, rel=0.01
    )
    assert device.footprint.sum() * scale**2 == pytest.approx(length * diameter, rel=0.05)


def test_a_tube_is_denser_at_its_walls() -> None:
    tube = Film(Frame(0.5, 0, 100)).tube(course([(0.0, 0.0), (0.0, 200.0)]), 10, 7, 0.05).device()
    across = tube.optical_depth[256, 240:272]
    assert across[16] < 0.5 * across.max()
    assert abs(int(np.argmax(across)) - 16) * 0.5 == pytest.approx(3.6, abs=0.8)


def test_tips_lie_where_they_should() -> None:
    above_carina, below_carina = [], []
    for number in range(200):
        a = anatomy(number)
        one = subject(number, devices=("endotracheal_tube", "central_line"))
        measures = device_measures(one, a)
        above_carina.append(measures["endotracheal_tube tip above carina"])
        below_carina.append(measures["central_line tip below carina"])
    assert np.mean(above_carina) == pytest.approx(50, abs=5)
    assert min(above_carina) > 10 and max(above_carina) < 90
    assert min(below_carina) > -10 and max(below_carina) < 60


def test_tubes_end_inside_the_chest_or_the_stomach() -> None:
    for number in range(60):
        a = anatomy(number)
        for kind in TUBES_WITH_A_TIP:
            tip = draw_device(subject(number), a, kind).tip
            assert tip is not None and abs(tip[0]) < a.half_thorax
        x, y = draw_device(subject(number), a, "nasogastric_tube").tip or (0, 0)
        assert y > a.dome_left_y and x > 0


@pytest.mark.parametrize(("side", "sign"), [("right", -1), ("left", 1)])
def test_a_drain_lies_on_the_side_of_the_pneumothorax(side: str, sign: int) -> None:
    for number in range(20):
        one = replace(subject(number), side=dict.fromkeys(FINDINGS, side))
        tip = draw_device(one, anatomy(number), "chest_drain").tip
        assert tip is not None and sign * tip[0] > 10


def test_measures_name_only_what_is_present() -> None:
    one = subject(3, devices=("pacemaker", *LINES))
    measures = device_measures(one, anatomy(3))
    assert {name.split()[0] for name in measures} == {"pacemaker", *LINES}
    assert 1500 < measures["pacemaker area"] < 6500
    assert device_measures(subject(3), anatomy(3)) == {}


def test_some_lines_are_hard_to_see_and_some_are_plain() -> None:
    for kind in ("central_line", "endotracheal_tube", "nasogastric_tube", "external_cable"):
        peaks = [
            np.percentile(device.optical_depth[device.footprint > 0.5], 90)
            for device in (draw_device(subject(n), anatomy(n), kind) for n in range(60))
        ]
        assert np.quantile(peaks, 0.9) > 1.3 * np.quantile(peaks, 0.1)


def test_lettering_is_the_studys_own_and_often_a_single_marker() -> None:
    texts = [burned_in_text(subject(number)) for number in range(200)]
    assert all(text.shape == (512, 512) and 0 <= text.min() <= text.max() <= 1 for text in texts)
    np.testing.assert_array_equal(texts[5], burned_in_text(subject(5, devices=DEVICE_KINDS)))
    blank = np.mean([text.max() == 0 for text in texts])
    assert 0.02 < blank < 0.15
    marks = [int(ndimage.label(text > 0.3)[1]) for text in texts]
    assert np.mean([0 < count <= 5 for count in marks]) > 0.3
    assert np.mean([count > 6 for count in marks]) > 0.25
