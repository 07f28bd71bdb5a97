"""Findings: they grow with severity, stay where they are, keep to their side and to their mask."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib.cohorts.phantom import anatomy
from prismlib.cohorts.phantom.canvas import Canvas, Map
from prismlib.cohorts.phantom.findings import SIGNS, Sign, Thorax, draw_sign, effusion_measures
from prismlib.cohorts.phantom.subject import FINDINGS, Subject

findings = st.sampled_from(sorted(SIGNS))
severities = st.floats(0.05, 1.0)
numbers = st.integers(0, 5000)
ONE_SIDED = sorted(set(SIGNS) - {"Edema"})


def a_subject(finding: str, severity: float, number: int = 7, **fields) -> Subject:
    values = {
        "seed": 2, "split": "test", "number": number, "patient": number, "study": 0, "age": 58,
        "male": number % 2 == 0, "ap": False, "supine": False, "acuity": 0.0, "habitus": 0.1,
        "severity": {**dict.fromkeys(FINDINGS, 0.0), finding: severity},
        "potential": dict.fromkeys(FINDINGS, 0.5), "side": dict.fromkeys(FINDINGS, "right"),
        "devices": frozenset(), "potential_devices": frozenset(),
    }  # fmt: skip
    return Subject(**{**values, **fields})


def thorax_of(subject: Subject) -> Thorax:
    a = anatomy.sample_anatomy(subject)
    right, left = (Canvas(a.frame).polygon(anatomy.lung_outline(a, s)).map() for s in (-1, 1))
    return Thorax(a, right, left)


def drawn(finding: str, severity: float, number: int = 7, **fields) -> tuple[Sign, Thorax]:
    subject = a_subject(finding, severity, number, **fields)
    thorax = thorax_of(subject)
    sign = draw_sign(subject, thorax, finding)
    assert sign is not None
    return sign, thorax


def effect(sign: Sign) -> Map:
    return sign.share + (0 if sign.added is None else np.abs(sign.added))


def on(side: str) -> dict[str, dict[str, str]]:
    return {"side": dict.fromkeys(FINDINGS, side)}


@pytest.mark.parametrize("finding", SIGNS)
def test_no_severity_no_sign(finding: str) -> None:
    subject = a_subject(finding, 0.0)
    assert draw_sign(subject, thorax_of(subject), finding) is None


@given(finding=findings, severity=severities, number=numbers, supine=st.booleans())
@settings(deadline=None, max_examples=60)
def test_maps_are_sound_and_the_mask_holds_what_changes(finding, severity, number, supine) -> None:
    sign, _ = drawn(finding, severity, number, supine=supine, ap=supine, **on("both"))
    assert sign.share.shape == sign.mask.shape == (512, 512)
    assert sign.share.dtype == np.float32
    assert np.isfinite(effect(sign)).all()
    assert sign.share.min() >= 0 and sign.share.max() <= 1
    assert sign.clears is None or (sign.clears.min() >= 0 and sign.clears.max() <= 1)
    assert sign.mask.any()
    assert effect(sign)[sign.mask].sum() >= 0.97 * effect(sign).sum()


@given(finding=findings, low=severities, high=severities, number=numbers, supine=st.booleans())
@settings(deadline=None, max_examples=60)
def test_more_severe_never_takes_less_air(finding, low, high, number, supine) -> None:
    low, high = sorted((low, high))
    less, _ = drawn(finding, low, number, supine=supine)
    more, _ = drawn(finding, high, number, supine=supine)
    # the outlines of a retracted lung and of plates are drawn with the raster's precision
    lost = np.maximum(less.share - more.share, 0)
    assert lost.sum() <= 0.02 * less.share.sum() + 2.0
    assert more.share.sum() >= less.share.sum() - 1.0


@pytest.mark.parametrize("finding", SIGNS)
@pytest.mark.parametrize("supine", [False, True])
def test_strong_changes_more_than_weak(finding: str, supine: bool) -> None:
    sums = [effect(drawn(finding, s, supine=supine)[0]).sum() for s in (0.08, 0.3, 0.6, 1.0)]
    assert sums == sorted(sums) and sums[3] > 2 * sums[0]


@given(finding=st.sampled_from(ONE_SIDED), severity=severities, number=numbers)
@settings(deadline=None, max_examples=40)
def test_a_finding_keeps_to_its_side(finding: str, severity: float, number: int) -> None:
    for side, other in (("right", "left_lung"), ("left", "right_lung")):
        sign, thorax = drawn(finding, severity, number, **on(side))
        assert effect(sign)[getattr(thorax, other) > 0].max() == 0
        assert not (sign.mask & (getattr(thorax, other) > 0)).any()


def test_edema_lies_in_both_lungs_whatever_its_side() -> None:
    sign, thorax = drawn("Edema", 0.8, **on("right"))
    right, left = (effect(sign)[lung > 0.5].sum() for lung in (thorax.right_lung, thorax.left_lung))
    assert 0.4 < right / left < 2.5


@pytest.mark.parametrize(
    "finding", ["Consolidation", "Pneumonia", "Lung Lesion", "Lung Opacity", "Atelectasis", "Edema"]
)
def test_severity_does_not_move_a_lesion(finding: str) -> None:
    """What weak disease covers lies inside what strong disease of the same subject covers."""
    for number in range(6):
        weak, _ = drawn(finding, 0.3, number)
        strong, _ = drawn(finding, 0.9, number)
        inside = (weak.share * (strong.share > 0)).sum() / weak.share.sum()
        assert inside > 0.995


@pytest.mark.parametrize("finding", SIGNS)
def test_drawn_twice_has_the_same_bytes(finding: str) -> None:
    one, two = (drawn(finding, 0.6, **on("both"))[0] for _ in range(2))
    assert one.share.tobytes() == two.share.tobytes()
    assert (one.added is None) == (two.added is None)
    assert one.added is None or one.added.tobytes() == two.added.tobytes()
    assert one.mask.tobytes() == two.mask.tobytes()


@pytest.mark.parametrize("finding", ["Lung Lesion", "Pleural Other", "Fracture"])
def test_lasting_disease_is_the_same_in_a_later_study(finding: str) -> None:
    first = a_subject(finding, 0.8)
    later = replace(first, number=8, study=1)
    thorax = thorax_of(first)
    one, two = (draw_sign(subject, thorax, finding) for subject in (first, later))
    np.testing.assert_array_equal(one.mask, two.mask)


@pytest.mark.parametrize("supine", [False, True])
def test_effusion_measures_rise_with_severity(supine: bool) -> None:
    subject = a_subject("Pleural Effusion", 0.5, supine=supine)
    thorax = thorax_of(subject)
    depth = 12 * (thorax.right_lung + thorax.left_lung)
    rows = [
        effusion_measures(a_subject("Pleural Effusion", s, supine=supine), thorax, depth)
        for s in (0.0, 0.3, 0.6, 1.0)
    ]
    for name in ("height_right_mm", "volume_right_ml"):
        values = [row[name] for row in rows]
        assert values == sorted(values) and values[0] == 0 and values[3] > values[1]
    assert all(row["volume_left_ml"] == row["height_left_mm"] == 0 for row in rows)


def test_effusion_heights_span_those_of_annotated_radiographs() -> None:
    """Boxes drawn on radiographs are 35, 109 and 223 mm high at p10, p50 and p90."""
    for severity, expected in ((0.26, 35), (0.54, 109), (0.86, 223)):
        subject = a_subject("Pleural Effusion", severity)
        thorax = thorax_of(subject)
        height = effusion_measures(subject, thorax, thorax.right_lung)["height_right_mm"]
        assert height == pytest.approx(expected, rel=0.25)


def test_an_upright_effusion_climbs_the_wall_and_a_supine_one_has_no_surface() -> None:
    upright, thorax = drawn("Pleural Effusion", 0.6)
    wall, middle = (
        np.argmax((upright.share > 0.4) & near, axis=0)[near.any(axis=0)]
        for near in (_strip(thorax, 3, 10), _strip(thorax, 55, 65))
    )
    assert np.median(middle[middle > 0]) - np.median(wall[wall > 0]) > 15
    supine, lying = drawn("Pleural Effusion", 0.6, supine=True)
    assert _steepest(supine, lying) < 0.4 * _steepest(upright, thorax)


def _steepest(sign: Sign, thorax: Thorax) -> float:
    """The largest step of the share from row to row inside the lung."""
    inside = _strip(thorax, 15, 60)
    return float(np.abs(np.diff(sign.share, axis=0))[inside[1:] & inside[:-1]].max())


def _strip(thorax: Thorax, near: float, far: float):
    half = thorax.right
    return (half.to_wall > near) & (half.to_wall < far) & (half.lung > 0.9)


def test_beyond_the_pleural_line_lies_air_without_vessels() -> None:
    sign, thorax = drawn("Pneumothorax", 0.8)
    assert sign.material == 0 and sign.clears is not None and sign.added is not None
    y = np.broadcast_to(thorax.anatomy.frame.grid[1], (512, 512))
    free = sign.clears > 0.9
    assert free.any() and y[free].mean() < thorax.anatomy.carina_y + 30
    assert sign.added.max() > 0.05


def test_supine_free_air_deepens_the_sulcus() -> None:
    sign, thorax = drawn("Pneumothorax", 0.9, supine=True)
    y = np.broadcast_to(thorax.anatomy.frame.grid[1], (512, 512))
    below = y > thorax.right.recess_y + 5
    assert sign.added is not None and sign.added[below].min() < -0.2
    assert y[sign.share > 0.1].mean() > thorax.anatomy.carina_y + 40


def test_a_median_pneumothorax_covers_about_a_hundredth_of_the_picture() -> None:
    areas = [(drawn("Pneumothorax", 0.55, number)[0].share > 0.5).mean() for number in range(8)]
    assert 0.005 < np.median(areas) < 0.016


@pytest.mark.parametrize(("severity", "least", "most"), [(0.1, 4, 14), (0.55, 18, 42)])
def test_lesions_have_the_sizes_of_nodules(severity: float, least: float, most: float) -> None:
    sizes = []
    for number in range(12):
        sign, thorax = drawn("Lung Lesion", severity, number)
        rows = np.flatnonzero((sign.share > 0.3 * sign.share.max()).any(axis=0))
        sizes.append(np.ptp(rows) * thorax.anatomy.frame.mm_per_pixel)
    assert np.min(sizes) > 0.5 * least and least < np.median(sizes) < most


def test_a_fracture_takes_bone_away_and_adds_it_elsewhere() -> None:
    sign, _ = drawn("Fracture", 0.8)
    assert sign.added is not None and sign.share.max() == 0
    assert sign.added.min() < -0.05 and sign.added.max() > 0.05
    assert 0.0005 < sign.mask.mean() < 0.05
