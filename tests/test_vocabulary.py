"""What captions can say comes from the captions themselves; what is near to it is found."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib.captions import EDIT_PROMPTS, OTHER_WORDS, PARAPHRASES, TEMPLATES, caption, describe
from prismlib.captions.vocabulary import vocabulary
from prismlib.captions.wordings import HEADS, HELD_OUT, NEVER_TRAINED, UNTAUGHT, ask
from prismlib.cohorts.labels import ATTRIBUTES, LABELS
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.cohorts.phantom.subject import DEVICE_KINDS
from prismlib.commands.edit_prompts import known_vocabulary, unknown_words
from prismlib.errors import UsageError
from prismlib.models.records import read_records

VALUES = st.sampled_from([1.0, 0.0, -1.0, np.nan])
LABELLED = st.fixed_dictionaries(dict.fromkeys(LABELS, VALUES))
KNOWN_KINDS = st.fixed_dictionaries(
    {f"device:{k}": st.sampled_from([0.0, 1.0]) for k in DEVICE_KINDS}
)
SEVERITIES = st.fixed_dictionaries({f"severity:{x}": st.floats(0, 1) for x in LABELS})
SEEDS = st.integers(0, 2**32 - 1)


@given(LABELLED, KNOWN_KINDS, SEVERITIES, SEEDS)
def test_no_paraphrase_has_an_unknown_word(labels, kinds, severities, seed):
    rng = np.random.default_rng(seed)
    for row in (labels, labels | kinds | severities):
        assert vocabulary().unknown_words(describe(row, rng).text) == ()
    assert vocabulary(simulated=False).unknown_words(describe(labels, rng).text) == ()


@given(LABELLED, st.sampled_from(TEMPLATES))
def test_no_caption_of_a_template_has_an_unknown_word(labels, template):
    assert vocabulary(template).unknown_words(caption(labels, template)) == ()


def test_every_word_is_said_of_a_simulated_cohort():
    """Nothing is called known that training captions hardly ever have."""
    table = PhantomCohort("train", 1500).table
    rng = np.random.default_rng(1)
    said = [describe(row, rng).text for row in table.to_dict("records") for _ in range(3)]
    seen = {word for text in said for word in vocabulary().words if word in text.lower()}
    assert vocabulary().words == seen


def test_the_papers_prompts_and_the_questions_of_the_encoder_are_known():
    prompts = [*EDIT_PROMPTS.values(), *OTHER_WORDS.values()]
    asked = [ask(name, np.random.default_rng(n)) for name in ATTRIBUTES for n in range(40)]
    for text in (*(t for p in prompts for t in (p.source, p.target)), *sum(asked, ()), *HEADS):
        assert vocabulary().unknown_words(text) == (), text


def test_wordings_kept_from_training_are_unknown():
    for wording in (*HELD_OUT, *UNTAUGHT):
        assert vocabulary().unknown_words(wording.pair("Edema", "edema")[1]), wording
    for words in NEVER_TRAINED:
        assert vocabulary().unknown_words(words), words


def test_what_is_known_follows_what_is_captioned():
    assert {name.replace("_", " ") for name in DEVICE_KINDS} <= set(vocabulary().devices)
    assert vocabulary(simulated=False).devices == ("support devices", "medical devices")
    assert vocabulary("poster").devices == ("support devices",)
    assert "enlarged cardiomediastinum" in vocabulary("section_2_1").findings
    assert "enlarged cardiomediastinum" not in vocabulary("listing_1").findings
    assert vocabulary("section_2_1").unknown_words("X-ray with MILD edema") == ("mild",)
    both = vocabulary("poster") | vocabulary()
    assert both.words == vocabulary("poster").words | vocabulary().words
    with pytest.raises(UsageError, match="poems"):
        vocabulary("poems")


@pytest.mark.parametrize(
    ("text", "word", "near"),
    [
        ("x-ray with severe pleural efusion", "efusion", "pleural effusion"),
        ("pleural effusions", "effusions", "pleural effusion"),
        ("with a pace maker", "pace", "pacemaker"),
        ("with a pace maker", "maker", "pacemaker"),
        ("lung opacities", "opacities", "lung opacity"),
        ("Cardiomegally", "cardiomegally", "cardiomegaly"),
        ("patient wihtout devices", "wihtout", "without"),
        # near in spelling alone, or in sense alone: neither may be offered
        ("hydrothorax", "hydrothorax", None),
        ("unenlarged heart", "unenlarged", None),
        ("hemothorax", "hemothorax", None),
        ("hepatomegaly", "hepatomegaly", None),
        ("fluid around the lung", "fluid", None),
        ("Herzvergrößerung", "herzvergrößerung", None),
    ],
)
def test_the_nearest_known_phrase(text, word, near):
    assert word in vocabulary().unknown_words(text)
    assert vocabulary().nearest(text, word) == near


@given(st.text(max_size=60))
@settings(max_examples=30)
def test_any_text_is_judged(text):
    known = vocabulary()
    for word in known.unknown_words(text):
        near = known.nearest(text, word)
        assert near is None or not known.unknown_words(near)


def record(folder: Path, captions: str, simulated: bool = True, start: object = None) -> str:
    (folder / "training").mkdir(parents=True)
    content = {"part": "unet", "simulated": simulated, "settings": {"captions": captions}}
    (folder / "training" / "unet.json").write_text(json.dumps(content | {"start": start}))
    return str(folder)


def test_a_model_knows_what_its_record_says(tmp_path):
    listed = record(tmp_path / "a", "listing_1", simulated=False)
    assert known_vocabulary(listed) == vocabulary("listing_1", False)
    (note,) = unknown_words(["mild edema", "severe oedema"], listed)
    assert "'mild'" in note and "'severe'" in note and "'oedema' (nearest known: 'edema')" in note
    assert "lung lesion" in note and "central line" not in note
    assert unknown_words(["chest x-ray showing edema", "normal"], listed) == ()


def test_what_was_trained_on_before_is_known_too(tmp_path):
    before = [{"settings": {"captions": PARAPHRASES}, "simulated": True, "start": None}]
    further = record(tmp_path / "b", "poster", start=before)
    assert unknown_words(["mild edema with a central line"], further) == ()


def test_nothing_is_claimed_of_a_model_from_elsewhere(tmp_path):
    assert unknown_words(["hydrothorax"], str(tmp_path)) == ()
    assert unknown_words(["hydrothorax"], "owner/name") == ()


def test_the_bundled_model_has_seen_what_its_records_say():
    (unet,) = [found for found in read_records("prism-mini") if found["part"] == "unet"]
    assert known_vocabulary("prism-mini") == vocabulary(unet["settings"]["captions"])
    (note,) = unknown_words(["x-ray with hydrothorax"], "prism-mini")
    assert "'hydrothorax'" in note and "pleural effusion" in note and "chest drain" in note
