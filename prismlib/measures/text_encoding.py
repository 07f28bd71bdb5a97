"""What is left of a caption's statements once a text encoder has read it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from prismlib.errors import UsageError
from prismlib.measures.judges import Answers, balanced_accuracy, resampled

FOLDS = 5
ITERATIONS = 1000  # at most, of a fit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StatementsKept:
    """How often a linear reader of embeddings tells a caption that says an attribute is there
    from one that says it is not: balanced accuracy, with its 95% bootstrap interval over patients.

    What a linear reader cannot tell, cross-attention will hardly find. `n` captions say one or the
    other, `n_positive` that it is there; where fewer than `FOLDS` patients have either, all is NaN.
    """

    attribute: str
    n: int
    n_positive: int
    balanced_accuracy: float
    low: float
    high: float


def statements_kept(
    attributes: Sequence[str], embeddings: Array, asked: Array, patients: Sequence[object]
) -> list[StatementsKept]:
    """A row an attribute from the embeddings (N, D) of captions, averaged over their tokens.

    `asked` (N, k) is 1 or 0 where the caption says so and NaN where it says nothing. The reader, a
    logistic regression, answers for patients whom it was not fitted to. Raises UsageError if shapes
    differ.
    """
    if len(embeddings) != len(asked) or asked.shape != (len(patients), len(attributes)):
        raise UsageError(
            f"got embeddings of {embeddings.shape}, statements of {asked.shape} and "
            f"{len(patients)} patients; expected as many captions of each and "
            f"{len(attributes)} statements"
        )
    names, rows = np.asarray(patients), []
    for column, attribute in enumerate(attributes):
        said = ~np.isnan(asked[:, column])
        rows.append(_kept(attribute, embeddings[said], asked[said, column] == 1, names[said]))
    return rows


def _kept(
    attribute: str, embeddings: Array, there: NDArray[np.bool_], patients: NDArray[np.object_]
) -> StatementsKept:
    n, positive = len(there), int(there.sum())
    if min(len(np.unique(patients[there == value])) for value in (True, False)) < FOLDS:
        return StatementsKept(attribute, n, positive, *(float("nan"),) * 3)
    fit = LogisticRegression(class_weight="balanced", max_iter=ITERATIONS)
    reader = make_pipeline(StandardScaler(), fit)
    folds = StratifiedGroupKFold(FOLDS)
    chances = cross_val_predict(
        reader, embeddings, there, groups=patients, cv=folds, method="predict_proba"
    )
    answers = Answers(chances[:, 1], there, patients, 0.5)
    low, high = np.nanquantile(resampled(answers)["balanced_accuracy"], [0.025, 0.975])
    return StatementsKept(
        attribute, n, positive, balanced_accuracy(answers), float(low), float(high)
    )
