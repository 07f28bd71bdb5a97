"""One row of a table of counterfactuals: what a method kept and changed, and how sure that is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from prismlib.errors import UsageError
from prismlib.measures import effect
from prismlib.measures.intervals import bootstrap, wilson
from prismlib.measures.preservation import error_to_truth, l1

if TYPE_CHECKING:
    from prismlib.cohorts.cohort import Cohort, Truth
    from prismlib.editing.counterfactual import Counterfactual

Image = NDArray[np.float32]
UNKNOWN = float("nan")


class Judge(Protocol):
    """What is asked for its opinion of images: a `Classifier`, or anything that answers alike."""

    @property
    def attributes(self) -> Sequence[str]:
        """What the columns of its probabilities mean."""

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities (B, A) of images (B, 1, H, W) in [0, 1]."""

    def threshold(self, attribute: str) -> float:
        """The probability from which on it calls an attribute present."""


@dataclass(frozen=True)
class Task:
    """What was asked of several subjects, and what is known of them beforehand.

    `target` is the value that `attribute` should take, 0 or 1. `autoencoded` are the factual
    images encoded and decoded; `truths` the true counterfactuals, None where nobody knows them;
    `patients` says whose image each is, for the intervals.
    """

    name: str
    attribute: str
    target: int
    factual: Sequence[Image]
    autoencoded: Sequence[Image]
    truths: "Sequence[Truth | None]"
    patients: Sequence[str]

    @classmethod
    def of(
        cls,
        name: str,
        cohort: "Cohort",
        rows: Sequence[int],
        intervention: Mapping[str, float],
        autoencode: Callable[[Sequence[Image]], Sequence[Image]],
    ) -> "Task":
        """The task of an intervention on one attribute, for some rows of a cohort.

        Raises UsageError for an intervention on none or on several.
        """
        if len(intervention) != 1:
            raise UsageError(f"a task changes one attribute, got {list(intervention) or 'none'}")
        ((attribute, target),) = intervention.items()
        images = [cohort.image(row) for row in rows]
        truths = [cohort.truth(row, intervention) for row in rows]
        patients = cohort.table.loc[list(rows), "Patient"].tolist()
        return cls(name, attribute, int(target), images, autoencode(images), truths, patients)

    def only(self, keep: Sequence[bool]) -> "Task":
        """The same task for some of its subjects."""
        return replace(
            self,
            factual=list(compress(self.factual, keep)),
            autoencoded=list(compress(self.autoencoded, keep)),
            truths=list(compress(self.truths, keep)),
            patients=list(compress(self.patients, keep)),
        )


@dataclass(frozen=True)
class Cost:
    """U-Net evaluations and seconds per image."""

    nfe: float = 0.0
    seconds_per_image: float = 0.0

    @classmethod
    def of(cls, edits: "Sequence[Counterfactual]") -> "Cost":
        """What edits took on average: a recipe may ask more of one image than of another."""
        nfe, seconds = np.mean([(one.nfe, one.seconds) for one in edits], axis=0)
        return cls(float(nfe), float(seconds))


@dataclass(frozen=True)
class Printed:
    """What the paper prints for a row; NaN where it prints nothing."""

    l1: float = UNKNOWN
    cpg: float = UNKNOWN


@dataclass(frozen=True)
class TableRow:
    """A row of Table 2. All intervals are 95%: `flip_rate` by Wilson over the `n_flippable`
    images that were not on the target's side before, all others by bootstrap over patients.

    `inside_low` and its kin are the intervals of `error_inside` and `error_outside`.

    `signed_cpg` counts only movement towards the target. `passed` is the share of images that
    the recipe's S_CLIP filter lets through, NaN where no filter took part. `threshold` is the
    probability at which the judge decides.
    """

    task: str
    method: str
    judge: str
    n: int
    l1: float
    l1_low: float
    l1_high: float
    cpg: float
    cpg_low: float
    cpg_high: float
    flip_rate: float
    flip_low: float
    flip_high: float
    error_inside: float
    error_outside: float
    nfe: float
    seconds_per_image: float
    paper_l1: float
    paper_cpg: float
    signed_cpg: float
    n_flippable: int
    passed: float
    threshold: float
    inside_low: float
    inside_high: float
    outside_low: float
    outside_high: float


def score(
    task: Task,
    method: str,
    images: Sequence[Image],
    judge: Judge,
    judge_name: str,
    *,
    cost: Cost | None = None,
    printed: Printed | None = None,
    passed: Sequence[bool] | None = None,
) -> TableRow:
    """Score what a method made of a task's subjects, in their order.

    Decisions are flipped at the judge's own threshold for the attribute.
    """
    if len(images) != len(task.factual):
        raise UsageError(f"{method}: got {len(images)} images for {len(task.factual)} subjects")
    cost, printed = cost or Cost(), printed or Printed()
    distances = [l1(a, b) for a, b in zip(images, task.factual, strict=True)]
    before = attribute_probabilities(judge, task.factual, task.attribute)
    after = attribute_probabilities(judge, images, task.attribute)
    threshold = judge.threshold(task.attribute)
    flipped = effect.flips(before, after, threshold, task.target)
    flippable = int(np.isfinite(flipped).sum())
    errors = truth_errors(task, images)
    l1_interval = bootstrap(distances, task.patients)
    cpg_interval = bootstrap(np.abs(after - before), task.patients)
    flip_interval = wilson(np.nansum(flipped), flippable)
    inside, outside = (bootstrap(column, task.patients) for column in errors.T)
    return TableRow(
        task=task.name,
        method=method,
        judge=judge_name,
        n=len(images),
        l1=float(np.mean(distances)),
        l1_low=l1_interval.low,
        l1_high=l1_interval.high,
        cpg=effect.cpg(before, after),
        cpg_low=cpg_interval.low,
        cpg_high=cpg_interval.high,
        flip_rate=effect.flip_rate(before, after, threshold, task.target),
        flip_low=flip_interval.low,
        flip_high=flip_interval.high,
        error_inside=mean_known(errors[:, 0]),
        error_outside=mean_known(errors[:, 1]),
        nfe=cost.nfe,
        seconds_per_image=cost.seconds_per_image,
        paper_l1=printed.l1,
        paper_cpg=printed.cpg,
        signed_cpg=effect.signed_cpg(before, after, task.target),
        n_flippable=flippable,
        passed=UNKNOWN if passed is None else float(np.mean(passed)),
        threshold=threshold,
        inside_low=inside.low,
        inside_high=inside.high,
        outside_low=outside.low,
        outside_high=outside.high,
    )


def truth_errors(task: Task, images: Sequence[Image]) -> NDArray[np.float64]:
    """Each subject's (error_inside, error_outside), (N, 2); NaN where the truth is not known."""
    rows = [
        (UNKNOWN, UNKNOWN) if truth is None else error_to_truth(image, factual, autoencoded, truth)
        for image, factual, autoencoded, truth in zip(
            images, task.factual, task.autoencoded, task.truths, strict=True
        )
    ]
    return np.array(rows, dtype=float)


def attribute_probabilities(
    judge: Judge, images: Sequence[Image], attribute: str
) -> NDArray[np.float64]:
    """A classifier's probability (N,) of one attribute in each image (H, W)."""
    batch = torch.from_numpy(np.stack(images).astype(np.float32))[:, None]
    return judge.probabilities(batch)[:, judge.attributes.index(attribute)].double().numpy()


def mean_known(values: NDArray[np.float64]) -> float:
    """The mean of what is known; NaN if nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else UNKNOWN


def as_table(rows: Sequence[TableRow]) -> pd.DataFrame:
    """The rows as a table, columns in the contract's order."""
    return pd.DataFrame([asdict(row) for row in rows])
