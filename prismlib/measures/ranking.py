"""May a measure serve as evidence? It is asked about counterfactuals whose worth is known.

For each subject the true counterfactual must score best; the same encoded and decoded next; the
truth of another question, and doing nothing, last.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import wilcoxon

from prismlib.measures.intervals import bootstrap, holm
from prismlib.measures.sheet import MEASURES

TRUTH, CODED = "true counterfactual", "the same, encoded and decoded"
WRONG, NOTHING = "true, of another attribute", "doing nothing"
CONDITIONS = (TRUTH, CODED, WRONG, NOTHING)
MARGINS = {
    "truth_over_coded": (TRUTH, CODED),
    "coded_over_wrong": (CODED, WRONG),
    "coded_over_nothing": (CODED, NOTHING),
}
WAYS = {1: "higher", -1: "lower", 0: "nearer to 1"}


def ranking(
    sheets: Mapping[str, pd.DataFrame],
    patients: ArrayLike,
    better: Mapping[str, int] = MEASURES,
) -> pd.DataFrame:
    """One row a measure: its mean under each condition, and how far the conditions lie apart.

    `sheets` holds, for each of `CONDITIONS`, the same subjects' measures (rows alike). A margin is
    the mean difference in a subject, positive where the better counterfactual scores better, with
    its 95% bootstrap interval over `patients`; `p_<margin>` is Wilcoxon's one-sided signed-rank
    test, adjusted by Holm over all margins of the table. `ranks` says that all three intervals lie
    above 0: only then may the measure serve as evidence.
    """
    rows = [_row(name, sign, sheets, patients) for name, sign in better.items()]
    table = pd.DataFrame(rows)
    columns = [f"p_{margin}" for margin in MARGINS]
    table[columns] = _adjusted(table[columns])
    return table


def _row(
    name: str, sign: int, sheets: Mapping[str, pd.DataFrame], patients: ArrayLike
) -> dict[str, object]:
    values = {condition: sheets[condition][name].to_numpy(float) for condition in CONDITIONS}
    row: dict[str, object] = {
        "measure": name,
        "better": WAYS[sign],
        "n": int(np.isfinite(np.stack(list(values.values()))).all(axis=0).sum()),
        **{condition: _mean(scores) for condition, scores in values.items()},
    }
    apart = True
    for margin, (first, second) in MARGINS.items():
        differences = worth(values[first], sign) - worth(values[second], sign)
        span = bootstrap(differences, patients)
        row |= {margin: _mean(differences), f"{margin}_low": span.low, f"{margin}_high": span.high}
        row[f"p_{margin}"] = _p(differences)
        apart &= bool(span.low > 0)
    return {**row, "ranks": apart}


def worth(values: np.ndarray, sign: int) -> np.ndarray:
    """A measure's values such that more is better."""
    return sign * values if sign else -np.abs(values - 1)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _p(differences: np.ndarray) -> float:
    """Of the hypothesis that the differences do not lie above 0; 1 where nothing differs."""
    known = differences[np.isfinite(differences)]
    if not known.size or not known.any():
        return 1.0
    return float(wilcoxon(known, alternative="greater").pvalue)


def _adjusted(table: pd.DataFrame) -> np.ndarray:
    return np.asarray(holm(table.to_numpy().ravel())).reshape(table.shape)


def evidence(table: pd.DataFrame) -> list[str]:
    """The measures that rank, in the table's order."""
    return table.loc[table["ranks"].astype(bool), "measure"].tolist()
