"""The whole `chexpert` profile, from fine-tuning to the report, on what can be made on the spot.

A fabricated CheXpert, a tiny Stable Diffusion, CLIP and judge stand in for what needs a licence or
a download; the commands, the notebooks and the code are those of the real thing.
"""

import json
from pathlib import Path

import pandas as pd
import pytest
from chexpert_folder import make_chexpert
from tiny_stable_diffusion import save_tiny_clip, save_tiny_judge, save_tiny_stable_diffusion

from prismlib import paths
from prismlib.cli import main
from prismlib.cohorts.labels import ATTRIBUTES
from prismlib.config import load_profile
from prismlib.models.classifiers import Classifier
from prismlib.report.artefacts import read_artefacts

SIZES = {
    "n_table": 1500, "n_shown": 2, "n_pairs": 1, "n_latents": 3, "n_ratios": 300,
    "n_train": 8, "n_held_out": 4, "n_measured": 6, "live_steps": 2,
    "live_batch": 2, "n_seeds": 1, "sampling_steps": 2, "n_images": 2, "n_add": 1,
    "n_confounded": 1, "n_searched": 12,
    "steps": 2, "optimised_steps": 1, "other_steps": [1], "n_text": 1, "paper_steps": 2,
    "editors": ["sdedit"], "n_editors": 1,
    "n_validation": 2, "n_test": 10, "n_edits": 4, "n_heads": 2, "training_steps": 1,
    "image_size": 64, "n_leak": 8, "n_measures": 1, "n_distances": 4, "draws": 50,
}  # fmt: skip
SIMULATED = "00_the_simulated_cohort"  # shows the embedded cohort at every profile


def given(option: str, values: dict[str, object]) -> list[str]:
    return [text for key, value in values.items() for text in (option, f"{key}={value}")]


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory) -> Path:
    """Where the profile's runs and figures are, after fine-tuning and every notebook."""
    folder = tmp_path_factory.mktemp("profile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRISM_CHEXPERT_ROOT", str(make_chexpert(folder / "data", patients=60)))
        patch.setenv("PRISM_OUTPUT", str(folder))
        patch.setenv("PRISM_MODEL", str(save_tiny_stable_diffusion(folder / "base", factor=16)))
        patch.setenv("PRISM_CLIP", str(save_tiny_clip(folder / "clip")))
        patch.setenv("PRISM_JUDGE", str(save_tiny_judge(folder / "judge")))
        tuned = str(folder / "tuned")
        few = [*given("--set", {"steps": 2, "batch_size": 2}), "--held-out", "4"]
        train = ["train", "unet", "--profile", "chexpert", "--cohort-size", "8", "--export", tuned]
        assert main([*train, *few]) == 0
        patch.setenv("PRISM_MODEL", tuned)
        assert main(["reproduce", "--profile", "chexpert", *given("--set", SIZES)]) == 0
    return folder


@pytest.mark.slow
def test_every_notebook_of_the_profile_runs_on_real_shaped_data(reproduced):
    run = json.loads((reproduced / "runs" / "chexpert" / "run.json").read_text())
    assert run["status"] == "finished"
    assert list(run["notebooks"]) == sorted(path.stem for path in paths.notebooks().glob("*.ipynb"))
    figures = reproduced / "figures" / "chexpert"
    made = read_artefacts(figures)
    assert len(made) > 40
    for artefact in made:
        assert artefact.profile == "chexpert"
        assert artefact.simulated <= (artefact.notebook == SIMULATED), artefact.name
    assert "CheXpert" in (figures / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_only_the_simulation_knows_is_left_out(reproduced):
    figures = reproduced / "figures" / "chexpert"
    table = pd.read_csv(figures / "table_2.csv")
    assert "true counterfactual" not in set(table["method"])
    assert table["error_inside"].isna().all() and table["l1"].notna().all()
    trained = pd.read_csv(figures / "table_training.csv")
    assert (trained["part"] == "unet").any()  # the fine-tuning's own record
    claims = pd.read_csv(figures / "claims.csv")
    assert set(claims["domain"]) == {"label_table", "real_radiographs"}
    assert not claims["statement"].str.contains("In simulation").any()


@pytest.mark.slow
def test_a_judge_trained_as_the_readme_says_is_the_profiles_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_CHEXPERT_ROOT", str(make_chexpert(tmp_path / "data", patients=60)))
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    monkeypatch.delenv("PRISM_JUDGE", raising=False)
    monkeypatch.chdir(tmp_path)
    command = ["train", "classifier", "--profile", "chexpert", "--export", "runs/training/judges"]
    assert " ".join(command) in (paths.root() / "README.md").read_text(encoding="utf-8")
    few = given("--set", {"steps": 1, "batch_size": 2})
    assert main([*command, *few, "--cohort-size", "4", "--held-out", "4"]) == 0
    assert Classifier.load(load_profile("chexpert").judge).attributes == ATTRIBUTES
