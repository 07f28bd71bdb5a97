"""A fabricated ChestX-ray14 folder, and what training draws from one."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from prismlib.cli import main
from prismlib.cohorts.nih import NihCohort
from prismlib.errors import UsageError
from prismlib.models import architectures
from prismlib.models.data import prepare_images
from prismlib.models.train_vae import VaeObjective, VaeSettings

COLUMNS = ["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age"]


@pytest.fixture
def folder(tmp_path):
    """24 patients with two images each; one image is not there."""
    rows = [
        (f"{patient:08d}_{k:03d}.png", "Effusion|Mass", k, patient, 50)
        for patient in range(1, 25)
        for k in range(2)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).assign(
        **{"Patient Gender": "F", "View Position": "PA"}
    )
    table.to_csv(tmp_path / "Data_Entry_2017.csv", index=False)
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for name in table["Image Index"].iloc[1:]:
        pixels = rng.integers(0, 255, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).resize((80, 80)).save(tmp_path / "images" / name)
    return tmp_path


def test_nobody_is_trained_on_and_held_out(folder):
    train, held_out = NihCohort(folder, "train"), NihCohort(folder, "held_out")
    assert len(train) + len(held_out) == 47
    assert not set(train.table["Patient"]) & set(held_out.table["Patient"])
    assert 1 <= held_out.table["Patient"].nunique() <= 12
    assert train.image(0).shape == (512, 512) and train.truth(0, {}) is None
    assert train.table["Pleural Effusion"].eq(1).all() and not train.simulated


def test_a_folder_without_the_table_or_its_images_is_named(folder, tmp_path):
    with pytest.raises(UsageError, match=r"Data_Entry_2017\.csv"):
        NihCohort(tmp_path / "images", "train")
    for image in (folder / "images").iterdir():
        image.unlink()
    with pytest.raises(UsageError, match="none of the train images"):
        NihCohort(folder, "train")
    with pytest.raises(UsageError, match="expected train or held_out"):
        NihCohort(folder, "test")


def test_real_crops_come_in_their_share(folder, tmp_path):
    class Black:
        name, simulated = "black", True
        table = pd.DataFrame({"Patient": ["a", "b"]})

        def __len__(self):
            return 2

        def image(self, index):
            return np.zeros((512, 512), np.float32)

    def quiet(_line):
        """Say nothing."""

    black = prepare_images(Black(), tmp_path / "cache", report=quiet)
    real = prepare_images(NihCohort(folder, "train"), tmp_path / "cache", report=quiet)
    vae = architectures.autoencoder()
    for share, real_crops in ((0.0, 0), (0.5, 16), (1.0, 32)):
        settings = VaeSettings(crop=64, real_share=share)
        objective = VaeObjective(vae, black, settings, real)
        batch = objective.draw(np.random.default_rng(0), 0, 32)
        bright = (batch["images"].flatten(1).amax(1) > 0).sum()
        assert abs(int(bright) - real_crops) <= (6 if 0 < share < 1 else 0)
    plain = VaeObjective(vae, black, VaeSettings(crop=64))
    assert torch.all(plain.draw(np.random.default_rng(0), 0, 8)["images"] == 0)


def test_a_card_tells_of_real_radiographs(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path / "out"))
    sizes = ["--cohort-size", "2", "--held-out", "1"]
    settings = [f"real={folder}", "steps=1", "batch_size=2", "crop=64"]
    values = [text for value in settings for text in ("--set", value)]
    model = tmp_path / "model"
    assert main(["train", "vae", *sizes, *values, "--export", str(model)]) == 0
    number = len(NihCohort(folder, "train"))
    card = (model / "README.md").read_text(encoding="utf-8")
    assert f"All subjects but the autoencoder's {number} real radiographs" in card
