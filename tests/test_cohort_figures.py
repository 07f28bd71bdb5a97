"""Pictures of the cohort: what a wrong order, scale or name in one of them would change."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from prismlib.cohorts.phantom import graph
from prismlib.errors import UsageError
from prismlib.measures.localisation import share_near
from prismlib.report import cohort_figures, diagrams, figures


@pytest.fixture(autouse=True)
def _closed_figures():
    with plt.rc_context():
        figures.use_style()
        yield
        plt.close("all")


def image(level: float, size: int = 16) -> np.ndarray:
    return np.full((size, size), level, np.float32)


def case(before: float, after: float, label: str = "one"):
    mask = np.zeros((16, 16), dtype=bool)
    mask[:4] = True
    return figures.Pair(image(before), image(after), label=label), mask


def test_rows_stand_as_given_and_may_be_short():
    axes = cohort_figures.plot_rows({"a": [image(0.1), image(0.2)], "b": [image(0.3)]}, ["x", "y"])
    shown = [[float(i.get_array()[0, 0]) for i in ax.get_images()] for ax in axes.ravel()]
    assert shown == [[pytest.approx(0.1)], [pytest.approx(0.2)], [pytest.approx(0.3)], []]
    assert [ax.get_title() for ax in axes[0]] == ["x", "y"]
    assert [row[0].texts[0].get_text() for row in axes] == ["a", "b"]


def test_a_row_longer_than_the_titles_is_cut_nowhere_silently():
    with pytest.raises(UsageError, match="expected at most 1"):
        cohort_figures.plot_rows({"a": [image(0.1), image(0.2)]}, ["x"])


def test_cases_show_counterfactual_minus_factual_on_one_scale_and_the_mask():
    axes = cohort_figures.plot_cases([case(0.5, 0.3), case(0.5, 0.6)])
    maps = [row[2].get_images()[0] for row in axes]
    assert [float(m.get_array().mean()) for m in maps] == pytest.approx([-0.2, 0.1], abs=1e-6)
    assert {m.get_clim() for m in maps} == {(-0.2, 0.2)}
    assert axes[0, 3].get_images()[0].get_array().sum() == 4 * 16
    bars = [ax for ax in axes[0, 0].figure.axes if ax not in set(axes.ravel())]
    assert len(bars) == 1 and "counterfactual - factual" in bars[0].get_ylabel()


def test_every_plot_gives_its_axis_back():
    rates = pd.DataFrame({"ours": [0.1, 0.2], "theirs": [0.1, 0.3]}, index=["a", "b"])
    calls = [
        lambda ax: cohort_figures.plot_rates(rates, ax=ax),
        lambda ax: cohort_figures.plot_against(rates["ours"], rates["theirs"], ax=ax),
        lambda ax: cohort_figures.plot_histogram({"a": [1, 2, 3]}, xlabel="mm", ax=ax),
        lambda ax: cohort_figures.plot_spread(
            [1, 2], {"a": np.ones((3, 2))}, xlabel="x", ylabel="y", ax=ax
        ),
        lambda ax: diagrams.plot_causal_graph(graph.nodes(), ax=ax),
    ]
    for call in calls:
        ax = plt.figure().add_subplot()
        assert call(ax) is ax
        made = call(None)
        assert isinstance(made, Axes) and made is not ax


def test_rates_are_in_per_cent_with_the_first_row_on_top():
    rates = pd.DataFrame({"ours": [0.1, 0.2], "theirs": [0.1, 0.3]}, index=["a", "b"])
    ax = cohort_figures.plot_rates(rates)
    assert [list(line.get_xdata()) for line in ax.get_lines()] == [[10, 20], [10, 30]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ours", "theirs"]


def test_the_line_of_agreement_is_the_diagonal():
    one = pd.Series([-1.0, 0.5], name="real")
    ax = cohort_figures.plot_against(one, pd.Series([-0.8, 2.0], name="simulated"))
    diagonal, dots = ax.get_lines()
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [-1.0, 2.0]
    assert list(dots.get_xdata()) == [-1.0, 0.5] and list(dots.get_ydata()) == [-0.8, 2.0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("real", "simulated")


def test_histograms_share_bins_and_say_n():
    ax = cohort_figures.plot_histogram({"a": [0, 1], "b": [2, 2, 4]}, xlabel="mm", threshold=1.5)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["a (n=2)", "b (n=3)"]
    ends = {tuple(patch.get_extents().intervalx) for patch in ax.patches}
    assert len(ends) == 1, "one range of bins for all groups"


def test_a_band_lies_between_the_fifth_and_the_ninety_fifth_percentile():
    curves = np.arange(101.0)[:, None] * np.ones(3)
    ax = cohort_figures.plot_spread([1, 2, 3], {"a": curves}, xlabel="x", ylabel="y")
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (5, 95)
    assert list(ax.get_lines()[0].get_ydata()) == [50, 50, 50]


def test_a_contact_sheet_reads_row_by_row():
    images = np.stack([image(level, 2) for level in (0.1, 0.2, 0.3)])
    ours, theirs = cohort_figures.plot_contact_sheet(
        {"SIMULATED": images, "real": images[:1]}, columns=2
    )
    sheet = np.asarray(ours.get_images()[0].get_array())
    assert sheet.shape == (4, 4)
    assert sheet[::2, ::2].ravel() == pytest.approx([0.1, 0.2, 0.3, 1.0])
    assert theirs.get_images()[0].get_array().shape == (2, 4)
    assert [ax.get_title() for ax in (ours, theirs)] == ["SIMULATED", "real"]


def test_the_graph_draws_every_arrow_and_hides_what_is_hidden():
    nodes = graph.nodes()
    ax = diagrams.plot_causal_graph(nodes)
    arrows = [text.arrow_patch for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == len(graph.edges())
    strong = [a for a in arrows if a.get_edgecolor() == to_rgba(diagrams.FOLLOWS)]
    groups = {name: node.group for name, node in nodes.items()}
    expected = [
        (cause, effect) for cause, effect in graph.edges()
        if groups[cause] == "finding" and groups[effect] in ("finding", "device")
    ]  # fmt: skip
    assert len(strong) == len(expected) > 0
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == len(nodes)
    dashed = sum(box.get_linestyle() == "--" for box in boxes)
    assert dashed == len(graph.HIDDEN)


def test_the_share_near_a_mask():
    difference, mask = np.zeros((9, 9), np.float32), np.zeros((9, 9), dtype=bool)
    mask[4, 4] = True
    difference[4, 4], difference[4, 6], difference[4, 8] = -2, 1, 1
    assert share_near(difference, mask, 0) == 0.5
    assert share_near(difference, mask, 2) == 0.75
    assert share_near(difference, mask, 4) == 1
    assert share_near(difference, ~mask & False, 4) == 0
    assert np.isnan(share_near(np.zeros_like(difference), mask, 2))
