"""How far a radiograph lies from the training's: the score, its file, and what is said of it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from radiograph_files import drawn, needs_real, real_radiographs
from safetensors.numpy import load_file, save_file

from prismlib import paths
from prismlib.cli import main
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.cohorts.radiographs import read_radiograph
from prismlib.errors import PrismError, UsageError
from prismlib.measures.extractors import classifier_regions, features
from prismlib.measures.familiarity import (
    FOLDER,
    Reference,
    Unfamiliarity,
    auc,
    fit,
    load_reference,
)
from prismlib.models import architectures, weights
from prismlib.models.classifiers import Classifier

D = 6
PROMPTS = ["--source", "chest x-ray with edema", "--target", "chest x-ray without edema"]


def gaussian(n: int, seed: int) -> np.ndarray:
    """Correlated features (n, D) on unlike scales."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(D, D)) * 10.0 ** np.arange(D)
    return rng.normal(size=(n, D)) @ mixing + 5.0


@pytest.fixture(scope="module")
def reference() -> Reference:
    return fit(gaussian(4000, 0), gaussian(2000, 1), "a" * 64)


@pytest.fixture(scope="module")
def tiny() -> Classifier:
    torch.manual_seed(0)
    return Classifier(architectures.classifier("test_efficientnet", 64, 4))


@pytest.fixture
def saved(tmp_path: Path, tiny: Classifier) -> tuple[Path, Classifier, Reference]:
    """A model's folder with a classifier and a reference made with it."""
    tiny.save(tmp_path / "classifier")
    classifier = Classifier.load(tmp_path, device="cpu")
    images = torch.rand(1200, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    found = features(images, classifier_regions(classifier)).numpy()
    made = fit(found[:900], found[900:], classifier.weights_sha256, {"training_n": 900})
    made.save(tmp_path / FOLDER)
    return tmp_path, classifier, made


def test_the_score_is_mahalanobis_distance(reference):
    training, others = gaussian(4000, 0), gaussian(50, 2) * 1.5
    inverse = np.linalg.inv(np.cov(training.T))
    away = others - training.mean(axis=0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", away, inverse, away) / D)
    assert reference.scores(others) == pytest.approx(expected, rel=0.05)
    assert np.sqrt(np.mean(reference.scores(training) ** 2)) == pytest.approx(1, rel=0.05)


def test_one_in_a_hundred_of_the_familiar_is_above_the_threshold(reference):
    above = reference.scores(gaussian(20_000, 3)) > reference.threshold
    assert 0.004 < above.mean() < 0.025
    assert (reference.scores(gaussian(500, 4) + 3e6) > reference.threshold).all()


@given(st.floats(0.01, 1000), st.integers(0, D - 1))
def test_units_of_a_feature_do_not_matter(factor, column):
    scale = np.ones(D)
    scale[column] = factor
    plain = fit(gaussian(300, 0), gaussian(200, 1), "")
    scaled = fit(gaussian(300, 0) * scale, gaussian(200, 1) * scale, "")
    other = gaussian(5, 7)
    assert scaled.scores(other * scale) == pytest.approx(plain.scores(other), rel=1e-6)


def test_a_feature_that_never_changes_does_no_harm():
    constant = np.hstack([gaussian(300, 0), np.full((300, 1), 2.0)])
    found = fit(constant, constant[:200], "").scores(constant)
    assert np.isfinite(found).all()


def test_too_few_radiographs_are_refused():
    with pytest.raises(UsageError, match="30 held-out"):
        fit(gaussian(300, 0), gaussian(30, 1), "")


def test_auc_counts_pairs():
    assert auc([1, 2, 3], [4, 5]) == 1 and auc([4, 5], [1]) == 0
    assert auc([1, 2, 3], [2]) == pytest.approx(0.5)


def test_saved_and_loaded_it_scores_the_same(saved):
    folder, classifier, made = saved
    loaded = load_reference(folder, classifier)
    assert loaded is not None and loaded.about == {"training_n": 900}
    image = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(5)) ** 3
    first, second = made.judge(image, classifier), loaded.judge(image, classifier)
    for one, other in zip(first, second, strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-3)
        assert one.threshold == other.threshold
    assert [made.judge(image[k : k + 1], classifier)[0].score for k in range(3)] == pytest.approx(
        [found.score for found in first], rel=1e-4
    )


def test_noise_of_another_kind_is_unfamiliar(saved):
    _, classifier, made = saved
    same = torch.rand(20, 1, 64, 64, generator=torch.Generator().manual_seed(8))
    other = torch.linspace(0, 1, 64).round().expand(20, 1, 64, 64)
    assert sum(found.unfamiliar for found in made.judge(same, classifier)) <= 4
    assert all(found.unfamiliar for found in made.judge(other, classifier))


def test_another_classifier_is_refused(saved):
    folder, classifier, made = saved
    replace(made, classifier_sha256="b" * 64).save(folder / FOLDER)
    with pytest.raises(PrismError, match=r"bbbbbbbbbbbb.*remake it with `python benchmarks/fam"):
        load_reference(folder, classifier)


def test_a_retrained_classifier_makes_the_reference_stale(saved):
    folder, _, _ = saved
    torch.manual_seed(1)
    Classifier(architectures.classifier("test_efficientnet", 64, 4)).save(folder / "classifier")
    with pytest.raises(PrismError, match="was computed with classifier weights"):
        load_reference(folder, Classifier.load(folder, device="cpu"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "config.json").write_text("{}"),
        lambda folder: (folder / "reference.safetensors").write_bytes(b"torn"),
        lambda folder: save_file(
            {"location": load_file(folder / "reference.safetensors")["location"]},
            folder / "reference.safetensors",
        ),
    ],
)
def test_a_torn_reference_is_named(saved, damage):
    folder, classifier, _ = saved
    damage(folder / FOLDER)
    with pytest.raises(PrismError, match=f"{FOLDER} cannot be read") as raised:
        load_reference(folder, classifier)
    assert len(str(raised.value).splitlines()) == 1


def test_nothing_is_claimed_of_a_model_without_a_reference(saved):
    folder, classifier, _ = saved
    shutil.rmtree(folder / FOLDER)
    assert load_reference(folder, classifier) is None
    assert load_reference("owner/name", classifier) is None


# Through the command


@pytest.mark.parametrize("score", [0.9, 1.8])
def test_what_the_command_says(tmp_path, engine, capsys, monkeypatch, score):
    class Fixed:
        def judge(self, images: torch.Tensor, classifier: object) -> list[Unfamiliarity]:
            assert images.shape == (1, 1, 512, 512)
            return [Unfamiliarity(score, 1.4, 0.99)]

    engine.engine = replace(engine.engine, reference=Fixed())
    Image.fromarray(drawn(300, 200)).save(tmp_path / "chest.png")
    out = tmp_path / "out"
    assert main(["edit", str(tmp_path / "chest.png"), *PROMPTS, "--out", str(out), "--dicom"]) == 0
    said, record = capsys.readouterr().out, json.loads((out / "chest.json").read_text())
    unfamiliar = score > 1.4
    assert record["unfamiliarity"] == {
        "score": score, "threshold": 1.4, "quantile": 0.99, "unfamiliar": unfamiliar,
    }  # fmt: skip
    sentence = f"{score:.2f} (99% of held-out radiographs of the training's kind are below 1.40)"
    text = Image.open(out / "chest_counterfactual.png").text["Unfamiliarity"]
    assert text.endswith(sentence) and text.startswith("UNFAMILIAR") == unfamiliar
    assert ("UNFAMILIAR" in said) == unfamiliar
    assert any("UNFAMILIAR" in note for note in record["notes"]) == unfamiliar


# The reference that comes with prism-mini


@pytest.fixture(scope="module")
def bundled() -> tuple[Reference, Classifier]:
    if not (weights.bundled_folder() / FOLDER).is_dir():
        pytest.skip("prism-mini has no reference yet")
    classifier = Classifier.load(device="cpu")
    reference = load_reference(weights.BUNDLED, classifier)
    assert reference is not None
    return reference, classifier


def test_the_bundled_reference_tells_simulated_radiographs_from_others(bundled):
    reference, classifier = bundled
    cohort = PhantomCohort("development", 700)
    usual = torch.from_numpy(np.stack([cohort.image(row) for row in range(690, 698)]))[:, None]
    noise = torch.rand(2, 1, 512, 512, generator=torch.Generator().manual_seed(0))
    scores = [found.score for found in reference.judge(usual, classifier)]
    assert sum(score > reference.threshold for score in scores) <= 1
    for strange in (1 - usual, usual.flip(2), usual.rot90(dims=(2, 3)), noise):
        assert all(found.unfamiliar for found in reference.judge(strange, classifier))


def test_what_was_measured_of_it_stands_in_its_file(bundled):
    measured = bundled[0].about["measured"]
    assert measured["as they are"]["above_threshold"] < 0.05
    for name in ("inverted", "upside down", "photographs", "real radiographs"):
        assert measured[name]["auc"] > 0.95, name


@needs_real
def test_real_radiographs_are_mostly_unfamiliar(bundled):
    reference, classifier = bundled
    images = np.stack([read_radiograph(path).image for path in real_radiographs(12)])
    found = reference.judge(torch.from_numpy(images)[:, None], classifier)
    assert sum(one.unfamiliar for one in found) >= 9


def test_the_bundled_reference_is_verified(tmp_path):
    listed = paths.manifests() / weights.MANIFEST
    if not (weights.bundled_folder() / FOLDER).is_dir():
        pytest.skip("prism-mini has no reference yet")
    assert weights.verify(FOLDER) == 2
    copy = tmp_path / "prism-mini"
    shutil.copytree(weights.bundled_folder() / FOLDER, copy / FOLDER)
    (copy / FOLDER / "config.json").write_text("{}")
    with pytest.raises(PrismError, match=r"config\.json is torn"):
        weights.verify(FOLDER, copy, listed)
