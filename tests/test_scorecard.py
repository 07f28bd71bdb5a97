"""A table's row against numbers worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from prismlib.cohorts.cohort import Truth
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.errors import UsageError
from prismlib.measures.scorecard import Cost, Printed, Task, as_table, score

CONTRACT = (
    "task, method, judge, n, l1, l1_low, l1_high, cpg, cpg_low, cpg_high, flip_rate, flip_low, "
    "flip_high, error_inside, error_outside, nfe, seconds_per_image, paper_l1, paper_cpg"
)


class MeanJudge:
    """Reads an image's mean as the probability of devices; other heads say one half."""

    attributes = ("Pleural Effusion", "Support Devices")

    def __init__(self, thresholds=(0.5, 0.5)):
        self.thresholds = dict(zip(self.attributes, thresholds, strict=True))

    def threshold(self, attribute):
        return self.thresholds[attribute]

    def probabilities(self, images):
        means = images.mean(dim=(1, 2, 3))
        return torch.stack([torch.full_like(means, 0.5), means], dim=1)


def flat(value):
    return np.full((4, 4), value, dtype=np.float32)


@pytest.fixture
def task():
    """Two subjects at 0.8 and 0.4; truth lies 0.4 and 0.2 below in the upper half alone."""
    factual = [flat(0.8), flat(0.4)]
    truths = []
    for image, drop in zip(factual, (0.4, 0.2), strict=True):
        mask = np.zeros((4, 4), bool)
        mask[:2] = True
        truths.append(Truth((image - drop * mask).astype(np.float32), mask))
    autoencoded = [image + np.float32(0.1) for image in factual]
    names = ["patient1", "patient2"]
    return Task("remove devices", "Support Devices", 0, factual, autoencoded, truths, names)


def test_doing_nothing_keeps_everything_and_changes_nothing(task):
    row = score(task, "do nothing", task.factual, MeanJudge(), "mean")
    assert (row.n, row.l1, row.cpg, row.flip_rate, row.nfe) == (2, 0, 0, 0, 0)
    assert (row.error_inside, row.error_outside) == pytest.approx((1, 0))
    assert np.isnan(row.paper_l1) and np.isnan(row.passed)


def test_the_autoencoder_is_the_unit_outside(task):
    row = score(task, "encode and decode", task.autoencoded, MeanJudge(), "mean")
    assert row.l1 == pytest.approx(0.1)
    assert row.error_outside == pytest.approx(1, rel=1e-5)
    assert row.signed_cpg == pytest.approx(-0.1, rel=1e-5)
    assert row.cpg == pytest.approx(0.1, rel=1e-5)


def test_the_truth_has_no_error(task):
    row = score(task, "truth", [truth.image for truth in task.truths], MeanJudge(), "mean")
    assert (row.error_inside, row.error_outside) == pytest.approx((0, 0), abs=1e-6)
    assert row.l1 == pytest.approx((0.2 + 0.1) / 2)


def test_only_images_that_could_flip_are_counted(task):
    row = score(task, "darken", [flat(0.1), flat(0.1)], MeanJudge(), "mean")
    assert (row.n, row.n_flippable, row.flip_rate) == (2, 1, 1.0)
    assert 0 < row.flip_low < row.flip_high == 1.0
    assert row.inside_low < row.error_inside < row.inside_high
    assert row.outside_low < row.error_outside < row.outside_high
    assert row.signed_cpg == pytest.approx((0.7 + 0.3) / 2)


def test_decisions_are_flipped_at_the_judges_own_threshold_for_the_attribute(task):
    images = [flat(0.35), flat(0.35)]
    half = score(task, "darken", images, MeanJudge(), "mean")
    lower = score(task, "darken", images, MeanJudge((0.9, 0.38)), "mean")
    assert (half.n_flippable, half.flip_rate, half.threshold) == (1, 1.0, 0.5)
    assert (lower.n_flippable, lower.flip_rate, lower.threshold) == (2, 1.0, 0.38)
    lowest = score(task, "darken", images, MeanJudge((0.9, 0.3)), "mean")
    assert (lowest.n_flippable, lowest.flip_rate) == (2, 0.0)


def test_without_a_truth_its_errors_are_unknown(task):
    real = Task(**{**vars(task), "truths": [None, None]})
    row = score(real, "darken", [flat(0.1), flat(0.1)], MeanJudge(), "mean")
    assert np.isnan([row.error_inside, row.error_outside, row.inside_low, row.outside_high]).all()
    assert row.l1 == pytest.approx((0.7 + 0.3) / 2)


def test_a_table_has_the_contracts_columns_first(task):
    cost, printed = Cost(72, 1.5), Printed(0.031, 0.845)
    row = score(
        task, "x", task.factual, MeanJudge(), "m", cost=cost, printed=printed, passed=[True, False]
    )
    table = as_table([row, row])
    assert ", ".join(table.columns[:19]) == CONTRACT
    assert table.loc[1, ["nfe", "seconds_per_image", "paper_l1", "paper_cpg"]].tolist() == [
        72, 1.5, 0.031, 0.845,
    ]  # fmt: skip
    assert table.loc[0, "passed"] == 0.5


def test_a_cost_is_the_mean_of_what_each_edit_took():
    edits = [SimpleNamespace(nfe=31, seconds=0.5), SimpleNamespace(nfe=62, seconds=1.0)]
    assert Cost.of(edits) == Cost(46.5, 0.75)


def test_a_part_of_a_task_is_scored_on_its_own(task):
    images = [flat(0.1), flat(0.1)]
    part = score(task.only([False, True]), "darken", images[1:], MeanJudge(), "mean")
    assert (part.n, part.n_flippable) == (1, 0)
    assert part.l1 == pytest.approx(0.3) and np.isnan(part.flip_rate)


def test_a_task_takes_its_subjects_from_a_cohort():
    cohort, rows, denied = PhantomCohort("development", 6), [4, 1], {"Support Devices": 0.0}
    task = Task.of("devices", cohort, rows, denied, lambda images: [1 - image for image in images])
    assert (task.name, task.attribute, task.target) == ("devices", "Support Devices", 0)
    assert list(task.patients) == [cohort.table.loc[row, "Patient"] for row in rows]
    parts = zip(rows, task.factual, task.autoencoded, task.truths, strict=True)
    for row, image, coded, truth in parts:
        np.testing.assert_array_equal(image, cohort.image(row))
        np.testing.assert_array_equal(coded, 1 - image)
        np.testing.assert_array_equal(truth.image, cohort.truth(row, denied).image)


def test_a_task_asks_for_one_attribute():
    cohort = PhantomCohort("development", 2)
    with pytest.raises(UsageError, match="changes one attribute"):
        Task.of("both", cohort, [0], {"Support Devices": 0.0, "Edema": 0.0}, list)


def test_a_missing_image_is_an_error(task):
    with pytest.raises(UsageError, match="1 images for 2"):
        score(task, "x", task.factual[:1], MeanJudge(), "m")
