"""Pictures of how far judges, signs and measures may be believed."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from prismlib.measures.intervals import wilson
from prismlib.measures.ranking import MARGINS

REACH = 12.0  # where a margin's dot stops
LEAST = 5  # images in a bin of a reliability diagram


def plot_reliability(
    chances: Mapping[str, tuple[ArrayLike, ArrayLike]], *, bins: int = 8
) -> NDArray[np.object_]:
    """How often it is there, against how often the judge says so: one panel a name.

    For each name the probabilities (n,) and the truth (n,). Dots lie at the mean of a bin (of as
    many images as the others), with Wilson's 95% interval; on the diagonal a probability means
    what it says.
    """
    size = (2.5 * len(chances) + 0.3, 3.0)
    _, axes = plt.subplots(1, len(chances), figsize=size, sharey=True, squeeze=False)
    for ax, (name, (scores, truth)) in zip(axes[0], chances.items(), strict=True):
        _reliability(ax, np.asarray(scores, dtype=float), np.asarray(truth, dtype=float), bins)
        ax.set_title(name, fontsize=9, loc="left")
        ax.set(xlabel="judge's probability", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes[0, 0].set_ylabel("share in which it is there")
    return axes


def _reliability(ax: Axes, scores: NDArray, truth: NDArray, bins: int) -> None:
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(order) // LEAST)))
    places = [float(scores[part].mean()) for part in parts]
    shares = [float(truth[part].mean()) for part in parts]
    spans = [wilson(truth[part].sum(), len(part)) for part in parts]
    ax.vlines(places, [s.low for s in spans], [s.high for s in spans], color="C0", linewidth=2)
    ax.plot(places, shares, "o", color="C0")


def plot_by_group(
    table: pd.DataFrame,
    score: str,
    *,
    panels: str = "attribute",
    groups: str = "subjects",
    colours: str = "judge",
    order: Sequence[str] | None = None,
    chance: float | None = 0.5,
    limits: tuple[float, float] = (0.4, 1.02),
) -> NDArray[np.object_]:
    """A score with its 95% interval by group, one panel a value of `panels`, one colour a judge.

    The table holds `score`, `score_low` and `score_high`; what lies beyond `limits` is cut off.
    """
    names, judges = list(table[panels].unique()), list(table[colours].unique())
    order = list(order or table[groups].unique())
    size = (2.4 * len(names) + 1.6, 0.34 * len(order) * max(1, len(judges) / 2) + 1.3)
    _, axes = plt.subplots(1, len(names), figsize=size, sharey=True, squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        for number, judge in enumerate(judges):
            part = table[(table[panels] == name) & (table[colours] == judge)]
            _points(ax, part.set_index(groups), score, order, number, len(judges), judge)
        if chance is not None:
            ax.axvline(chance, color="0.6", linestyle="--", linewidth=1)
        ax.set(title=name, xlabel=score.replace("_", " "), xlim=limits)
        ax.grid(axis="x")
    axes[0, 0].set_yticks(np.arange(len(order)), order)
    axes[0, 0].set_ylim(len(order) - 0.5, -0.5)
    if len(judges) > 1:
        axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.02, 1))
    return axes


def _points(
    ax: Axes,
    part: pd.DataFrame,
    score: str,
    order: Sequence[str],
    number: int,
    of: int,
    label: str,
) -> None:
    found = part.reindex(list(order))
    places = np.arange(len(order)) + 0.5 * ((number + 0.5) / of - 0.5)
    colour = f"C{number}"
    low, high = found[f"{score}_low"], found[f"{score}_high"]
    ax.hlines(places, low, high, color=colour, linewidth=2)
    ax.plot(found[score], places, "o", color=colour, markersize=4, label=label)


def plot_margins(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The margins of `ranking`'s table, each over half the width of its own 95% interval.

    Right of 0 the measure agrees with what is known; filled where the interval lies above 0.
    Measures come in the table's order, those that rank in bold.
    """
    ax = plt.figure(figsize=(6.2, 0.3 * len(table) + 1.3)).add_subplot() if ax is None else ax
    ax.axvline(0, color="0.5", linewidth=1)
    for number, (margin, (first, second)) in enumerate(MARGINS.items()):
        half = (table[f"{margin}_high"] - table[f"{margin}_low"]) / 2
        known = half > 0
        places = np.arange(len(table)) + 0.22 * (number - 1)
        sure = (table[f"{margin}_low"] > 0) & known
        size = (table[margin] / half.where(known)).clip(-REACH, REACH)
        ax.plot(size[known], places[known], "o", markersize=5, color=f"C{number}",
                fillstyle="none", label=f"{first} over {second}")  # fmt: skip
        ax.plot(size[sure], places[sure], "o", markersize=5, color=f"C{number}")
    ax.set_yticks(np.arange(len(table)), table["measure"])
    for label, ranks in zip(ax.get_yticklabels(), table["ranks"], strict=True):
        label.set_fontweight("bold" if ranks else "normal")
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set(xlim=(-REACH - 1, REACH + 1), xlabel="margin / half its 95% interval")
    ax.grid(axis="x")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=1)
    return ax
