"""Captions are the paper's to the letter; paraphrases vary and never contradict a label."""

import re

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib import captions, paths
from prismlib.captions import (
    EDIT_PROMPTS,
    OTHER_WORDS,
    TEMPLATES,
    caption,
    describe,
    paraphrase,
    say_one,
)
from prismlib.captions.claims import asserted, claimed
from prismlib.captions.reports import read_reports, reports_path
from prismlib.captions.wordings import (
    ABSENT,
    HEADS,
    HELD_OUT,
    NEVER_TRAINED,
    PRESENT,
    TRAINED,
    UNTAUGHT,
    ask,
    questions,
)
from prismlib.cohorts.labels import ATTRIBUTES, LABELS
from prismlib.errors import PrismError, UsageError

KINDS = ("pacemaker", "central_line", "ecg_leads", "endotracheal_tube")
FINDINGS = tuple(name for name in LABELS if name not in ("No Finding", "Support Devices"))
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


VERBS = r"(with|showing|demonstrating|that shows) "
UNSEEN = re.compile(rf"\b({'|'.join(NEVER_TRAINED)})")
DEGREE = re.compile(r"^(mild|moderate|severe) ")


def parts(text):
    """What a caption says after its head, cut at commas; its head's own word of normality.

    Written apart from the code under test.
    """
    head, _, body = re.match(
        r"((?:(?:ab)?normal )?(?:frontal )?(?:an x-ray|(?:chest x-?ray|x-ray|(?:chest )?radiograph)"
        r"(?: of (?:a|the) patient)?))( |$)(.*)", text.lower()
    ).groups()  # fmt: skip
    return head, [part.strip() for part in body.split(",") if part.strip()]


def statements(text):
    """Names that a caption says are there, and names that it says are not."""
    head, body = parts(text)
    there = {"no finding"} if head.startswith("normal ") else set()
    not_there = {"no finding"} if head.startswith("abnormal ") else set()
    for part in body:
        part = re.sub(f"^{VERBS}", "", part)
        negated = re.match(r"(no|without|negative for) (.*)", part)
        if negated and negated[2] in ("finding", "significant findings"):
            there.add("no finding")
        elif part == "significant findings":
            not_there.add("no finding")
        elif negated:
            not_there.add(negated[2])
        elif not part.startswith("possible "):
            there.add(re.sub(r"^(mild|moderate|severe|lots of) ", "", part))
    return there, not_there


SEVERITY_OF = {name.lower(): f"severity:{name}" for name in FINDINGS}
DENIABLE = [name for name in ATTRIBUTES if name != "No Finding"]


def truth(labels, name):
    """The value of a label or a device kind by the words that a caption has for it."""
    name = {"medical devices": "support devices"}.get(name, name)
    for label, value in labels.items():
        if name == label.lower().removeprefix("device:").replace("_", " "):
            return value
    raise AssertionError(f"a caption speaks of {name!r}, which no label is about")


@settings(max_examples=400, deadline=None)
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


SEVERE = st.fixed_dictionaries(
    {f"severity:{label}": st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.65, 0.9]) for label in FINDINGS}
)


@settings(max_examples=400, deadline=None)
@given(ROWS, SEVERE, SEEDS)
def test_a_degree_is_the_tables_and_nothing_known_is_denied(labels, severities, seed):
    text = paraphrase(labels | severities, np.random.default_rng(seed))
    known = {name.removeprefix("severity:").lower(): s for name, s in severities.items()}
    for part in parts(text)[1]:
        part = re.sub(f"^{VERBS}", "", part)
        if found := DEGREE.match(part):
            severity = known[part.removeprefix(found[0])]
            bounds = {"mild": (0.1, 0.1), "moderate": (0.3, 0.5), "severe": (0.65, 0.9)}
            low, high = bounds[found[1]]
            assert low <= severity <= high, text
    there, not_there = statements(text)
    assert not any(known.get(name) for name in not_there), text
    assert "no finding" not in there or not any(known.values()), text


@given(ROWS, st.none() | SEVERE, st.sets(st.sampled_from(KINDS)) | st.none(), SEEDS)
def test_a_description_claims_what_its_text_says_and_is_true_of_its_row(
    labels, severities, carried, seed
):
    row = labels | (severities or {})
    row = row if carried is None else with_kinds(row, carried)
    description = describe(row, np.random.default_rng(seed))
    for claim in description.claims:
        value = row[claim.column]
        assert claim.low <= (0.0 if np.isnan(value) else value) < claim.high, description
    there, not_there = statements(description.text)
    said = {c.column.lower().removeprefix("device:").replace("_", " "): c.high > 1
            for c in description.claims if not c.column.startswith("severity:")}  # fmt: skip
    names = {"medical devices": "support devices"}
    told = {names.get(name, name): True for name in there}
    told |= {names.get(name, name): False for name in not_there}
    carried_named = {kind.replace("_", " ") for kind in KINDS} & there
    assert {**told, **({"support devices": True} if carried_named else {})} == said


@settings(max_examples=200, deadline=None)
@given(ROWS, st.none() | SEVERE, SEEDS)
def test_a_caption_of_one_thing_says_one_thing_that_is_so(labels, severities, seed):
    row = labels | (severities or {})
    text = say_one(row, np.random.default_rng(seed))
    bare = text.startswith("no ") or text.lower() in {"medical devices", *map(str.lower, LABELS)}
    there, not_there = statements(f"an x-ray {text}" if bare else text)
    assert all(truth(labels, name) == 1 for name in there), text
    assert all(truth(labels, name) != 1 and not row.get(SEVERITY_OF.get(name, ""))
               for name in not_there), text  # fmt: skip
    sure = [name for name in DENIABLE if labels[name] == 1]
    if sure:
        assert len(there) + len(not_there) == 1, text


@settings(max_examples=200, deadline=None)
@given(ROWS, SEEDS)
def test_what_is_never_trained_on_is_in_no_paraphrase_and_no_question(labels, seed):
    rng = np.random.default_rng(seed)
    texts = [paraphrase(labels, rng), say_one(labels, rng)]
    texts += [*(t for name in ATTRIBUTES for t in ask(name, rng))]
    texts += [caption(labels, template) for template in TEMPLATES]
    for text in texts:
        assert not UNSEEN.search(text.lower()), text


def test_every_held_out_wording_has_words_that_are_never_trained_on():
    for wording in (*HELD_OUT, *UNTAUGHT):
        for text in (t for pair in questions(wording).values() for t in pair):
            assert UNSEEN.search(text.lower()), text
    for wording in TRAINED:
        assert wording.head in HEADS
        assert wording.present in PRESENT and wording.absent in ABSENT


def test_a_question_is_a_sentence_and_its_negation():
    asked = questions(TRAINED[0])
    head = "chest x-ray of the patient"
    assert asked["Pleural Effusion"] == (
        f"{head} with pleural effusion", f"{head} with no pleural effusion"
    )  # fmt: skip
    assert asked["No Finding"] == (f"{head} with no finding", f"{head} with a finding")
    free = questions(UNTAUGHT[0])["Support Devices"]
    assert free == ("lungs having support devices", "lungs free of support devices")


def test_the_reports_are_read_from_the_package():
    manifest = yaml.safe_load((paths.manifests() / "radiology_reports.yaml").read_text())
    assert paths.sha256(reports_path()) == manifest["sha256"]
    reports = list(read_reports())
    assert len(reports) == manifest["reports"] == 3955
    assert sum(not report for report in reports) == manifest["blank"]
    assert "XXXX" not in "".join(reports)
    assert np.mean(["effusion" in report.lower() for report in reports]) > 0.5


def test_a_torn_archive_of_reports_is_named(tmp_path):
    torn = tmp_path / "reports.tgz"
    torn.write_bytes(reports_path().read_bytes()[:5000])
    with pytest.raises(PrismError, match=r"reports\.tgz is not the archive"):
        list(read_reports(torn))


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


@given(ROWS, SEEDS)
def test_how_much_is_denied_can_be_said(labels, seed):
    """With certainty all that may be; with none only what a row without anything else leaves."""
    absent = {name.lower() for name in DENIABLE if labels[name] == 0 or np.isnan(labels[name])}
    said = {"medical devices": "support devices"}

    def denied(chance):
        text = paraphrase(labels, np.random.default_rng(seed), chance)
        there, not_there = statements(text)
        return there, {said.get(name, name) for name in not_there} & {n.lower() for n in DENIABLE}

    assert denied(1.0)[1] == absent
    there, never = denied(0.0)
    assert not (there - {"no finding"} and never)


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


def test_what_a_caption_says_of_some_columns():
    text = "chest x-ray with edema, no pleural effusion"
    answers = asserted(claimed(text), ["Edema", "Pleural Effusion", "Cardiomegaly"])
    assert answers[:2] == [1.0, 0.0] and np.isnan(answers[2])
