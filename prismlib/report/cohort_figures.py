"""Pictures of a cohort: its table, its signs and devices, and how real its radiographs look.

As in `figures`, each function takes data and an axis (or makes its own) and gives the axis or axes
back; nothing here reads, writes or shows.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from prismlib.errors import UsageError
from prismlib.report.figures import (
    AFTER,
    BEFORE,
    TRUTH,
    Image,
    Pair,
    add_difference_bar,
    difference_limit,
    plot_difference,
    plot_radiograph,
)

COLOURS = (BEFORE, AFTER, TRUTH)
SPREAD = (5, 95)  # percentiles that a band lies between


def plot_rows(rows: Mapping[str, Sequence[Image]], titles: Sequence[str]) -> NDArray[np.object_]:
    """Radiographs in named rows under one title a column; gives back the axes (rows, columns).

    A row may be shorter than the titles. Raises UsageError for one that is longer.
    """
    longest = max(map(len, rows.values()))
    if longest > len(titles):
        raise UsageError(f"a row of {longest} images; expected at most {len(titles)}")
    size = (1.75 * len(titles) + 0.4, 1.75 * len(rows) + 0.4)
    _, axes = plt.subplots(len(rows), len(titles), figsize=size, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.set_axis_off()
        for ax, image in zip(line, images, strict=False):
            plot_radiograph(image, ax=ax)
        _name_row(line[0], name)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title)
    return axes


def plot_cases(
    cases: Sequence[tuple[Pair, NDArray[np.bool_]]], *, limit: float | None = None
) -> NDArray[np.object_]:
    """Rows of factual, counterfactual, their difference, and the mask that the geometry gives.

    All differences share one zero-centred scale and one bar. Gives back the axes (rows, 4).
    """
    limit = difference_limit(*(pair.difference for pair, _ in cases)) if limit is None else limit
    size = (9.0, 1.9 * len(cases) + 0.4)
    _, axes = plt.subplots(len(cases), 4, figsize=size, squeeze=False)
    for (pair, mask), row in zip(cases, axes, strict=True):
        plot_radiograph(pair.factual, ax=row[0])
        plot_radiograph(pair.counterfactual, ax=row[1])
        plot_difference(pair.difference, ax=row[2], limit=limit)
        plot_radiograph(mask.astype(np.float32), ax=row[3])
        _name_row(row[0], pair.label)
    titles = ("factual", "true counterfactual", "difference", "mask from geometry")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title)
    add_difference_bar(limit, list(axes.ravel()))
    return axes


def plot_rates(rates: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Label rates of two populations, one row a label, in per cent.

    The index names the rows; one column a population, at most three.
    """
    ax = _axes(ax, (5, 0.26 * len(rates) + 1.0))
    places = np.arange(len(rates))
    low, high = rates.min(axis=1), rates.max(axis=1)
    ax.hlines(places, 100 * low, 100 * high, color="0.7", linewidth=2)
    for (name, values), colour, marker in zip(rates.items(), COLOURS, "osD", strict=False):
        ax.plot(100 * values, places, marker, color=colour, label=name, alpha=0.85)
    ax.set_yticks(places, [str(name) for name in rates.index])
    ax.set_ylim(len(rates) - 0.5, -0.5)
    ax.set_xlabel("share of studies, per cent")
    ax.grid(axis="x")
    ax.legend(loc="lower right")
    return ax


def plot_against(one: pd.Series, other: pd.Series, *, ax: Axes | None = None) -> Axes:
    """Two columns of the same quantities against each other, with the line where they agree.

    The series' names name the axes.
    """
    ax = _axes(ax, (3.8, 3.6))
    pooled = np.concatenate([np.asarray(one, dtype=float), np.asarray(other, dtype=float)])
    ends = np.nanmin(pooled), np.nanmax(pooled)
    ax.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    ax.plot(one, other, "o", color=BEFORE, alpha=0.5, markersize=4)
    ax.set(xlabel=str(one.name), ylabel=str(other.name))
    ax.grid()
    return ax


def plot_histogram(
    values: Mapping[str, ArrayLike],
    *,
    xlabel: str,
    threshold: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Histograms of up to three groups on shared bins, each with area 1, and a threshold line."""
    ax = _axes(ax, (4.4, 2.8))
    groups = {name: np.asarray(group, dtype=float) for name, group in values.items()}
    bins = np.histogram_bin_edges(np.concatenate(list(groups.values())), 24).tolist()
    for (name, group), colour in zip(groups.items(), COLOURS, strict=False):
        label = f"{name} (n={len(group)})"
        ax.hist(group, bins, density=True, histtype="stepfilled", alpha=0.35, color=colour)
        ax.hist(group, bins, density=True, histtype="step", color=colour, label=label)
    if threshold is not None:
        ax.axvline(threshold, color="0.3", linestyle="--")
    ax.set(xlabel=xlabel, ylabel="density")
    ax.legend()
    return ax


def plot_spread(
    x: ArrayLike,
    curves: Mapping[str, NDArray[np.floating]],
    *,
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """The mean of each set of curves (n, len(x)), in a band from the 5th to the 95th percentile."""
    ax = _axes(ax, (4.4, 3.0))
    x = np.asarray(x)
    for (name, values), colour in zip(curves.items(), COLOURS, strict=False):
        low, high = np.percentile(values, SPREAD, axis=0)
        ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(x, values.mean(axis=0), color=colour, label=f"{name} (n={len(values)})")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid()
    ax.legend()
    return ax


def plot_contact_sheet(
    sets: Mapping[str, NDArray[np.floating]], *, columns: int = 8
) -> NDArray[np.object_]:
    """Sets of radiographs (n, H, W) side by side as sheets of equal tiles; the axes (sets,)."""
    rows = -(-max(map(len, sets.values())) // columns)
    size = (5.2 * len(sets), 5.2 * rows / columns + 0.3)
    _, axes = plt.subplots(1, len(sets), figsize=size, squeeze=False)
    for ax, (name, images) in zip(axes[0], sets.items(), strict=True):
        plot_radiograph(_tiled(images, columns), ax=ax, title=name)
    return axes[0]


def _tiled(images: NDArray[np.floating], columns: int) -> NDArray[np.floating]:
    rows = -(-len(images) // columns)
    height, width = images.shape[1:]
    sheet = np.ones((rows * columns, height, width), dtype=images.dtype)
    sheet[: len(images)] = images
    sheet = sheet.reshape(rows, columns, height, width).swapaxes(1, 2)
    return sheet.reshape(rows * height, columns * width)


def _name_row(ax: Axes, name: str) -> None:
    ax.text(
        -0.05, 0.5, name, rotation=90, ha="right", va="center", fontsize=8, transform=ax.transAxes
    )


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return plt.figure(figsize=size).add_subplot() if ax is None else ax
