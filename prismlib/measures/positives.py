"""Who can lose an attribute: subjects that have it, in the picture and in a judge's eyes."""

import numpy as np

from prismlib.cohorts.cohort import Cohort
from prismlib.cohorts.labels import in_picture, visible
from prismlib.measures.scorecard import Judge, attribute_probabilities
from prismlib.progress import progress

LOOKED_AT = 16  # pictures that the judge sees at once


def positives(cohort: Cohort, judge: Judge, attribute: str, n: int) -> list[int]:
    """Rows of the first `n` patients who show an attribute and whom the judge calls positive.

    Only an edit of these can flip a decision. One picture a patient, so that each is an
    observation of its own. What is there but below visible severity is left out where a cohort
    knows it. Fewer than `n` where the cohort has no more.
    """
    shown = cohort.table[in_picture(cohort.table, attribute) & visible(cohort.table, attribute)]
    rows = shown.drop_duplicates("Patient").index.tolist()
    found: list[int] = []
    for start in progress(range(0, len(rows), LOOKED_AT), f"looking for {attribute}"):
        part = rows[start : start + LOOKED_AT]
        chances = attribute_probabilities(judge, [cohort.image(row) for row in part], attribute)
        seen = np.flatnonzero(chances >= judge.threshold(attribute))
        found += [int(part[place]) for place in seen]
        if len(found) >= n:
            break
    return found[:n]
