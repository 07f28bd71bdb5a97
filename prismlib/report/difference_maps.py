"""Radiographs, and what an edit changed in them: difference maps on one scale a figure.

Radiographs are drawn grey and unsmoothed in the window [0, 1]. A difference map is counterfactual
minus factual: red = brighter (denser) than the factual image, blue = darker, white = the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from numpy.typing import NDArray

Image = NDArray[np.float32]

DIFFERENCE_CMAP = "RdBu_r"
DIFFERENCE_UNITS = "counterfactual - factual, fraction of full scale"


@dataclass(frozen=True)
class Comparison:
    """One subject before, after each of several methods, and the truth where known.

    `counterfactuals` holds an image a method, by the method's name; a method may be missing.
    """

    factual: Image
    counterfactuals: Mapping[str, Image]
    truth: Image | None = None
    label: str = ""


@dataclass(frozen=True)
class Pair:
    """One row of a grid: a subject before and after, and the true counterfactual where known."""

    factual: Image
    counterfactual: Image
    truth: Image | None = None
    label: str = ""

    @property
    def difference(self) -> Image:
        """Counterfactual minus factual, in [-1, 1]."""
        return np.subtract(self.counterfactual, self.factual)

    @property
    def true_difference(self) -> Image | None:
        """True counterfactual minus factual, in [-1, 1]."""
        return None if self.truth is None else np.subtract(self.truth, self.factual)


def axes_of(ax: Axes | None, size: tuple[float, float] | None = None) -> Axes:
    """The axis given, or that of a new figure of `size` inches."""
    return plt.figure(figsize=size).add_subplot() if ax is None else ax


def plot_radiograph(image: Image, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """One radiograph (H, W) in [0, 1], grey and unsmoothed, in the window [0, 1]."""
    ax = axes_of(ax, (3, 3.2))
    ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    if title is not None:
        ax.set_title(title)
    return ax


def difference_limit(*differences: Image, quantile: float = 0.999) -> float:
    """A scale for several difference maps: a high quantile of all |differences|, two digits.

    Not the maximum: one odd pixel would turn every map white.
    """
    pooled = np.concatenate([np.abs(d[np.isfinite(d)]).ravel() for d in differences])
    limit = float(np.quantile(pooled, quantile)) if pooled.size else 0.0
    return max(float(f"{limit:.2g}"), 0.01)


def plot_difference(
    difference: Image,
    *,
    ax: Axes | None = None,
    limit: float | None = None,
    title: str | None = None,
    colorbar: bool | None = None,
) -> Axes:
    """A difference map (H, W): red = brighter (denser) than the factual image, blue = darker.

    The scale runs from -limit to +limit; give one limit to all the maps of a figure. Without a
    limit the map's own is taken. The colour bar is drawn unless a shared one stands elsewhere:
    by default where this function makes the axis itself or is left to find the limit.
    """
    own = ax is None or limit is None
    ax = axes_of(ax, (3.8, 3.2))
    limit = difference_limit(difference) if limit is None else limit
    norm = Normalize(-limit, limit)
    ax.imshow(difference, cmap=DIFFERENCE_CMAP, norm=norm, interpolation="nearest")
    ax.set_axis_off()
    if title is not None:
        ax.set_title(title)
    if own if colorbar is None else colorbar:
        add_difference_bar(limit, [ax])
    return ax


def add_difference_bar(limit: float, axes: Sequence[Axes]) -> Colorbar:
    """The one colour bar, with its units, of all the difference maps of a figure."""
    mappable = ScalarMappable(Normalize(-limit, limit), DIFFERENCE_CMAP)
    height = axes[0].figure.bbox.height / axes[0].figure.dpi
    bar = axes[0].figure.colorbar(mappable, ax=list(axes), shrink=min(1.0, 2.4 / height), pad=0.015)
    bar.set_label(DIFFERENCE_UNITS.replace(", ", ",\n"))
    bar.set_ticks([-limit, -limit / 2, 0, limit / 2, limit])
    bar.outline.set_visible(False)
    return bar


@dataclass(frozen=True)
class _Column:
    """A column of a grid: for each subject an image or a difference, or nothing."""

    title: str
    cells: Sequence[Image | None]
    is_difference: bool


def plot_difference_maps(
    comparisons: Sequence[Comparison], *, pictures: bool = False, limit: float | None = None
) -> NDArray[np.object_]:
    """Rows of subjects, columns of methods: the factual image, each method's map, the true map.

    With `pictures` each map has its counterfactual beside it. Methods stand in the order in which
    they are first named; the truth's columns are drawn if any subject has a truth. All maps share
    one zero-centred scale (`limit`, by default found from all of them) and one colour bar. Gives
    back the array of axes (rows, columns); `axes[0, 0].figure` is the figure.
    """
    columns = _columns(comparisons, pictures)
    maps = [cell for column in columns if column.is_difference for cell in column.cells]
    limit = difference_limit(*(m for m in maps if m is not None)) if limit is None else limit
    size = (1.9 * len(columns) + 1.2, 1.88 * len(comparisons) + 0.3)
    _, axes = plt.subplots(len(comparisons), len(columns), figsize=size, squeeze=False)
    for number, column in enumerate(columns):
        axes[0, number].set_title(column.title)
        for ax, cell in zip(axes[:, number], column.cells, strict=True):
            _plot_cell(cell, ax, limit if column.is_difference else None)
    for ax, comparison in zip(axes[:, 0], comparisons, strict=True):
        _name_row(ax, comparison.label)
    add_difference_bar(limit, list(axes.ravel()))
    return axes


def plot_pairs(pairs: Sequence[Pair], *, limit: float | None = None) -> NDArray[np.object_]:
    """Rows of subjects: factual, counterfactual, difference, then truth and its difference.

    `plot_difference_maps` with pictures, for one method that needs no name.
    """
    rows = [Comparison(p.factual, {"": p.counterfactual}, p.truth, p.label) for p in pairs]
    return plot_difference_maps(rows, pictures=True, limit=limit)


def _columns(comparisons: Sequence[Comparison], pictures: bool) -> list[_Column]:
    """The columns in their order: factual, each method, the truth if anybody has one."""
    factual = [comparison.factual for comparison in comparisons]
    columns = [_Column("factual", factual, False)]
    for method in dict.fromkeys(name for c in comparisons for name in c.counterfactuals):
        images = [c.counterfactuals.get(method) for c in comparisons]
        titles = (method or "counterfactual", "difference" if pictures else method or "difference")
        columns += _image_and_map(images, factual, titles, pictures)
    truths = [comparison.truth for comparison in comparisons]
    if any(truth is not None for truth in truths):
        titles = ("true counterfactual", "true difference")
        columns += _image_and_map(truths, factual, titles, pictures)
    return columns


def _image_and_map(
    images: Sequence[Image | None],
    factual: Sequence[Image],
    titles: tuple[str, str],
    pictures: bool,
) -> list[_Column]:
    maps = [
        None if image is None else np.subtract(image, before)
        for image, before in zip(images, factual, strict=True)
    ]
    both = [_Column(titles[0], images, False), _Column(titles[1], maps, True)]
    return both if pictures else both[1:]


def _plot_cell(cell: Image | None, ax: Axes, limit: float | None) -> None:
    """A radiograph, a difference map where there is a `limit`, or an empty place."""
    if cell is None:
        ax.set_axis_off()
    elif limit is None:
        plot_radiograph(cell, ax=ax)
    else:
        plot_difference(cell, ax=ax, limit=limit)


def _name_row(ax: Axes, name: str) -> None:
    if name:
        ax.text(-0.04, 0.5, name, rotation=90, ha="right", va="center", transform=ax.transAxes)
