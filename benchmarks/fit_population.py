"""Fit the simulator's structural causal model to CheXpert's label table.

    python benchmarks/fit_population.py            # rewrites population.yaml, two minutes
    python benchmarks/fit_population.py --check    # only compares the shipped file with the table

Starts from the design values below, samples, compares with the frontal rows of the table (AP or
PA, age 18 and over) and corrects, again and again with the same exogenous noise: intercepts follow
the rates for each view, loadings on hidden causes follow odds ratios, persistence follows what two
consecutive studies of a patient share. Sensitivities, device mix and arrows are design values.
"""

import argparse
import copy
from typing import Any

import numpy as np
import pandas as pd
import yaml
from population_design import (
    CAUSES,
    CEILING,
    DEVICE_DESIGN,
    FINDING_DESIGN,
    HIDDEN_DESIGN,
    OPACITY_ECHOES,
)
from scipy.special import ndtri

from prismlib.cohorts.chexpert import bundled_labels
from prismlib.cohorts.labels import LABELS, frontal
from prismlib.cohorts.phantom import population
from prismlib.cohorts.phantom.scm import sample
from prismlib.cohorts.phantom.subject import FINDINGS

SEED, N, ROUNDS = 2025, 200_000, 110
MOST_STUDIES = 6
VIEWS = ("AP", "PA")
VITAL = ("Support Devices", "Pleural Effusion", "Cardiomegaly", "Edema", "Pneumothorax")
HIDDEN = ("heart_failure", "lung_disease")
PLACED = ("central_line", "nasogastric_tube")


def adults(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are fitted: frontal, AP or PA, 18 years and over."""
    rows = frontal(table)
    return rows[(rows["Age"] >= 18) & rows["AP/PA"].isin(VIEWS)].reset_index(drop=True)


def simulate(data: dict[str, Any], seed: int = SEED, n: int = N) -> pd.DataFrame:
    """A sampled label table with CheXpert's columns, and each study's patient and place."""
    people = population.from_data(data)
    drawn = sample(seed, "train", np.arange(n), population=people)
    b = drawn.background
    return pd.DataFrame(
        {
            "Patient": b.patient, "Study": b.study, "Age": b.years,
            "Sex": np.where(b.upstream["male"] > 0, "Male", "Female"),
            "AP/PA": np.where(b.ap, *VIEWS), **drawn.labels(people),
        }
    )  # fmt: skip


def log_odds(one: np.ndarray, other: np.ndarray) -> float:
    """The log odds ratio of two columns of truth values, half a case added to each cell."""
    cells = [(one & other), (~one & ~other), (one & ~other), (~one & other)]
    both, neither, first, second = (cell.sum() + 0.5 for cell in cells)
    return float(np.log(both * neither / (first * second)))


def rates(table: pd.DataFrame) -> pd.DataFrame:
    """Shares of positive, uncertain and negative labels by view: rows (view, label)."""
    parts = {}
    for view, rows in table.groupby("AP/PA"):
        for label in LABELS:
            parts[view, label] = [(rows[label] == value).mean() for value in (1, -1, 0)]
    index = pd.MultiIndex.from_tuples(parts)
    return pd.DataFrame(list(parts.values()), index, ["positive", "uncertain", "negative"])


def pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Log odds ratios of positive labels, AP, age over 60 and male, for every pair."""
    columns = {label: (table[label] == 1).to_numpy() for label in LABELS}
    columns["AP"] = (table["AP/PA"] == "AP").to_numpy()
    columns["old"] = (table["Age"] >= 60).to_numpy()
    columns["male"] = (table["Sex"] == "Male").to_numpy()
    return pd.DataFrame(
        {a: {b: log_odds(columns[a], columns[b]) for b in columns} for a in columns}
    )


def persistence(table: pd.DataFrame) -> pd.Series:
    """Log odds ratios of a positive label in a study and in the patient's next one."""
    place = table["Study"].astype(str).str.extract(r"(\d+)")[0].astype(int)
    ordered = table.assign(place=place).drop_duplicates(["Patient", "place"])
    ordered = ordered.sort_values(["Patient", "place"])
    later = ordered["Patient"].eq(ordered["Patient"].shift(-1)).to_numpy()
    values = {label: (ordered[label] == 1).to_numpy() for label in LABELS}
    values["AP"] = (ordered["AP/PA"] == "AP").to_numpy()
    return pd.Series({k: log_odds(v[later], np.roll(v, -1)[later]) for k, v in values.items()})


def leaving(table: pd.DataFrame) -> list[float]:
    """The chance that a patient with k + 1 frontal images has no further one.

    As in the table up to MOST_STUDIES, where every patient stops: the few patients with dozens
    of images would otherwise make up much of a small sample.
    """
    counts = table.groupby("Patient").size().to_numpy()
    stops = [(counts == k).sum() / (counts >= k).sum() for k in range(1, MOST_STUDIES)]
    return [*(round(float(stop), 4) for stop in stops), 1.0]


def denied(table: pd.DataFrame, label: str, clear: bool) -> list[float]:
    """Among labels neither positive nor uncertain, the share of explicit negatives by view."""
    rows = table[((table["No Finding"] == 1) == clear) & ~table[label].isin((1, -1))]
    return [float((rows.loc[rows["AP/PA"] == view, label] == 0).mean()) for view in VIEWS]


def design(table: pd.DataFrame) -> dict[str, Any]:
    """Where the fit starts."""
    goal = rates(table)["positive"]
    data: dict[str, Any] = {
        "ages": table["Age"].value_counts().reindex(range(18, 91), fill_value=0).tolist(),
        "leave": leaving(table),
        "male": float((table["Sex"] == "Male").mean()),
        "frailty": 0.6,
        "view": _equation(1.2, 1.2, {"age": 0.08, "male": -0.18, "acuity": 0.5}, {}, 0.4),
        "supine": _equation(-0.4, -0.4, {"acuity": 0.5}, {}, 0.1),
        "findings": {}, "appearance": {}, "devices": {}, "reports": {}, "clear": [0.8, 0.7],
    }  # fmt: skip
    for name, (threshold, doubt, lasting, acuity, right, left) in FINDING_DESIGN.items():
        positive = [float(goal[view, name]) for view in VIEWS]
        weights = {"age": 0.0, "male": 0.0, _illness(name): 0.2}
        weights |= dict(zip(HIDDEN, HIDDEN_DESIGN.get(name, (0.05, 0.05)), strict=True))
        start = [-1.0, -1.0] if name == "Cardiomegaly" else [1.1 * ndtri(p) for p in positive]
        data["findings"][name] = _equation(*start, weights, CAUSES.get(name, {}), lasting)
        data["appearance"][name] = {
            "sides": [right, left, round(1 - right - left, 2)],
            "acuity": acuity,
        }
        data["reports"][name] = {
            "threshold": threshold, "ceiling": [CEILING.get(name, 0.97)] * 2, "doubt": doubt,
            "false_positive": [0.02 * p for p in positive], "uncertain": [0.03, 0.03],
            "negative": denied(table, name, False), "negative_if_clear": denied(table, name, True),
            "echoes": OPACITY_ECHOES if name == "Lung Opacity" else {},
        }  # fmt: skip
    data["findings"]["Cardiomegaly"]["weights"]["habitus"] = 0.1
    for kind, (ap, pa, weights, causes, lasting, _) in DEVICE_DESIGN.items():
        data["devices"][kind] = _equation(ap, pa, weights, causes, lasting)
    data["device_report"] = {
        "mentioned": {kind: values[-1] for kind, values in DEVICE_DESIGN.items()},
        "uncertain": [0.01, 0.01],
        "negative": [
            float((rows == 0).sum() / (~rows.isin((1, -1))).sum())
            for rows in (table.loc[table["AP/PA"] == view, "Support Devices"] for view in VIEWS)
        ],
    }
    return data


def _equation(ap, pa, weights, causes, lasting) -> dict[str, Any]:
    return {"intercept": [ap, pa], "weights": weights, "causes": causes, "persistence": lasting}


class Target:
    """What the table says."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.rates, self.pairs, self.persistence = rates(table), pairs(table), persistence(table)
        self.ap = float((table["AP/PA"] == "AP").mean())


def correct(data: dict[str, Any], now: Target, goal: Target, step: float) -> None:
    """Move each coefficient towards the rate or odds ratio that it governs."""
    shift = ndtri(goal.ap) - ndtri(now.ap)
    data["view"]["intercept"] = [value + step * shift for value in data["view"]["intercept"]]
    data["view"]["persistence"] = _persist(data["view"], "AP", now, goal, step)
    for place, view in enumerate(VIEWS):
        _correct_rates(data, place, now.rates.loc[view], goal.rates.loc[view], step)
    residual = goal.pairs - now.pairs
    _correct_loadings(data, residual, step)
    for name, equation in data["findings"].items():
        equation["weights"]["age"] += 0.1 * step * residual.loc[name, "old"]
        equation["weights"]["male"] += 0.3 * step * residual.loc[name, "male"]
        if name != "Cardiomegaly":
            equation["persistence"] = _persist(equation, name, now, goal, step)
    echoes = data["reports"]["Lung Opacity"]["echoes"]
    for name in echoes:
        moved = echoes[name] + 0.1 * step * residual.loc["Lung Opacity", name]
        echoes[name] = float(np.clip(moved, -0.35, 0.6))
    for kind in PLACED:
        equation = data["devices"][kind]
        lasting = _persist(equation, "Support Devices", now, goal, step)
        equation["persistence"] = min(lasting, 0.8)
        weights = equation["weights"]
        weights["age"] = weights.get("age", 0) + 0.1 * step * residual.loc["Support Devices", "old"]


def _illness(name: str) -> str:
    """What makes a finding likelier in the ill: the day's acuity, or for the heart only frailty."""
    return "frailty" if name == "Cardiomegaly" else "acuity"


def _persist(equation, name: str, now: Target, goal: Target, step: float) -> float:
    moved = equation["persistence"] + 0.1 * step * (goal.persistence[name] - now.persistence[name])
    return float(np.clip(moved, 0.0, 0.97))


def _correct_rates(data, place: int, now: pd.DataFrame, goal: pd.DataFrame, step: float) -> None:
    shift = step * (ndtri(goal["positive"]) - ndtri(now["positive"].clip(1e-4, 1 - 1e-4)))
    shift = pd.Series(shift, index=goal.index)
    unsure = goal["uncertain"] - now["uncertain"]
    data["clear"][place] *= (
        float(goal.loc["No Finding", "positive"] / now.loc["No Finding", "positive"]) ** step
    )
    data["clear"][place] = min(data["clear"][place], 0.99)
    for name, equation in data["findings"].items():
        report = data["reports"][name]
        if name != "Cardiomegaly":
            equation["intercept"][place] += float(shift[name])
        elif VIEWS[place] == "AP":
            equation["intercept"] = [value + float(shift[name]) for value in equation["intercept"]]
        else:
            ratio = goal.loc[name, "positive"] / now.loc[name, "positive"]
            report["ceiling"][place] = float(
                np.clip(report["ceiling"][place] * ratio**step, 0.3, 0.99)
            )
        report["uncertain"][place] = float(
            np.clip(report["uncertain"][place] + step * unsure[name], 0, 0.6)
        )
    for kind in PLACED:
        data["devices"][kind]["intercept"][place] += float(shift["Support Devices"])
    device = data["device_report"]["uncertain"]
    device[place] = float(np.clip(device[place] + step * unsure["Support Devices"], 0, 0.2))


def _correct_loadings(data, residual: pd.DataFrame, step: float) -> None:
    """Acuity follows the odds with devices; hidden diseases follow the odds among findings."""
    vital = pd.Series({name: 3.0 if name in VITAL else 1.0 for name in FINDINGS})
    loads = {k: pd.Series({n: data["findings"][n]["weights"][k] for n in FINDINGS}) for k in HIDDEN}
    for name in FINDINGS:
        weights = data["findings"][name]["weights"]
        weights[_illness(name)] += 0.4 * step * residual.loc[name, "Support Devices"]
        others = [other for other in FINDINGS if other != name]
        importance = vital[others] * vital[name]
        for hidden in HIDDEN:
            pull = (importance * residual.loc[name, others] * loads[hidden][others]).sum()
            weights[hidden] = float(np.clip(weights[hidden] + 0.08 * step * pull, -1.6, 1.6))
        weights[_illness(name)] = float(np.clip(weights[_illness(name)], -0.8, 1.2))


def report(now: Target, goal: Target) -> str:
    """How far the sampled table is from CheXpert's."""
    gap = (now.rates - goal.rates) * 100
    worst = [
        f"  {kind}: {gap[kind].abs().max():.2f} points at {gap[kind].abs().idxmax()}"
        for kind in gap
    ]
    names = ["AP", *VITAL]
    off = (now.pairs - goal.pairs).loc[names, names].abs().to_numpy(copy=True)
    np.fill_diagonal(off, 0)
    rest = (now.pairs - goal.pairs).loc[list(FINDINGS), list(FINDINGS)].to_numpy(copy=True)
    np.fill_diagonal(rest, 0)
    return "\n".join(
        [*worst, f"  log odds ratios: {off.max():.3f} at most among the six, "
         f"{np.sqrt((rest**2).mean()):.3f} root mean square among all findings"]
    )  # fmt: skip


def rounded(value: Any) -> Any:
    """Numbers to four digits, so that the file can be read."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(float(value), 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the shipped file only")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--n", type=int, default=N)
    parser.add_argument("--go-on", action="store_true", help="start from the shipped file")
    arguments = parser.parse_args()
    table = adults(bundled_labels())
    goal = Target(table)
    shipped = arguments.check or arguments.go_on
    data = yaml.safe_load(population.PATH.read_text("utf-8")) if shipped else design(table)
    if not arguments.check:
        for turn in range(arguments.rounds):
            now = Target(simulate(data, n=arguments.n))
            correct(data, now, goal, step=0.9 if turn < arguments.rounds // 2 else 0.5)
            if turn % 5 == 0:
                print(f"round {turn}\n{report(now, goal)}", flush=True)
        data = rounded(copy.deepcopy(data))
        header = f"# Written by benchmarks/fit_population.py (seed {SEED}); see population.py.\n"
        text = yaml.safe_dump(data, sort_keys=False, width=100, default_flow_style=None)
        population.PATH.write_text(header + text, encoding="utf-8")
    print(report(Target(simulate(data, seed=SEED + arguments.check, n=arguments.n)), goal))


if __name__ == "__main__":
    main()
