"""Drawn diagrams: how the parts of the method hang together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

if TYPE_CHECKING:
    from prismlib.cohorts.phantom.graph import Node

FROZEN, TRAINED, DATA = "#d9e4f1", "#f8ddb7", "#f2f2f2"


@dataclass(frozen=True)
class Box:
    """A named box with its centre and width, in the diagram's units."""

    text: str
    x: float
    y: float
    colour: str
    width: float = 1.5
    height: float = 0.72


BOXES: Mapping[str, Box] = {
    "image": Box("radiograph\n$X$", 0.8, 3, DATA),
    "source": Box("caption $T$\n(training)", 0.8, 1, DATA),
    "target": Box("prompts $T$, $T'$\n(editing)", 0.8, 0, DATA),
    "encoder": Box("image encoder\n$E_I$ (frozen)", 3, 3, FROZEN),
    "text": Box("CLIP text encoder\n$E_T$ (frozen)", 3, 0.5, FROZEN, 1.8),
    "noise": Box("add noise\n/ invert", 5.1, 3, DATA),
    "unet": Box("U-Net\n(trained)", 7, 1.75, TRAINED, 1.6, 1.1),
    "decoder": Box("decoder\n(frozen)", 9.1, 3, FROZEN),
    "out": Box("counterfactual\n$X'$", 11.1, 3, DATA, 1.6),
    "loss": Box("noise error\n(training)", 9.1, 0.5, DATA),
}
ARROWS = (
    ("image", "encoder", ""),
    ("encoder", "noise", ""),
    ("noise", "unet", ""),
    ("source", "text", ""),
    ("target", "text", ""),
    ("text", "unet", "cross-attention"),
    ("unet", "decoder", ""),
    ("decoder", "out", ""),
    ("unet", "loss", ""),
)


def plot_framework(*, ax: Axes | None = None) -> Axes:
    """Figure 2 redrawn: what is frozen, what is trained, and what flows between them."""
    if ax is None:
        _, ax = plt.subplots(figsize=(9, 3.1))
    for start, end, label in ARROWS:
        _arrow(ax, BOXES[start], BOXES[end], label)
    for box in BOXES.values():
        _draw(ax, box)
    ax.set(xlim=(-0.2, 12.1), ylim=(-0.6, 3.6))
    ax.set_axis_off()
    return ax


GROUP_COLOURS = {
    "patient": "#e6e1f0", "study": "#d9e4f1", "finding": "#f8ddb7", "device": "#d6ead3",
    "report": "#f2f2f2",
}  # fmt: skip
FOLLOWS = "#b3541e"  # arrows along which an effect of an intervention travels
GRAPH_SIZE = (12.0, 7.5)


def plot_causal_graph(nodes: "Mapping[str, Node]", *, ax: Axes | None = None) -> Axes:
    """The causal graph, a column a group: hidden variables dashed, all arrows from cause to effect.

    Arrows from a finding to another finding or to a device are drawn strong: along these alone an
    intervention's total counterfactual differs from its direct one. Reports are effects of all.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=GRAPH_SIZE)
    boxes = {name: _node_box(node) for name, node in nodes.items()}
    for node in nodes.values():
        for parent in node.parents:
            _causal_arrow(ax, boxes, nodes[parent], node)
    for name, box in boxes.items():
        _draw(ax, box, dashed=nodes[name].hidden)
    for group in GROUP_COLOURS:
        places = [boxes[name].x for name, node in nodes.items() if node.group == group]
        if places:
            ax.text(places[0], GRAPH_SIZE[1] + 0.15, group, ha="center", weight="bold")
    ax.set(xlim=(-1.3, GRAPH_SIZE[0] + 1.3), ylim=(-0.2, GRAPH_SIZE[1] + 0.5))
    ax.set_axis_off()
    return ax


def _node_box(node: "Node") -> Box:
    text = node.name.removesuffix(" (report)").replace("_", " ")
    x, y = node.place
    place = (GRAPH_SIZE[0] * x, GRAPH_SIZE[1] * (1 - y))
    return Box(text, *place, GROUP_COLOURS[node.group], width=2.1, height=0.3)


def _causal_arrow(ax: Axes, boxes: Mapping[str, Box], cause: "Node", effect: "Node") -> None:
    """Strong between findings and on to devices, pale elsewhere; bent inside one column."""
    start, end = boxes[cause.name], boxes[effect.name]
    strong = cause.group == "finding" and effect.group in ("finding", "device")
    inside = start.x == end.x
    side = -1 if inside else 1
    style = {
        "arrowstyle": "-|>", "color": FOLLOWS if strong else "0.75", "lw": 1.6 if strong else 0.5,
        "connectionstyle": f"arc3,rad={-0.5 if start.y < end.y else 0.5}" if inside else None,
    }  # fmt: skip
    tail = (start.x + side * (start.width / 2 + 0.05), start.y)
    head = (end.x - (end.width / 2 + 0.07), end.y)
    kept = {key: value for key, value in style.items() if value is not None}
    ax.annotate("", head, tail, arrowprops=kept, zorder=1.5 if strong else 1)


def _draw(ax: Axes, box: Box, *, dashed: bool = False) -> None:
    corner = (box.x - box.width / 2, box.y - box.height / 2)
    ax.add_patch(
        FancyBboxPatch(
            corner,
            box.width,
            box.height,
            boxstyle="round,pad=0.04",
            facecolor=box.colour,
            edgecolor="0.35",
            linestyle="--" if dashed else "-",
            zorder=2,
        )
    )
    ax.text(box.x, box.y, box.text, ha="center", va="center", fontsize=8, zorder=3)


def _arrow(ax: Axes, start: Box, end: Box, label: str) -> None:
    """An arrow between the sides that face each other."""
    level = abs(start.y - end.y) < 0.1
    tail = (start.x + start.width / 2 + 0.05, start.y)
    head = (end.x - end.width / 2 - 0.07, end.y)
    if not level and end.text.startswith("U-Net"):
        head = (end.x - end.width / 2 - 0.07, end.y + (0.3 if start.y > end.y else -0.3))
    ax.annotate("", head, tail, arrowprops={"arrowstyle": "-|>", "color": "0.35"}, zorder=1)
    if label:
        middle = ((tail[0] + head[0]) / 2, (tail[1] + head[1]) / 2)
        plate = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        ax.text(*middle, label, ha="center", va="center", fontsize=7.5, bbox=plate)
