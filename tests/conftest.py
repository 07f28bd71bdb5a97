"""What several tests share."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chexpert_folder import make_chexpert
from fake_engine import FakeEngine
from hypothesis import settings
from tiny_stable_diffusion import save_tiny_clip, save_tiny_prism, save_tiny_stable_diffusion

from prismlib.cohorts.chexpert import bundled_labels
from prismlib.commands import edit_engine
from prismlib.models.clip import ImageTextEncoder
from prismlib.models.pipeline import LatentDiffusion

settings.register_profile("untimed", deadline=None)  # a busy machine is no fault
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def chexpert_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fabricated CheXpert-v1.0-small folder, for reading only: 30 patients, ~60 frontal views."""
    return make_chexpert(tmp_path_factory.mktemp("chexpert"))


@pytest.fixture(scope="session")
def real_labels() -> pd.DataFrame:
    """The label table of CheXpert, for reading only."""
    return bundled_labels()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Stable Diffusion as diffusers writes it, for reading only."""
    return save_tiny_stable_diffusion(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> LatentDiffusion:
    """The same, loaded: images of 64 pixels, latents of 8."""
    return LatentDiffusion.load(str(tiny_folder), device="cpu")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> ImageTextEncoder:
    """A tiny random CLIP."""
    return ImageTextEncoder.load(str(save_tiny_clip(tmp_path_factory.mktemp("clip"))))


@pytest.fixture(scope="session")
def tiny_prism(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as prism-mini's, a tiny random network for each part, for reading only."""
    return save_tiny_prism(tmp_path_factory.mktemp("prism"))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What `prism edit` runs on in this test."""
    fake = FakeEngine()
    monkeypatch.setattr(edit_engine, "load_engine", lambda name, device: fake.engine)
    return fake


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of rows at each evaluation of a U-Net."""
    rows: list[int] = []
    true = LatentDiffusion.noise_of

    def counted(self: LatentDiffusion, latents: Any, *rest: Any) -> Any:
        rows.append(len(latents))
        return true(self, latents, *rest)

    monkeypatch.setattr(LatentDiffusion, "noise_of", counted)
    return rows
