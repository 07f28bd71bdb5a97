"""Captions are the paper's to the letter; paraphrases vary and never contradict a label."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib import captions
from prismlib.captions import EDIT_PROMPTS, OTHER_WORDS, TEMPLATES, caption, paraphrase
from prismlib.cohorts.labels import ATTRIBUTES, LABELS
from prismlib.errors import UsageError

KINDS = ("pacemaker", "central_line", "ecg_leads", "endotracheal_tube")
VALUES = st.sampled_from([1.0, 0.0, -1.0, np.nan])
ROWS = st.fixed_dictionaries(dict.fromkeys(LABELS, VALUES))
SEEDS = st.integers(0, 2**32 - 1)
NORMAL = "Normal chest X-ray with no significant findings"


def row(**labels):
    return {name.replace("_", " "): value for name, value in labels.items()}


def with_kinds(labels, carried):
    """A simulated subject's row: its device kinds agree with its label."""
    kinds = {f"device:{kind}": float(kind in carried) for kind in KINDS}
    return labels | kinds | {"Support Devices": 1.0 if carried else np.nan}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("section_2_1", "chest x-ray of a patient showing pleural effusion, cardiomegaly"),
        ("listing_1", "Chest X-ray showing Cardiomegaly, Pleural Effusion"),
        ("poster", "Chest X-ray of the patient showing pleural effusion, cardiomegaly"),
    ],
)
def test_the_papers_own_example(template, expected):
    labels = row(Pleural_Effusion=1.0, Cardiomegaly=1.0, Edema=-1.0, Fracture=0.0)
    assert caption(labels, template) == expected
    assert caption(pd.Series(labels), template) == expected


def test_a_normal_image_in_each_template():
    normal = row(No_Finding=1.0)
    assert caption(normal, "section_2_1") == NORMAL
    assert caption(normal, "listing_1") == "Chest X-ray showing No Finding"
    assert caption(normal, "poster") == "Chest x-ray of the patient with no significant findings"


def test_listing_1_calls_a_row_without_positive_labels_normal():
    assert caption(row(Pleural_Effusion=-1.0, Edema=np.nan), "listing_1") == NORMAL


def test_listing_1_never_mentions_the_column_it_misspells():
    enlarged = row(Enlarged_Cardiomediastinum=1.0)
    assert caption(enlarged, "listing_1") == NORMAL
    assert "enlarged cardiomediastinum" in caption(enlarged, "section_2_1")


def test_uncertain_labels_are_named_under_u_ones_alone():
    unsure = row(Pleural_Effusion=-1.0)
    assert caption(unsure, policy="u-zeros") == caption(unsure, policy="u-ignore") == NORMAL
    assert caption(unsure, policy="u-ones").endswith("showing pleural effusion")


@given(ROWS)
def test_listing_1_is_the_papers_code(labels):
    findings = [label for label in LABELS if labels[label] == 1]
    if "Enlarged Cardiomediastinum" in findings:
        findings.remove("Enlarged Cardiomediastinum")
    printed = "Chest X-ray showing " + ", ".join(findings) if findings else NORMAL
    assert caption(labels, "listing_1") == printed


def test_unknown_templates_and_policies_are_refused():
    with pytest.raises(UsageError, match=", ".join(TEMPLATES)):
        caption({}, "haiku")
    with pytest.raises(UsageError, match="u-ones"):
        caption({}, policy="u-two")


def statements(text):
    """What a caption says: names said to be there, and names said not to be.

    Written apart from the code under test: the text is cut at commas and at each connective.
    """
    text = text.lower()
    there, not_there = set(), set()
    if text.startswith("normal "):
        there.add("no finding")
    body = re.sub(r"^(normal )?(chest x-?ray of (a|the) patient|chest x-ray|x-ray of the patient"
                  r"|an x-ray)", "", text)  # fmt: skip
    for part in filter(None, (part.strip() for part in body.split(","))):
        part = re.sub(r"^(with|showing) ", "", part)
        negated = re.match(r"(no|without) (.*)", part)
        if negated and negated[2] in ("finding", "significant findings"):
            there.add("no finding")
        elif negated:
            not_there.add(negated[2])
        elif not part.startswith("possible "):
            there.add(re.sub(r"^(severe|lots of) ", "", part))
    return there, not_there


def truth(labels, name):
    """The value of a label or a device kind by the words that a caption has for it."""
    name = {"medical devices": "support devices"}.get(name, name)
    for label, value in labels.items():
        if name == label.lower().removeprefix("device:").replace("_", " "):
            return value
    raise AssertionError(f"a caption speaks of {name!r}, which no label is about")


@settings(max_examples=400)
@given(ROWS, st.sets(st.sampled_from(KINDS)) | st.none(), SEEDS)
def test_a_paraphrase_never_contradicts_a_label(labels, carried, seed):
    if carried is not None:
        labels = with_kinds(labels, carried)
    text = paraphrase(labels, np.random.default_rng(seed))
    there, not_there = statements(text)
    assert all(truth(labels, name) == 1 for name in there), text
    absent = [truth(labels, name) for name in not_there]
    assert all(value == 0 or np.isnan(value) for value in absent), text


@given(ROWS, SEEDS)
def test_what_may_be_there_is_called_possible(labels, seed):
    text = paraphrase(labels, np.random.default_rng(seed)).lower()
    for name in re.findall(r"possible ([a-z ]+)", text):
        assert truth(labels, name) == -1, text


@given(st.sets(st.sampled_from(KINDS), min_size=1), SEEDS)
def test_lots_of_devices_are_at_least_two_kinds_where_kinds_are_known(carried, seed):
    text = paraphrase(with_kinds({}, carried), np.random.default_rng(seed))
    assert len(carried) > 1 or "lots of" not in text


def many(labels, n=400):
    return [paraphrase(labels, np.random.default_rng(seed)) for seed in range(n)]


def words(texts):
    return {word for text in texts for word in re.findall(r"[a-z-]+", text.lower())}


def test_every_word_of_every_edit_prompt_is_among_the_paraphrases():
    sick = dict.fromkeys(("Pleural Effusion", "Cardiomegaly", "Support Devices"), 1.0)
    said = words(many(sick) + many({"No Finding": 1.0}))
    prompts = [*EDIT_PROMPTS.values(), *OTHER_WORDS.values()]
    asked = words([prompt for p in prompts for prompt in (p.source, p.target)])
    assert asked <= said, asked - said


def test_whole_edit_prompts_occur_as_captions():
    ill = {"Pleural Effusion": 1.0}
    assert EDIT_PROMPTS["remove_effusion"].source in many(ill, 3000)
    assert EDIT_PROMPTS["remove_devices"].source in many({"Support Devices": 1.0}, 3000)
    assert EDIT_PROMPTS["remove_effusion"].target in many({"No Finding": 1.0}, 3000)


def test_a_present_attribute_is_usually_named_and_the_wording_varies():
    effusions = many({"Pleural Effusion": 1.0, "Support Devices": 1.0})
    assert np.mean(["pleural effusion" in text for text in effusions]) > 0.75
    assert len(set(effusions)) > 100
    orders = {text.find("pleural effusion") < text.find("devices") for text in effusions}
    assert orders == {True, False}


def test_a_device_goes_by_its_name_where_the_table_has_it():
    assert any("pacemaker" in text for text in many(with_kinds({}, {"pacemaker"})))
    assert not any("pacemaker" in text for text in many({"Support Devices": 1.0}))


@given(ROWS, SEEDS)
def test_the_generator_alone_decides(labels, seed):
    first, second = (paraphrase(labels, np.random.default_rng(seed)) for _ in range(2))
    assert first == second and first


def test_the_longest_paraphrase_keeps_to_a_tokenizers_length():
    everything = dict.fromkeys((label for label in LABELS if label != "No Finding"), 1.0)
    longest = max(many(everything), key=len)
    assert len(re.findall(r"\w+|[^\w\s]", longest)) < 40 and captions.MOST_NAMED == 6


def test_edit_prompts_ask_for_what_their_name_says():
    assert set(EDIT_PROMPTS) == {
        "remove_devices", "add_devices", "remove_effusion", "remove_cardiomegaly"
    }  # fmt: skip
    for name, prompt in {**EDIT_PROMPTS, **OTHER_WORDS}.items():
        ((attribute, value),) = prompt.intervention.items()
        assert attribute in ATTRIBUTES and value == (1.0 if name.startswith("add") else 0.0)
        removed = prompt.source if value == 0 else prompt.target
        assert attribute.split()[-1].lower() in removed.lower()
