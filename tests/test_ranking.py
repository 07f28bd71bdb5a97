"""Every measure on a sheet, and whether it tells right counterfactuals from wrong ones."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from prismlib.cohorts.cohort import Truth
from prismlib.cohorts.labels import ATTRIBUTES
from prismlib.errors import UsageError
from prismlib.measures import preservation, ranking
from prismlib.measures.ranking import CODED, NOTHING, TRUTH, WRONG, evidence, worth
from prismlib.measures.scorecard import Task, truth_errors
from prismlib.measures.sheet import EQUAL, MEASURES, Eyes, sheet

SIDE = 176
DISEASE, OTHER = np.s_[20:80, 20:80], np.s_[100:150, 100:150]


class Judge:
    """Sees effusion in the upper left, devices in the lower right."""

    attributes = ATTRIBUTES

    def threshold(self, _attribute):
        return 0.4

    def probabilities(self, images):
        bright = [images[:, 0][(slice(None), *place)].mean((1, 2)) for place in (DISEASE, OTHER)]
        still = torch.full_like(bright[0], 0.1)
        return torch.stack([bright[0], still, 1 - bright[0], bright[1]], dim=1)


class Encoder:
    """An image's embedding is the brightness of both places, a text's is what it asks for."""

    def embed_images(self, images):
        places = [images[:, 0][(slice(None), *place)].mean((1, 2)) for place in (DISEASE, OTHER)]
        return torch.stack(places, dim=1)

    def embed_texts(self, texts):
        return torch.tensor([[float("effusion" in text), 0.1] for text in texts])


class Verifier:
    def embed(self, images):
        return torch.nn.functional.normalize(images.mean(2).flatten(1), dim=-1)


def stages(images):
    """The image and its gradient as two channels."""
    down = torch.diff(images, dim=2, append=images[:, :, -1:])
    return [torch.cat([images, down + 0.01], dim=1)]


EYES = Eyes(Judge(), stages, Encoder(), Verifier())


def subjects(n=12):
    """A task, and four answers to it of known worth."""
    rng = np.random.default_rng(0)
    factual = rng.normal(0.2, 0.02, (n, SIDE, SIDE)).clip(0, 1).astype(np.float32)
    for image in factual:
        image[DISEASE] += 0.5
        image[OTHER] += 0.5
    right, astray = factual.copy(), factual.copy()
    mask = np.zeros((SIDE, SIDE), bool)
    mask[DISEASE] = True
    right[:, mask] -= 0.5
    astray[(slice(None), *OTHER)] -= 0.5
    coded = (right + rng.normal(0, 0.01, right.shape)).clip(0, 1).astype(np.float32)
    back = (factual + rng.normal(0, 0.01, right.shape)).clip(0, 1).astype(np.float32)
    truths = [Truth(image, mask) for image in right]
    task = Task("remove", "Pleural Effusion", 0, list(factual), list(back), truths,
                [f"p{k // 2}" for k in range(n)])  # fmt: skip
    return task, {TRUTH: right, CODED: coded, WRONG: astray, NOTHING: factual}


@pytest.fixture(scope="module")
def sheets():
    task, answers = subjects()
    said = ("chest x-ray with effusion", "chest x-ray with nothing")
    return task, {name: sheet(task, list(images), *said, EYES) for name, images in answers.items()}


def test_a_sheet_holds_every_measure_of_every_subject(sheets):
    task, scored = sheets
    for table in scored.values():
        assert list(table) == list(MEASURES) and len(table) == len(task.factual)
    right = scored[TRUTH]
    assert (right["error_inside"] == 0).all() and (right["psnr_to_truth"] == EQUAL).all()
    assert (right["flipped"] == 1).all() and (scored[NOTHING]["flipped"] == 0).all()
    assert (right["excess_change"] == 1).all() and (scored[NOTHING]["excess_change"] == 0).all()
    assert right["signed_cpg"].mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(scored[NOTHING]["identity"], 1, atol=1e-6)


def test_a_sheet_agrees_with_the_single_measures(sheets):
    task, scored = sheets
    _, answers = subjects()
    coded = answers[CODED]
    np.testing.assert_allclose(
        scored[CODED][["error_inside", "error_outside"]], truth_errors(task, list(coded))
    )
    for index in (0, 7):
        row = scored[CODED].iloc[index]
        truth = task.truths[index].image
        assert row["l1"] == pytest.approx(preservation.l1(coded[index], task.factual[index]))
        assert row["ssim_to_truth"] == pytest.approx(preservation.ssim(coded[index], truth))
        assert row["psnr_to_truth"] == pytest.approx(preservation.psnr(coded[index], truth))


def test_other_attributes_count_unless_they_follow(sheets):
    """No Finding may follow the disease; taking the devices away as well is seen."""
    _, scored = sheets
    assert (scored[TRUTH]["others_kept"] == 1).all()
    assert scored[WRONG]["others_kept"].tolist() == [0.5] * len(scored[WRONG])


def test_measures_that_know_the_truth_rank_and_distance_alone_does_not(sheets):
    task, scored = sheets
    table = ranking.ranking(scored, task.patients)
    ranks = table.set_index("measure")["ranks"]
    assert ranks["error_inside"] and ranks["psnr_to_truth"]
    assert not ranks["l1"], "doing nothing has the smallest distance"
    assert not ranks["identity"]
    assert set(evidence(table)) == set(ranks.index[ranks])
    assert table["p_coded_over_nothing"].between(0, 1).all()


def test_margins_by_arithmetic():
    values = {TRUTH: [5.0, 6, 7], CODED: [4.0, 4, 4], WRONG: [1.0, 2, 3], NOTHING: [0.0, 0, 0]}
    scored = {name: pd.DataFrame({"good": v, "bad": v}) for name, v in values.items()}
    table = ranking.ranking(scored, ["a", "b", "c"], {"good": 1, "bad": -1}).set_index("measure")
    assert table.loc["good", "truth_over_coded"] == 2 and table.loc["bad", "coded_over_wrong"] == -2
    assert table.loc["good", "coded_over_nothing"] == 4
    assert table.loc["good", "ranks"] and not table.loc["bad", "ranks"]
    assert table.loc["good", "n"] == 3


def test_p_values_are_adjusted_over_the_whole_table():
    rng = np.random.default_rng(1)
    base = rng.normal(size=20)
    shifts = {TRUTH: 0.3, CODED: 0.2, WRONG: 0.1, NOTHING: 0.0}
    scored = {
        name: pd.DataFrame({f"m{k}": base + shift for k in range(4)})
        for name, shift in shifts.items()
    }
    few = ranking.ranking(scored, range(20), {"m0": 1})
    many = ranking.ranking(scored, range(20), {f"m{k}": 1 for k in range(4)})
    assert many["p_truth_over_coded"].iloc[0] > few["p_truth_over_coded"].iloc[0]


def test_what_cannot_be_measured_does_not_rank():
    unknown = pd.DataFrame({"m": [math.nan] * 4})
    table = ranking.ranking(dict.fromkeys(ranking.CONDITIONS, unknown), range(4), {"m": 1})
    assert not table["ranks"].any() and table["n"].iloc[0] == 0


def test_nearer_to_one_is_better():
    np.testing.assert_allclose(worth(np.array([0.5, 1.0, 3.0]), 0), [-0.5, 0, -2])


def test_without_truth_and_verifier_the_rest_is_measured():
    task, answers = subjects(3)
    blind = Task(task.name, task.attribute, 0, task.factual, task.autoencoded, [None] * 3,
                 task.patients)  # fmt: skip
    table = sheet(blind, list(answers[TRUTH]), "effusion", "nothing",
                  Eyes(Judge(), stages, Encoder()))  # fmt: skip
    assert table["error_inside"].isna().all() and table["identity"].isna().all()
    assert (table["flipped"] == 1).all() and table["s_clip"].notna().all()


def test_one_image_for_each_subject():
    task, answers = subjects(3)
    with pytest.raises(UsageError, match="got 2 images for 3 subjects"):
        sheet(task, list(answers[TRUTH][:2]), "a", "b", EYES)
