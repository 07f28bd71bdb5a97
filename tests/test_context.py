"""What both prompts leave unsaid is said as the image-text encoder sees it, and only that."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prismlib.captions import EDIT_PROMPTS, ONE_THING
from prismlib.captions.claims import named
from prismlib.cohorts.labels import ATTRIBUTES, LABELS, SHOWN_ATTRIBUTES
from prismlib.editing.context import BENEATH, contexts
from prismlib.editing.counterfactual import Recipe, edit

HELD = (*SHOWN_ATTRIBUTES, "Edema")
SILENT = "chest x-ray of the patient", "an x-ray of the patient"
RECIPE = Recipe("held", "virtual", 4, 3.0, context=True)


class Oracle:
    """An encoder to whom each image is its own answers: of each attribute +1 there, -1 not."""

    def embed_texts(self, texts):
        rows = [[0.0] * len(HELD) for _ in texts]
        for row, text in zip(rows, texts, strict=True):
            for place, name in enumerate(HELD):
                if name in named(text):
                    row[place] = -1.0 if " no " in text else 1.0
        return torch.tensor(rows)


def context(answers, source, target, tokenizer):
    seen = torch.tensor([[*answers, *[-1.0] * (len(HELD) - len(answers))]])
    (words,) = contexts(Oracle(), seen, [source], [target], tokenizer)
    return words


def test_what_is_seen_is_said(model):
    words = context([1.0, -1.0, 1.0], *SILENT, model.tokenizer)
    assert words == ", with pleural effusion, with no cardiomegaly, with support devices"
    prompt = ONE_THING["devices"]
    words = context([1.0, -1.0, 1.0], prompt.source, prompt.target, model.tokenizer)
    assert words == ", with pleural effusion, with no cardiomegaly"


@pytest.mark.parametrize(
    ("text", "spoken_of"),
    [
        ("chest x-ray with severe pleural effusion", {"Pleural Effusion"}),
        ("an x-ray with possible cardiomegaly", {"Cardiomegaly"}),
        ("CHEST X-RAY WITHOUT MEDICAL DEVICES", {"Support Devices"}),
        ("chest x-ray with a pacemaker", {"Support Devices"}),
        ("chest x-ray with no central line", {"Support Devices"}),
        ("chest x-ray of the patient", set()),
    ],
)
def test_a_text_speaks_of_what_it_names(text, spoken_of):
    assert named(text) == spoken_of


def test_a_prompt_for_no_finding_speaks_of_all_but_devices(model):
    prompt = EDIT_PROMPTS["remove_effusion"]
    assert named(prompt.target) == set(LABELS) - {"Support Devices"}
    words = context([1.0, 1.0, -1.0], prompt.source, prompt.target, model.tokenizer)
    assert words == ", with no support devices"


@given(st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3))
def test_no_prompt_is_contradicted(answers):
    class Long:  # takes anything
        model_max_length = 999

        def __call__(self, texts, **_):
            return {"input_ids": [text.split() for text in texts]}

    for prompt in (*ONE_THING.values(), *EDIT_PROMPTS.values()):
        words = context(answers, prompt.source, prompt.target, Long())
        assert not named(words) & (named(prompt.source) | named(prompt.target))
        assert named(words) <= {*ATTRIBUTES, *BENEATH["Pleural Effusion"]}


@pytest.mark.parametrize(("seen", "said"), [(1.0, "with edema"), (-1.0, "with no edema")])
def test_what_an_effusion_may_hide_is_held_where_it_is_taken_away(model, seen, said):
    """Fluid lies over the lung; a device or a large heart is taken away without such words."""
    answers = [1.0, -1.0, -1.0, seen]
    prompt = ONE_THING["effusion"]
    words = context(answers, prompt.source, prompt.target, model.tokenizer)
    assert words == f", with no cardiomegaly, with no support devices, {said}"
    assert "edema" not in context(answers, prompt.target, prompt.source, model.tokenizer)  # added
    for other in ("devices", "cardiomegaly"):
        prompt = ONE_THING[other]
        assert "edema" not in context(answers, prompt.source, prompt.target, model.tokenizer)
    both = "x-ray with pleural effusion, with cardiomegaly", "x-ray with no pleural effusion"
    assert "edema" not in context(answers, *both, model.tokenizer)
    asked = "x-ray with edema and pleural effusion", "x-ray with edema"
    assert "edema" not in context(answers, *asked, model.tokenizer)


def test_what_lies_beneath_is_left_out_first(model):
    """A prompt that has room for the three attributes alone keeps these."""
    prompt, answers = ONE_THING["effusion"], [1.0, -1.0, -1.0, 1.0]

    class Limited:
        model_max_length = 999

        def __call__(self, texts, **_):
            return {"input_ids": [text.split() for text in texts]}

    whole = context(answers, prompt.source, prompt.target, Limited())
    Limited.model_max_length = len((prompt.target + whole).split()) - 1
    less = context(answers, prompt.source, prompt.target, Limited())
    assert whole == f"{less}, with edema" and "no support devices" in less


def test_what_would_be_cut_is_not_said(model):
    """A prompt of the user's that fits is edited as it stands, without more words."""
    limit = model.tokenizer.model_max_length
    long = "chest x-ray " + "patient " * (limit - 6)
    assert context([1.0, 1.0, 1.0], long, "an x-ray", model.tokenizer) == ""
    assert context([1.0, 1.0, 1.0], "an x-ray", "chest x-ray", model.tokenizer) != ""


def test_a_result_says_what_was_held_and_keeps_the_users_prompts(model, encoder):
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(64, 64, generator=generator).numpy() for _ in range(3)]
    prompt = ONE_THING["effusion"]
    sources, targets = [prompt.source] * 3, [prompt.target] * 3
    held = edit(model, encoder, images, sources, targets, RECIPE, batch_size=2)
    seen = torch.stack([torch.from_numpy(image)[None] for image in images])
    words = contexts(encoder, encoder.embed_images(seen), sources, targets, model.tokenizer)
    assert [one.context for one in held] == words and all(words)
    assert {(one.source_prompt, one.target_prompt) for one in held} == {
        (prompt.source, prompt.target)
    }
    by_hand = edit(
        model,
        encoder,
        images,
        [text + more for text, more in zip(sources, words, strict=True)],
        [text + more for text, more in zip(targets, words, strict=True)],
        Recipe("by hand", "virtual", 4, 3.0),
        batch_size=2,
    )
    for one, other in zip(held, by_hand, strict=True):
        assert abs(one.image - other.image).max() < 1e-5
