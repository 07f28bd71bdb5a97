"""Who can lose an attribute: in the picture, visible, seen by the judge, one picture a patient."""

import numpy as np
import pandas as pd
import pytest
import torch

from prismlib.cohorts.labels import ATTRIBUTES, in_picture, visible
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.measures.positives import LOOKED_AT, positives


class Judge:
    """Calls positive what is brighter than its threshold."""

    attributes = ATTRIBUTES

    def probabilities(self, images):
        return images.mean(dim=(1, 2, 3))[:, None].expand(-1, len(ATTRIBUTES))

    def threshold(self, attribute):
        return 0.4


class Cohort:
    """Images as bright as the table says; counts how many were drawn."""

    name, simulated = "fake", True

    def __init__(self, table):
        self.table, self.drawn = table, []

    def __len__(self):
        return len(self.table)

    def image(self, index):
        self.drawn.append(index)
        return np.full((8, 8), self.table["brightness"][index], np.float32)

    def truth(self, index, intervention):
        return None


def rows(n, brightness=0.9):
    table = {
        "Patient": [f"p{row}" for row in range(n)],
        "Pleural Effusion": 1.0,
        "severity:Pleural Effusion": 0.6,
        "device:pacemaker": 0.0,
        "brightness": brightness,
    }
    return pd.DataFrame(table)


def test_each_condition_leaves_somebody_out():
    cohort = Cohort(rows(6))
    cohort.table.loc[0, "severity:Pleural Effusion"] = 0.0  # not there
    cohort.table.loc[1, "severity:Pleural Effusion"] = 0.1  # there, not to be seen
    cohort.table.loc[2, "brightness"] = 0.2  # the judge does not see it
    cohort.table.loc[4, "Patient"] = "p3"  # the second picture of a patient
    assert positives(cohort, Judge(), "Pleural Effusion", 9) == [3, 5]
    assert positives(cohort, Judge(), "Pleural Effusion", 1) == [3]


def test_nobody_is_drawn_beyond_what_is_needed():
    cohort = Cohort(rows(10 * LOOKED_AT))
    assert positives(cohort, Judge(), "Pleural Effusion", 3) == [0, 1, 2]
    assert len(cohort.drawn) == LOOKED_AT


@pytest.mark.parametrize("reported", [1.0, -1.0, np.nan])
def test_where_nothing_is_known_the_report_has_to_do(reported):
    table = rows(2).drop(columns=["severity:Pleural Effusion", "device:pacemaker"])
    table["Pleural Effusion"] = reported
    found = positives(Cohort(table), Judge(), "Pleural Effusion", 2)
    assert found == ([0, 1] if reported == 1.0 else [])


def test_an_empty_cohort_has_none():
    table = rows(3, brightness=0.1)
    assert positives(Cohort(table), Judge(), "Pleural Effusion", 3) == []


def test_the_simulated_cohort():
    class Sees(Judge):
        def probabilities(self, images):
            return torch.ones(len(images), len(ATTRIBUTES))

    cohort = PhantomCohort("development", 40, seed=0)
    found = positives(cohort, Sees(), "Support Devices", 4)
    there = in_picture(cohort.table, "Support Devices") & visible(cohort.table, "Support Devices")
    assert found == cohort.table[there].drop_duplicates("Patient").index[:4].tolist()
