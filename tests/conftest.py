"""What several tests share."""

from pathlib import Path

import pandas as pd
import pytest
from chexpert_folder import make_chexpert
from hypothesis import settings

from prismlib.cohorts.chexpert import bundled_labels

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
