"""The labels that a subject would have under an intervention."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from prismlib.cohorts.labels import LABELS
from prismlib.errors import UsageError

NOT_A_DISEASE = ("No Finding", "Support Devices")


def labels_after(row: "Mapping[str, Any] | pd.Series", intervention: Mapping[str, float]) -> dict:
    """A table row with the intervened labels set and `No Finding` made to agree with the rest.

    `No Finding` is 1 where no disease is labelled positive, unknown (-1) where one of them is
    uncertain, 0 otherwise; devices do not count as disease. All other labels stay. Raises
    UsageError for anything but a label of CheXpert set to 0 or 1.
    """
    changed = dict(row)
    for name, value in intervention.items():
        if name not in LABELS or name == "No Finding" or value not in (0, 1):
            raise UsageError(
                f"do({name} = {value:g}): expected a label other than No Finding set to 0 or 1"
            )
        changed[name] = float(value)
    diseases = [changed.get(name) for name in LABELS if name not in NOT_A_DISEASE]
    positive = any(value == 1 for value in diseases)
    uncertain = any(value == -1 for value in diseases)
    changed["No Finding"] = 0.0 if positive else -1.0 if uncertain else 1.0
    return changed
