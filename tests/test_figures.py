"""Figures give their axes back, and a wrong scale, sign or order in a picture fails here."""

from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from prismlib.report import figures


@pytest.fixture(autouse=True)
def _closed_figures():
    with plt.rc_context():
        figures.use_style()
        yield
        plt.close("all")


def image(level: float) -> np.ndarray:
    return np.full((16, 16), level, np.float32)


def difference_images(axes):
    return [
        drawn
        for ax in np.ravel(axes)
        for drawn in ax.get_images()
        if drawn.get_cmap().name == figures.DIFFERENCE_CMAP
    ]


def pairs():
    return [
        figures.Pair(image(0.5), image(0.6), image(0.2), label="first"),
        figures.Pair(image(0.5), image(0.45)),
    ]


def test_a_grid_has_one_symmetric_difference_scale_and_one_bar():
    axes = figures.plot_pairs(pairs())
    maps = difference_images(axes)
    assert len(maps) == 3
    assert {drawn.get_clim() for drawn in maps} == {(-0.3, 0.3)}
    bars = [ax for ax in axes[0, 0].figure.axes if ax not in set(axes.ravel())]
    assert len(bars) == 1
    assert "counterfactual - factual" in bars[0].get_ylabel()


def test_a_grid_shows_counterfactual_minus_factual():
    maps = difference_images(figures.plot_pairs(pairs()))
    assert [float(np.mean(drawn.get_array())) for drawn in maps] == pytest.approx(
        [0.1, -0.3, -0.05], abs=1e-6
    )


def comparisons():
    return [
        figures.Comparison(image(0.5), {"a": image(0.6), "b": image(0.4)}, image(0.2), "first"),
        figures.Comparison(image(0.5), {"b": image(0.55), "c": image(0.5)}),
    ]


def shown(axes):
    """The mean of what each place of a grid shows, None where it shows nothing."""
    drawn = [ax.get_images() for ax in np.ravel(axes)]
    means = [
        round(float(np.mean(images[0].get_array())), 3) if images else None for images in drawn
    ]
    return np.array(means, dtype=object).reshape(axes.shape).tolist()


def test_many_methods_stand_side_by_side_on_one_scale():
    axes = figures.plot_difference_maps(comparisons())
    assert [ax.get_title() for ax in axes[0]] == ["factual", "a", "b", "c", "true difference"]
    assert shown(axes) == [[0.5, 0.1, -0.1, None, -0.3], [0.5, None, 0.05, 0, None]]
    assert {drawn.get_clim() for drawn in difference_images(axes)} == {(-0.3, 0.3)}
    bars = [ax for ax in axes[0, 0].figure.axes if ax not in set(axes.ravel())]
    assert len(bars) == 1 and "fraction of full scale" in bars[0].get_ylabel()
    assert [text.get_text() for text in axes[0, 0].texts] == ["first"]


def test_with_pictures_each_map_has_its_counterfactual_beside_it():
    axes = figures.plot_difference_maps(comparisons(), pictures=True, limit=0.2)
    assert [ax.get_title() for ax in axes[0, 3:]] == [
        "b", "difference", "c", "difference", "true counterfactual", "true difference",
    ]  # fmt: skip
    assert shown(axes)[0] == [0.5, 0.6, 0.1, 0.4, -0.1, None, None, 0.2, -0.3]
    assert {drawn.get_clim() for drawn in difference_images(axes)} == {(-0.2, 0.2)}


def test_pairs_are_comparisons_of_one_method():
    axes = figures.plot_pairs(pairs())
    assert [ax.get_title() for ax in axes[0]] == [
        "factual", "counterfactual", "difference", "true counterfactual", "true difference",
    ]  # fmt: skip
    assert shown(axes)[1] == [0.5, 0.45, -0.05, None, None]


def test_red_is_brighter():
    drawn = figures.plot_difference(np.array([[-0.1, 0.1]]), limit=0.1).get_images()[0]
    darker, brighter = drawn.cmap(drawn.norm(drawn.get_array()))[0]
    assert brighter[0] > brighter[2] and darker[2] > darker[0]


def test_without_any_truth_the_grid_has_no_truth_columns():
    assert figures.plot_pairs([figures.Pair(image(0.1), image(0.2))]).shape == (1, 3)
    assert figures.plot_pairs(pairs()).shape == (2, 5)


def test_a_single_odd_pixel_does_not_set_the_scale():
    difference = np.full((100, 100), 0.1, np.float32)
    difference[0, 0] = 1
    assert figures.difference_limit(difference) == pytest.approx(0.1)
    assert figures.difference_limit(image(0)) > 0


def test_radiographs_are_unsmoothed_and_keep_their_window():
    drawn = figures.plot_radiograph(image(0.5) * 0.2, title="dark").get_images()[0]
    assert drawn.get_clim() == (0, 1)
    assert drawn.get_interpolation() == "nearest"


def test_every_plot_gives_its_axis_back():
    table = pd.DataFrame(
        {"method": ["a", "b"], "n": 3, "cpg": [0.2, 0.4], "cpg_low": [0.1, 0.3], "cpg_high": 0.5}
    )
    counts = pd.DataFrame({"paper": [1, 2], "ours": [1, 3]}, index=["x", "y"])
    calls = [
        lambda ax: figures.plot_radiograph(image(0.5), ax=ax),
        lambda ax: figures.plot_difference(image(0.5), ax=ax, limit=1),
        lambda ax: figures.plot_logits([1, 2], [0, 1], ["a", "b"], ax=ax),
        lambda ax: figures.plot_scores_with_intervals(table, "cpg", ax=ax),
        lambda ax: figures.plot_counts(counts, ax=ax),
        lambda ax: figures.plot_distribution({"a": [0.1, 0.3]}, threshold=0.1, ax=ax),
        lambda ax: figures.plot_agreement([1, 2, 3], [1, 2, 4], name="CTR", ax=ax),
        lambda ax: figures.plot_curve([1, 2], {"a": [1, 2], "b": [2, 1]}, ylabel="loss", ax=ax),
    ]
    for call in calls:
        ax = plt.figure().add_subplot()
        assert call(ax) is ax
        made = call(None)
        assert isinstance(made, Axes) and made is not ax


def test_intervals_stand_where_the_table_says():
    table = pd.DataFrame(
        {"method": ["a", "b"], "flip_rate": [0.2, 0.7], "flip_low": [0.1, 0.5], "flip_high": 0.9}
    )
    ax = figures.plot_scores_with_intervals(table, "flip_rate")
    segments = ax.collections[0].get_segments()
    assert [(s[0][0], s[1][0]) for s in segments] == [(0.1, 0.9), (0.5, 0.9)]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row stands on top"


def test_heads_show_before_and_after_on_a_centred_scale():
    ax = figures.plot_logits([2, -1], [-3, -1], ["a", "b"], target="a")
    before, after = ax.get_lines()
    low, high = ax.get_xlim()
    assert low == -high and high > 3
    assert list(before.get_xdata()) == [2, -1] and list(after.get_xdata()) == [-3, -1]
    weights = [label.get_fontweight() for label in ax.get_yticklabels()]
    assert weights == ["bold", "normal"]


@pytest.mark.parametrize("reach", [0.5, 3, 6, 12, 25])
def test_probabilities_above_a_logit_scale_leave_each_other_room(reach):
    ax = figures.plot_logits([reach], [-reach], ["a"])
    ax.figure.canvas.draw()
    upper = next(each for each in ax.child_axes if each.get_xlabel() == "probability")
    labels = [each for each in upper.get_xticklabels() if each.get_text()]
    assert "0.5" in [each.get_text() for each in labels] and len(labels) >= 3
    spans = [each.get_window_extent() for each in labels]
    assert all(one.x1 < other.x0 for one, other in pairwise(spans))


def test_each_head_has_its_own_decision_boundary():
    ax = figures.plot_logits([2, -1], [-3, -1], ["a", "b"], boundaries=[0.5, -4])
    bars = next(c for c in ax.collections if c.get_label() == "decision").get_segments()
    assert [segment[0][0] for segment in bars] == [0.5, -4]
    assert ax.get_xlim()[1] > 4, "every boundary is seen"


def test_agreement_prints_the_squared_correlation():
    title = figures.plot_agreement([1, 2, 3, np.nan], [2, 4, 6, 1], name="CTR").get_title()
    assert "R² = 1.00" in title and "n = 3" in title


def test_drawing_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figures.plot_pairs(pairs())
    assert list(Path().iterdir()) == []


def test_errors_of_many_methods_have_a_place_each():
    inside, outside = [0.0, 1.0, 0.55, 1.02, 4.7], [0.0, 0.007, 0.14, 1.0, 23.4]
    names = ["truth", "nothing", "ours", "coded", "astray"]
    table = pd.DataFrame({"method": names, "error_inside": inside, "error_outside": outside})
    ax = figures.plot_errors(table)
    drawn = {line.get_label(): line for line in ax.lines if line.get_label() in names}
    assert [drawn[n].get_xydata().tolist() for n in names] == [
        [list(point)] for point in zip(outside, inside, strict=True)
    ]
    places = ax.transData.transform(np.column_stack([outside, inside]))
    whole = ax.get_window_extent()
    assert all(whole.contains(*place) for place in places)
    apart = [np.hypot(*(a - b)) for a, b in pairwise(places[np.argsort(places[:, 0])])]
    assert min(apart) > 5 * 1.5  # pixels: markers do not hide each other
    assert {line.get_xdata()[0] for line in ax.lines if list(line.get_ydata()) == [0, 1]} == {1}
