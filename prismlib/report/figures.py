"""Pictures: each function takes data and an axis (or makes one) and gives the axis back.

Nothing here reads, writes or shows. Radiographs and difference maps are `difference_maps`'s, and
are to be had here as well.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from prismlib.report.difference_maps import (
    DIFFERENCE_CMAP,
    DIFFERENCE_UNITS,
    Comparison,
    Image,
    Pair,
    add_difference_bar,
    axes_of,
    difference_limit,
    plot_difference,
    plot_difference_maps,
    plot_pairs,
    plot_radiograph,
)

__all__ = [
    "AFTER",
    "BEFORE",
    "DIFFERENCE_CMAP",
    "DIFFERENCE_UNITS",
    "TRUTH",
    "Comparison",
    "Image",
    "Pair",
    "add_difference_bar",
    "difference_limit",
    "plot_agreement",
    "plot_counts",
    "plot_curve",
    "plot_difference",
    "plot_difference_maps",
    "plot_distribution",
    "plot_errors",
    "plot_gallery",
    "plot_logits",
    "plot_pairs",
    "plot_radiograph",
    "plot_scores_with_intervals",
    "use_style",
]

BEFORE, AFTER, TRUTH = (sns.color_palette("colorblind")[i] for i in (0, 1, 2))
MARKERS = "os^DvP"
XTICKS, YTICKS = (0, 0.1, 1, 10), (0, 0.5, 1, 2, 5)


def use_style() -> None:
    """Use the project's one style for all figures made from here on."""
    plt.style.use(Path(__file__).with_name("prism.mplstyle"))


def plot_gallery(
    images: Sequence[Image], titles: Sequence[str] | None = None, *, columns: int = 4
) -> NDArray[np.object_]:
    """Radiographs side by side, with their titles if given; gives back the axes (rows, columns)."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(2.1 * columns, 2.3 * rows), squeeze=False)
    for ax in axes.ravel():
        ax.set_axis_off()
    for number, image in enumerate(images):
        title = None if titles is None else titles[number]
        plot_radiograph(image, ax=axes.ravel()[number], title=title)
    return axes


def plot_scores_with_intervals(
    table: pd.DataFrame,
    score: str,
    *,
    by: str = "method",
    n: str | None = "n",
    reference: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One point a row with its 95% interval, top row first, and its n beside the name.

    The table holds `score`, `score_low`, `score_high` (or with the ending after the last "_" taken
    off: `flip_rate` finds `flip_low`), the names in column `by`, and the sizes in column `n`.
    `reference` draws vertical lines at given values, named in the legend.
    """
    ax = axes_of(ax, (5, 0.42 * len(table) + 1.1))
    stem = score if f"{score}_low" in table else score.rsplit("_", 1)[0]
    places = np.arange(len(table))
    ax.hlines(places, table[f"{stem}_low"], table[f"{stem}_high"], color=BEFORE, linewidth=2)
    ax.plot(table[score], places, "o", color=BEFORE, label="mean and 95% interval")
    sizes = [""] * len(table) if n is None or n not in table else [f" (n={m})" for m in table[n]]
    names = [f"{name}{size}" for name, size in zip(table[by], sizes, strict=True)]
    ax.set_yticks(places, names)
    ax.set_ylim(len(table) - 0.5, -0.5)
    for number, (name, value) in enumerate((reference or {}).items()):
        ax.axvline(value, color=f"C{number + 1}", linestyle="--", label=name)
    ax.set_xlabel(score.replace("_", " "))
    ax.grid(axis="x")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def plot_errors(table: pd.DataFrame, *, by: str = "method", ax: Axes | None = None) -> Axes:
    """One point a row of `table`: its `error_outside` the true mask against its `error_inside`.

    Lines stand at 1, which is encoding and decoding outside, and doing nothing inside. Both scales
    are linear up to 0.1 and 1 and logarithmic beyond, so that what is exact, what is near and what
    went astray by far have a place.
    """
    ax = axes_of(ax, (8, max(3.4, 0.3 * len(table))))
    ax.set_xscale("symlog", linthresh=0.1, subs=range(2, 10))
    ax.set_yscale("symlog", linthresh=1.0, subs=range(2, 10))
    for number, row in enumerate(table.to_dict("records")):
        marker = MARKERS[number % len(MARKERS)]
        ax.plot(row["error_outside"], row["error_inside"], marker, label=row[by])
    for line in (ax.axhline, ax.axvline):
        line(1, color="0.6", linewidth=1, zorder=1)
    ax.margins(0.04)
    ax.set(xticks=XTICKS, xticklabels=XTICKS, yticks=YTICKS, yticklabels=YTICKS)
    ax.set_xlabel("error outside the true mask (autoencoder = 1)")
    ax.set_ylabel("error inside (do nothing = 1)")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_logits(
    before: ArrayLike,
    after: ArrayLike,
    names: Sequence[str],
    *,
    boundaries: ArrayLike = 0.0,
    target: str | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """One arrow a classifier head, from the factual image's logit to the counterfactual's.

    `before` and `after` are (heads,) in the order of `names`. Black bars stand at the heads'
    decision `boundaries` (logits, one for each or one for all); the upper scale gives the same in
    probabilities. The `target` head's name is bold.
    """
    ax = axes_of(ax, (4.4, 0.45 * len(names) + 1.4))
    first, second = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    places = np.arange(len(names))
    edges = np.broadcast_to(np.asarray(boundaries, dtype=float), places.shape)
    ax.vlines(edges, places - 0.32, places + 0.32, color="black", linewidth=1.5, label="decision")
    ax.hlines(places, first, second, color="0.6", linewidth=2, zorder=1)
    ax.plot(first, places, "o", color=BEFORE, label="factual")
    ax.plot(second, places, "D", color=AFTER, label="counterfactual")
    ax.set_yticks(places, names)
    for label in ax.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == target else "normal")
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel("logit")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16 - 0.5 / len(names)), ncols=3)
    _probability_scale(ax, float(max(2.5, np.abs([first, second, edges]).max() * 1.15)))
    if title is not None:
        ax.set_title(title)
    return ax


def _probability_scale(ax: Axes, reach: float) -> None:
    """A second scale above a logit axis that reads the same places as probabilities.

    Of them as many as leave each other room.
    """
    ax.set_xlim(-reach, reach)
    shown = [0.5]
    for p in (0.1, 0.01, 0.001):
        if reach / 5 <= abs(_logit(p)) - abs(_logit(shown[-1])) and abs(_logit(p)) <= reach:
            shown = [p, *shown, 1 - p]
    upper = ax.secondary_xaxis("top")
    upper.set_xticks([_logit(p) for p in shown], [f"{p:g}" for p in shown])
    upper.set_xlabel("probability")


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def plot_counts(counts: pd.DataFrame, *, ax: Axes | None = None, xlabel: str = "images") -> Axes:
    """Grouped bars of a table of counts: one group a row of the index, one bar a column."""
    ax = axes_of(ax, (5.2, 0.32 * counts.size + 1.0))
    height = 0.8 / len(counts.columns)
    places = np.arange(len(counts))
    for number, column in enumerate(counts.columns):
        bars = ax.barh(places + number * height, counts[column], height, label=str(column))
        ax.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=8)
    ax.set_yticks(places + 0.4 - height / 2, [str(name) for name in counts.index])
    ax.invert_yaxis()
    ax.set_xlim(0, float(counts.to_numpy().max()) * 1.15)
    ax.set_xlabel(xlabel)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return ax


def plot_distribution(
    scores: Mapping[str, ArrayLike],
    *,
    threshold: float | None = None,
    xlabel: str = "score",
    ax: Axes | None = None,
) -> Axes:
    """Every single score of each group as a dot, its median as a bar, and a threshold line."""
    ax = axes_of(ax, (5, 0.38 * len(scores) + 1.0))
    for place, values in enumerate(scores.values()):
        dots = np.sort(np.asarray(values, dtype=float))
        spread = 0.22 * np.sin(2.4 * np.arange(len(dots)))
        ax.plot(dots, place + spread, "o", color=BEFORE, alpha=0.6, markersize=4)
        if len(dots):
            ax.vlines(np.nanmedian(dots), place - 0.33, place + 0.33, color="black", linewidth=2)
    if threshold is not None:
        ax.axvline(threshold, color="0.3", linestyle="--", label=f"threshold {threshold:g}")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1))
    names = [f"{name} (n={np.size(values)})" for name, values in scores.items()]
    ax.set_yticks(np.arange(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    ax.grid(axis="x")
    return ax


def plot_agreement(
    truth: ArrayLike, measured: ArrayLike, *, name: str, ax: Axes | None = None
) -> Axes:
    """A measured quantity against the latent truth, one dot a subject, with R2 and n."""
    ax = axes_of(ax, (3.2, 3.0))
    x, y = np.asarray(truth, dtype=float), np.asarray(measured, dtype=float)
    known = np.isfinite(x) & np.isfinite(y)
    varied = known.sum() > 2 and np.ptp(x[known]) > 0 and np.ptp(y[known]) > 0
    r2 = np.corrcoef(x[known], y[known])[0, 1] ** 2 if varied else float("nan")
    ax.plot(x[known], y[known], "o", alpha=0.6, markersize=4)
    ax.set_title(f"{name}: R² = {r2:.2f}, n = {known.sum()}")
    ax.set_xlabel("latent truth")
    ax.set_ylabel("measured in the image")
    ax.grid()
    return ax


def plot_curve(
    steps: ArrayLike, values: Mapping[str, ArrayLike], *, ylabel: str, ax: Axes | None = None
) -> Axes:
    """Curves over steps of work (training losses, error against U-Net evaluations), one a name."""
    ax = axes_of(ax, (4.6, 2.8))
    for name, series in values.items():
        ax.plot(np.asarray(steps), np.asarray(series, dtype=float), label=name)
    ax.set_xlabel("step")
    ax.set_ylabel(ylabel)
    ax.grid()
    if len(values) > 1:
        ax.legend()
    return ax
