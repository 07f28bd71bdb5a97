"""Does the judge still find each kind of device after encoding and decoding alone?

    python benchmarks/devices_kept.py [--each 300] [--without 600] [--model prism-mini]

Notebook 02 asks this of subjects as they come, of whom few carry the rarer kinds: at `full` (600
subjects) twelve an external cable and one a shoulder prosthesis. Here development patients are
looked for who carry them, `--each` of a kind, beside patients without any device, who set the
threshold. A row a kind: the judge's recall before and after, and their ratio with its 95% interval.

For prism-mini, on patients of whom nothing was chosen (`--seed 1`, asked once): any device .995
(.989 to 1.002), chest drains .988 (.963 to 1.016, of 317), central lines .994, all other kinds .992
and more. At the defaults, on whose drains and patients without devices the stages of its training
were compared: any .986 (.978 to .993), drains .954 (.927 to .977, of 322), external cables .981,
all other kinds .987 and more.

Its decoder alone was trained before, and with `--each 150 --searched 30000` left .934, .949 and
.973 of drains, cables and all: half-lost letters raised the scores of subjects without devices, and
so the threshold, and what is faint was drawn fainter. Letters asked for (`lettered`) and a weight
for rare devices brought drains to .939, .943, .947 and .950 in four stages at these defaults,
`contrast_weight` to .954.
"""

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.editing.reconstruction import autoencoded
from prismlib.measures.autoencoding import device_recall
from prismlib.measures.scorecard import attribute_probabilities
from prismlib.models.classifiers import Classifier
from prismlib.models.pipeline import LatentDiffusion
from prismlib.progress import progress

BATCH = 8
Rows = Sequence[int]


def main() -> None:
    """Find the patients, draw them, judge them before and after, print."""
    args = _arguments()
    model, judge = LatentDiffusion.load(args.model), Classifier.load(args.judge)
    cohort = PhantomCohort("development", args.searched, seed=args.seed)
    table = cohort.table.drop_duplicates("Patient")
    kinds = table.filter(like="device:").astype(bool)
    kinds.columns = kinds.columns.str.removeprefix("device:")
    bare = kinds.index[~kinds.any(axis=1)][: args.without]
    carrying = {row for kind in kinds for row in kinds.index[kinds[kind]][: args.each]}
    rows = [*bare, *sorted(carrying)]
    before, after = scores(cohort, rows, model, judge)
    found = device_recall(before, after, kinds.loc[rows], table.loc[rows, "Patient"].tolist())
    print(pd.DataFrame(found).round(3).to_string(index=False))
    print(f"{len(bare)} patients without any device set the threshold")


def scores(
    cohort: PhantomCohort, rows: Rows, model: LatentDiffusion, judge: Classifier
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The judge's probabilities of devices (N,) before and after encoding and decoding."""
    chances = partial(attribute_probabilities, judge, attribute="Support Devices")
    found = []
    for start in progress(range(0, len(rows), BATCH), "encoded and decoded"):
        images = [cohort.image(row) for row in rows[start : start + BATCH]]
        found.append((chances(images), chances(autoencoded(model, images, BATCH))))
    before, after = (np.concatenate(each) for each in zip(*found, strict=True))
    return before, after


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="prism-mini")
    parser.add_argument("--judge", default="prism-mini")
    parser.add_argument("--each", type=int, default=300)
    parser.add_argument("--without", type=int, default=600)
    parser.add_argument("--searched", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
