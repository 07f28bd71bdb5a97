"""A cohort as a torch dataset: tensors of the promised form, whoever loads them."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from prismlib import paths
from prismlib.cohorts.chexpert import CheXpertCohort
from prismlib.cohorts.dataset import CohortDataset
from prismlib.cohorts.labels import ATTRIBUTES
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.errors import UsageError

ADD = {"Support Devices": 1.0}


@pytest.fixture(scope="module")
def cohort():
    return PhantomCohort("development", 3, seed=2)


def test_an_item_is_the_cohorts_image_with_its_labels(cohort):
    data = CohortDataset(cohort)
    item = data[1]
    assert set(item) == {"image", "attributes", "index"} and len(data) == 3
    assert item["image"].shape == (1, 512, 512) and item["image"].dtype == torch.float32
    assert np.array_equal(item["image"][0].numpy(), cohort.image(1))
    truth = [float(cohort.table.loc[1, name] == 1) for name in ATTRIBUTES]
    assert item["attributes"].tolist() == truth and item["index"].item() == 1


def test_smaller_images_are_means_over_areas(cohort):
    item = CohortDataset(cohort, 64)[0]
    means = cohort.image(0).reshape(64, 8, 64, 8).mean(axis=(1, 3))
    assert item["image"].shape == (1, 64, 64)
    assert np.allclose(item["image"][0].numpy(), means, atol=1e-6)
    assert item["image"].min() >= 0 and item["image"].max() <= 1


def test_counterfactuals_come_with_their_mask():
    cohort = PhantomCohort("development", 40)
    data = CohortDataset(cohort, intervention=ADD)
    row = next(row for row in range(40) if not cohort.subject(row).devices)
    item, truth = data[row], cohort.truth(row, ADD)
    assert np.array_equal(item["counterfactual"][0].numpy(), truth.image)
    assert np.array_equal(item["mask"][0].numpy(), truth.mask) and item["mask"].any()
    small = CohortDataset(cohort, 128, intervention=ADD)[row]
    assert small["mask"].shape == (1, 128, 128) and small["mask"].dtype == torch.bool
    assert small["mask"].float().mean() >= item["mask"].float().mean()


def test_a_loaders_workers_give_the_same(cohort):
    data = CohortDataset(cohort, 64, intervention=ADD)
    assert len(pickle.dumps(data)) < 100_000
    loader = DataLoader(
        data, batch_size=2, num_workers=1, multiprocessing_context="spawn", shuffle=False
    )
    batches = list(loader)
    assert [len(batch["index"]) for batch in batches] == [2, 1]
    for name in ("image", "attributes", "counterfactual", "mask"):
        together = torch.cat([batch[name] for batch in batches])
        assert torch.equal(together, torch.stack([data[index][name] for index in range(3)]))


def test_uncertain_labels_follow_the_policy(cohort):
    cohort = PhantomCohort("development", 200)
    uncertain = np.flatnonzero(cohort.table["Pleural Effusion"] == -1)
    assert len(uncertain)
    for policy, value in (("u-zeros", 0.0), ("u-ones", 1.0), ("u-ignore", np.nan)):
        got = CohortDataset(cohort, policy=policy).attributes[uncertain, 0]
        assert np.array_equal(got.numpy(), np.full(len(uncertain), value), equal_nan=True)


def test_real_radiographs_have_no_counterfactual(chexpert_root):
    cohort = CheXpertCohort(chexpert_root, "train", 2)
    item = CohortDataset(cohort, 128)[0]
    assert item["image"].shape == (1, 128, 128) and set(item["attributes"].tolist()) <= {0.0, 1.0}
    with pytest.raises(UsageError, match="no true counterfactuals"):
        CohortDataset(cohort, intervention=ADD)


@pytest.mark.parametrize("size", [0, 513])
def test_senseless_sizes_are_refused(cohort, size):
    with pytest.raises(UsageError, match="expected 1 to 512"):
        CohortDataset(cohort, size)


def test_rows_end_where_the_cohort_ends(cohort):
    data = CohortDataset(cohort, 32)
    assert data[-1]["index"].item() == 2
    with pytest.raises(IndexError):
        data[3]


def test_a_cohort_does_not_need_torch():
    code = (
        "import sys; from prismlib.cohorts.cohort import open_cohort; "
        "import prismlib.cohorts.phantom.cohort, prismlib.cohorts.sealed, "
        "prismlib.commands.cohort_folder; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.root()
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
