"""Profiles are read exactly, and whatever is not meant is refused with the nearest valid name."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from prismlib import config
from prismlib.errors import UsageError

BASE = {
    "description": "d",
    "cohort": "phantom",
    "model": "prism-mini",
    "clip": "prism-mini",
    "judge": "prism-mini",
    "seed": 3,
}


def write(path: Path, quick: dict, full: dict | None = None) -> Path:
    table = {"quick": {**BASE, **quick}, "full": {**BASE, **(full or {})}}
    path.write_text(yaml.safe_dump(table))
    return path


@pytest.fixture
def manifest(tmp_path):
    return tmp_path / "profiles.yaml"


NOTEBOOK = {"notebooks": {"01_a": {"n_images": 12, "guidance": 7.5, "recipes": ["paper"]}}}


def test_the_projects_own_profiles_load():
    assert config.profile_names() == ("quick", "full", "chexpert")
    for name in config.profile_names():
        profile = config.load_profile(name)
        assert profile.name == name
        assert profile.simulated == (name != "chexpert")


def test_every_notebook_gets_profile_and_seed(manifest):
    profile = config.load_profile("quick", write(manifest, NOTEBOOK))
    assert profile.for_notebook("01_a") == {
        "profile": "quick",
        "seed": 3,
        "n_images": 12,
        "guidance": 7.5,
        "recipes": ["paper"],
    }
    assert profile.for_notebook("99_elsewhere") == {"profile": "quick", "seed": 3}


def test_other_profiles_inherit_what_they_do_not_say(manifest):
    write(manifest, NOTEBOOK, {"notebooks": {"01_a": {"n_images": 500}}})
    assert config.load_profile("full", manifest).parameters["01_a"] == {
        "n_images": 500,
        "guidance": 7.5,
        "recipes": ["paper"],
    }


def test_an_int_is_a_float_but_a_float_is_no_int(manifest):
    write(manifest, NOTEBOOK, {"notebooks": {"01_a": {"guidance": 7}}})
    assert config.load_profile("full", manifest).parameters["01_a"]["guidance"] == 7
    write(manifest, NOTEBOOK, {"notebooks": {"01_a": {"n_images": 7.0}}})
    with pytest.raises(UsageError, match=r"n_images is 7.0 .float.; expected int"):
        config.load_profile("full", manifest)


@pytest.mark.parametrize(
    ("full", "message"),
    [
        ({"modell": "x"}, "unknown key 'modell': did you mean model"),
        ({"cohort": "chexprt"}, "did you mean chexpert"),
        ({"seed": "3"}, "seed is '3'"),
        ({"seed": True}, "seed is True"),
        ({"notebooks": {"01_b": {}}}, "unknown notebook '01_b': did you mean 01_a"),
        ({"notebooks": {"01_a": {"n_image": 2}}}, "did you mean n_images"),
        ({"notebooks": {"01_a": {"recipes": "paper"}}}, "expected list"),
        ({"notebooks": {"01_a": {"profile": "x"}}}, "cannot be a parameter"),
        ({"notebooks": [1]}, "expected parameters by notebook"),
    ],
)
def test_what_is_not_meant_is_refused(manifest, full, message):
    with pytest.raises(UsageError, match=message):
        config.load_profile("full", write(manifest, NOTEBOOK, full))


def test_a_missing_field_is_named(manifest):
    entry = {key: value for key, value in BASE.items() if key != "judge"}
    manifest.write_text(yaml.safe_dump({"quick": entry}))
    with pytest.raises(UsageError, match="judge is missing"):
        config.load_profile("quick", manifest)


@pytest.mark.parametrize("text", ["quick: [", "- a\n", "quick: 3\n"])
def test_a_torn_manifest_is_one_line(manifest, text):
    manifest.write_text(text)
    with pytest.raises(UsageError) as caught:
        config.load_profile("quick", manifest)
    assert "\n" not in str(caught.value)


def test_a_misspelt_profile_is_refused():
    with pytest.raises(UsageError, match=r"no profile 'quik'.*did you mean quick"):
        config.load_profile("quik")


def test_own_weights_take_the_place_of_the_profiles(manifest, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    monkeypatch.setenv("PRISM_JUDGE", "mine")
    profile = config.load_profile("quick", write(manifest, NOTEBOOK))
    assert profile.judge == str(tmp_path / "mine")
    assert profile.model == "prism-mini"


@given(st.integers(), st.text(max_size=5), st.floats(allow_nan=False), st.booleans())
def test_types_pass_only_for_themselves(integer, text, real, flag):
    values = (integer, text, real, flag)
    for value in values:
        for example in values:
            fits = type(value) is type(example) or (type(value), type(example)) == (int, float)
            if fits:
                config.check_type(value, example, "x")
            else:
                with pytest.raises(UsageError):
                    config.check_type(value, example, "x")
