"""The causal graph as data: read off the fitted equations, with places for a drawing."""

from collections.abc import Mapping
from dataclasses import dataclass

from prismlib.cohorts.phantom.population import Equation, Population, fitted
from prismlib.cohorts.phantom.subject import DEVICE_KINDS, FINDINGS

PATIENT = ("age", "male", "habitus", "frailty", "heart_failure", "lung_disease")
STUDY = ("acuity", "view", "supine")
HIDDEN = ("frailty", "heart_failure", "lung_disease", "acuity")


@dataclass(frozen=True)
class Node:
    """One variable: its group, what it depends on, whether a table shows it, where it is drawn.

    `group` is patient, study, finding, device or report; `parents` are names of other nodes;
    `place` is (x, y) in [0, 1], causes left of their effects.
    """

    name: str
    group: str
    parents: tuple[str, ...]
    hidden: bool
    place: tuple[float, float]


def nodes(population: Population | None = None) -> dict[str, Node]:
    """Every variable of the model by name; reports are named `<label> (report)`."""
    population = population or fitted()
    groups = {
        "patient": dict.fromkeys(PATIENT, ()),
        "study": _study(population),
        "finding": {name: _parents(population.findings[name]) for name in FINDINGS},
        "device": {kind: _parents(population.devices[kind]) for kind in DEVICE_KINDS},
        "report": _reports(population),
    }
    return {
        name: Node(name, group, parents, name in HIDDEN, (column / 4, (row + 0.5) / len(members)))
        for column, (group, members) in enumerate(groups.items())
        for row, (name, parents) in enumerate(members.items())
    }


def edges(population: Population | None = None) -> list[tuple[str, str]]:
    """All arrows, cause first."""
    return [(parent, node.name) for node in nodes(population).values() for parent in node.parents]


def descendants(name: str, population: Population | None = None) -> frozenset[str]:
    """All that an intervention on `name` can reach, itself left out."""
    arrows, reached, frontier = edges(population), set[str](), {name}
    while frontier:
        frontier = {effect for cause, effect in arrows if cause in frontier} - reached
        reached |= frontier
    return frozenset(reached)


def _study(population: Population) -> Mapping[str, tuple[str, ...]]:
    return {
        "acuity": ("frailty",),
        "view": _nonzero(population.view.weights),
        "supine": (*_nonzero(population.supine.weights), "view"),
    }


def _parents(equation: Equation) -> tuple[str, ...]:
    view = ("view",) if equation.intercept[0] != equation.intercept[1] else ()
    return (*_nonzero(equation.weights), *view, *_nonzero(equation.causes))


def _reports(population: Population) -> Mapping[str, tuple[str, ...]]:
    clear = "No Finding (report)"
    found = {
        f"{name} (report)": (name, "view", clear, *_nonzero(population.reports[name].echoes))
        for name in FINDINGS
    }
    devices = ("view", *_nonzero(population.device_report.mentioned))
    return {clear: ("view", *FINDINGS), **found, "Support Devices (report)": devices}


def _nonzero(weights: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(name for name, weight in weights.items() if weight)
