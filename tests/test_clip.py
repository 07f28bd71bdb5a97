"""The image-text encoder: what it is asked, what it minimises, and how it is measured."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import log_softmax, normalize

from prismlib import paths
from prismlib.captions import Claim, Description, caption, describe
from prismlib.captions.claims import agreement, claimed, known_columns
from prismlib.captions.wordings import BARE, HELD_OUT, TRAINED, names_of, questions
from prismlib.cli import main
from prismlib.cohorts.labels import ATTRIBUTES, LABELS, in_picture, visible
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.cohorts.pools import open_pool
from prismlib.config import load_profile
from prismlib.errors import UsageError
from prismlib.models import architectures, places
from prismlib.models.clip import ImageTextEncoder
from prismlib.models.clip_patches import with_patches_of
from prismlib.models.data import TrainingImages, prepare_images
from prismlib.models.places import CELLS, Places, coarse, find_places
from prismlib.models.records import flat
from prismlib.models.tokenizers import tokenize, train_tokenizer
from prismlib.models.train_clip import (
    ClipObjective,
    ClipSettings,
    answers,
    contrast,
    head_targets,
    known_loss,
)
from prismlib.models.train_text import caption_corpus
from prismlib.models.training import settings_from
from prismlib.models.zero_shot import worst_drop, zero_shot, zero_shot_table

torch.set_num_threads(1)

SMALL = {
    **architectures.CLIP,
    "vision_config": {
        **architectures.CLIP["vision_config"], "image_size": 96, "num_hidden_layers": 1,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def cohort():
    return PhantomCohort("train", 12)


@pytest.fixture(scope="module")
def data(cohort, tmp_path_factory) -> TrainingImages:
    return prepare_images(cohort, tmp_path_factory.mktemp("cache"), workers=1)


@pytest.fixture(scope="module")
def tokenizer(cohort):
    rng = np.random.default_rng(0)
    return train_tokenizer(list(caption_corpus(cohort.table, rng)), 900)


def objective_for(data, tokenizer, found=None, **values):
    plan = settings_from(ClipSettings, {"precision": "fp32", **values})
    ids = (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = architectures.clip(*ids, config=SMALL)
        return ClipObjective(model, tokenizer, data, plan, found)


# What captions claim, and of whom it is so


def test_a_label_that_the_table_contradicts_agrees_with_neither_claim():
    table = pd.DataFrame([dict.fromkeys(LABELS, np.nan)] * 4)
    table["Edema"] = [1.0, 1.0, np.nan, 0.0]
    table["No Finding"] = [np.nan, 1.0, np.nan, 1.0]
    for name in (name for name in LABELS if name not in ("No Finding", "Support Devices")):
        table[f"severity:{name}"] = 0.0
    table["severity:Edema"] = [0.4, 0.0, 0.2, 0.0]
    table["device:pacemaker"] = [0, 1, 0, 1]
    known = known_columns(table)
    assert known["Edema"].tolist() == [1, -1, -1, 0]
    assert known["No Finding"].tolist() == [0, 1, 0, 1]
    assert known["Support Devices"].tolist() == [0, -1, 0, -1]
    assert known["device:pacemaker"].tolist() == [0, 1, 0, 1]


def test_a_table_of_reports_alone_is_taken_at_its_word():
    table = pd.DataFrame([dict.fromkeys(LABELS, np.nan)] * 2)
    table["Edema"] = [1.0, -1.0]
    known = known_columns(table)
    assert known["Edema"].tolist() == [1, -1] and known["Fracture"].tolist() == [0, 0]


def test_agreement_is_that_of_each_claim_in_turn():
    known = {"Edema": np.array([1.0, 1, 0, -1]), "severity:Edema": np.array([0.7, 0.2, 0, 0])}
    texts = [
        Description("severe", (Claim("Edema", 0.5, 2), Claim("severity:Edema", 0.65, 2))),
        Description("no", (Claim("Edema", -0.5, 0.5),)),
        Description("nothing"),
    ]
    assert agreement(texts, known).astype(int).tolist() == [
        [1, 0, 0, 0], [0, 0, 1, 0], [1, 1, 1, 1]
    ]  # fmt: skip


def test_templates_and_paraphrases_claim_what_is_true_of_their_subject(cohort):
    known, rng = known_columns(cohort.table), np.random.default_rng(0)
    said = [describe(row, rng) for row in cohort.table.to_dict("records")]
    own = np.diag(agreement(said, known))
    for i in np.flatnonzero(~own):  # where a report is wrong about its picture
        assert any(known[claim.column][i] == -1 for claim in said[i].claims), said[i]
    assert own.mean() > 0.5
    normal = claimed(caption({"No Finding": 1.0}))
    assert normal.claims == (Claim("No Finding", 0.5, np.inf),)


# What is minimised


def test_the_contrastive_loss_of_single_partners_is_info_nce():
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    expected = -(log_softmax(logits, 1).diag().mean() + log_softmax(logits, 0).diag().mean()) / 2
    torch.testing.assert_close(contrast(logits, torch.eye(5)), expected)


def test_two_texts_true_of_the_same_images_are_not_pushed_apart():
    fits = torch.ones(2, 2)
    assert contrast(torch.zeros(2, 2), fits) < contrast(4 * torch.eye(2), fits)


def test_unknown_targets_count_for_nothing_and_worth_weighs():
    logits = torch.tensor([[2.0, -1.0, 3.0]])
    targets = torch.tensor([[1.0, torch.nan, 0.0]])
    one, two = (-torch.nn.functional.logsigmoid(torch.tensor(x)) for x in (2.0, -3.0))
    torch.testing.assert_close(known_loss(logits, targets), (one + two) / 2)
    worth = torch.tensor([[3.0, 0.0, 1.0]])
    torch.testing.assert_close(known_loss(logits, targets, worth), (3 * one + two) / 4)


def test_answers_are_what_is_in_the_picture_and_weigh_the_same():
    table = PhantomCohort("train", 600).table
    found, worth = answers(table)
    for column, name in enumerate(ATTRIBUTES):
        seen = visible(table, name).to_numpy()
        assert np.array_equal(~np.isnan(found[:, column]), seen)
        assert np.array_equal(found[seen, column] == 1, in_picture(table, name)[seen])
        yes, no = (worth[found[:, column] == value, column].sum() for value in (1, 0))
        assert yes == pytest.approx(no, rel=1e-4)
    assert not worth[np.isnan(found)].any()


def test_answers_of_a_table_of_reports_are_its_labels():
    table = pd.DataFrame({name: [1.0, 0.0, -1.0, np.nan] for name in ATTRIBUTES})
    found, _ = answers(table)
    np.testing.assert_array_equal(found[:, 0], [1, 0, np.nan, 0])
    assert head_targets(table).shape == (4, 4)


def test_the_head_learns_each_device_kind_and_finding(cohort):
    targets = head_targets(cohort.table)
    known = cohort.table.filter(regex="^(device|severity):")
    assert targets.shape == (12, 4 + known.shape[1])
    assert np.array_equal(targets[:, 4:].numpy(), (known > 0).to_numpy(np.float32))


def test_a_question_reaches_both_towers(data, tokenizer):
    objective = objective_for(data, tokenizer, label_weight=0.0)
    batch = objective.draw(np.random.default_rng(0), 0, 4)
    assert batch["questions"].shape == (4, 4, 2, 77)
    assert all(len(value) == 4 for value in batch.values())
    objective(batch).backward()
    gradients = {name: p.grad for name, p in objective.model.named_parameters()}
    for name in ("visual_projection.weight", "text_projection.weight"):
        assert gradients[name].abs().sum() > 0


def test_a_strange_head_means_nothing_and_is_the_same_for_a_sentence_and_its_negation(
    data, tokenizer
):
    objective = objective_for(data, tokenizer, strange=1.0)
    end, bare = tokenizer.eos_token_id, {}
    for name in ATTRIBUTES:
        for word in names_of(name):
            ids = [tokenize(tokenizer, [text])[0] for text in BARE.pair(name, word)]
            bare |= {
                tuple(each[1 : each.index(end)]): (name, side) for side, each in enumerate(ids)
            }
    said = {token for phrase in bare for token in phrase}
    assert not said & set(objective.meaningless) and end not in objective.meaningless
    for seed in range(20):
        ids = objective._wording(np.random.default_rng(seed))
        assert ids.shape == (4, 2, 77) and (ids[..., 0] == tokenizer.bos_token_id).all()
        heads = set()
        for place, name in enumerate(ATTRIBUTES):
            for side in range(2):
                tokens = ids[place, side].tolist()
                tokens = tokens[1 : tokens.index(end)]
                first = next(i for i, token in enumerate(tokens) if token in said)
                assert bare[tuple(tokens[first:])] == (name, side)
                heads.add(tuple(tokens[:first]))
        assert len(heads) == 1 and set(*heads) <= set(objective.meaningless)
    known = objective_for(data, tokenizer, strange=0.0)
    read = tokenizer.decode(known._wording(np.random.default_rng(0))[0, 0]).lower()
    assert "effusion" in read


def test_finer_patches_answer_an_even_picture_alike(tokenizer):
    ids = (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id)
    coarse = architectures.clip(*ids, config=SMALL)
    vision = {**SMALL["vision_config"], "patch_size": 8}
    fine = architectures.clip(*ids, config={**SMALL, "vision_config": vision})
    assert with_patches_of(coarse, fine) is fine
    even = torch.full((1, 3, 96, 96), 0.3)
    seen = [m.vision_model.embeddings.patch_embedding(even).mean((2, 3)) for m in (coarse, fine)]
    torch.testing.assert_close(*seen)
    positions = [m.vision_model.embeddings.position_embedding.weight for m in (coarse, fine)]
    assert torch.equal(positions[0][0], positions[1][0])
    assert [len(each) for each in positions] == [37, 145]
    again = with_patches_of(coarse, architectures.clip(*ids, config=SMALL))
    for name, weight in coarse.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_each_process_contrasts_its_own_texts_with_its_own_images(data, tokenizer):
    objective = objective_for(data, tokenizer)
    batch = objective.draw(np.random.default_rng(0), 0, 6)
    shares = [objective.share(batch, slice(rank, None, 2)) for rank in range(2)]
    for rank, share in enumerate(shares):
        assert torch.equal(share["fits"], batch["fits"][rank::2, rank::2])
        assert torch.equal(share["ids"], batch["ids"][rank::2])
        assert share["fits"].diagonal().all() and torch.isfinite(objective(share))


def test_asked_often_enough_a_sentence_is_told_from_its_negation(data, tokenizer):
    """Four images' answers are learnt by heart, in whatever words they are asked for."""
    objective = objective_for(data, tokenizer, shift=0.0, blur=0.0)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-4)
    rng, losses = np.random.default_rng(0), []
    for _ in range(250):
        batch = objective.draw(rng, 0, 4)
        seen = objective.model.vision_model(pixel_values=batch["pixels"].expand(-1, 3, -1, -1))
        pictures = normalize(objective.model.visual_projection(seen.pooler_output), dim=-1)
        loss = objective._question_loss(torch.tensor(20.0), pictures, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)  # as `prism train` does
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert np.mean(losses[-20:]) < 0.2 * np.mean(losses[:5])


def test_the_loss_does_not_depend_on_padding(data, tokenizer):
    objective = objective_for(data, tokenizer)
    ids = torch.tensor(tokenize(tokenizer, ["an x-ray with edema", "chest x-ray"]))
    whole = objective.model.get_text_features(input_ids=ids)
    whole = whole if isinstance(whole, torch.Tensor) else whole.pooler_output
    unit = normalize(whole, dim=-1)
    torch.testing.assert_close(objective._embedded(ids), unit, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("template", ["listing_1", "section_2_1"])
def test_captions_of_a_template_are_used_to_the_letter(template, data, tokenizer):
    objective = objective_for(data, tokenizer, captions=template)
    batch = objective.draw(np.random.default_rng(0), 0, 12)
    assert "questions" not in batch
    read = {tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in batch["ids"]}
    rows = data.table.to_dict("records")
    texts = [caption(row, template) for row in rows]
    expected = [tokenizer.decode(tokenizer(t)["input_ids"], skip_special_tokens=True).strip()
                for t in texts]  # fmt: skip
    assert read == set(expected)
    assert torch.isfinite(objective(batch))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"captions": "rhymes"}, "captions 'rhymes'; expected one of paraphrases, section_2_1"),
        ({"pool": "judge"}, "pool 'judge'; expected one of train, encoder"),
        ({"pool": "encoder", "freeze_text": True}, "shares nothing"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(values, message):
    with pytest.raises(UsageError, match=message):
        settings_from(ClipSettings, values)


# Where things lie


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 24))
def test_coarse_maps_are_where_the_masks_are(seed, count):
    rng = np.random.default_rng(seed)
    names = tuple(f"thing {i}" for i in range(count))
    masks = {name: np.zeros((512, 512), dtype=bool) for name in names}
    spots = rng.integers(0, 512, (count, 2))
    for name, (y, x) in zip(names, spots, strict=True):
        masks[name][y, x] = True
    found = Places(names, coarse(masks, names)[None]).of([0], 16)
    assert found.shape == (1, count, 16, 16) and found.sum() == count
    for index, (y, x) in enumerate(spots):
        assert found[0, index, y // 32, x // 32] == 1


def test_maps_move_with_their_image():
    mask = {"wire": np.zeros((512, 512), dtype=bool)}
    mask["wire"][256:264, 256:264] = True
    stored = Places(("wire",), coarse(mask, ("wire",))[None])
    moved = stored.of([0], CELLS, np.array([[3, -5]]))
    assert np.argwhere(moved[0, 0].numpy()).tolist() == [[35, 27]]
    gone = stored.of([0], CELLS, np.array([[40, 0]]))
    assert gone.sum() == 0


def test_an_interrupted_drawing_of_maps_goes_on(cohort, data, monkeypatch):
    whole = find_places(cohort, data, workers=1, report=lambda _: None)
    (data.folder / places.FILE).unlink()
    drawn = []
    real = PhantomCohort.masks

    def dying(cohort, row):
        if len(drawn) == 5:
            raise KeyboardInterrupt
        drawn.append(row)
        return real(cohort, row)

    monkeypatch.setattr(PhantomCohort, "masks", dying)
    with pytest.raises(KeyboardInterrupt):
        find_places(cohort, data, workers=1, report=lambda _: None)
    monkeypatch.setattr(PhantomCohort, "masks", lambda c, i: drawn.append(i) or real(c, i))
    again = find_places(cohort, data, workers=1, report=lambda _: None)
    assert sorted(drawn) == list(range(12))
    assert torch.equal(again.of(range(12), 16), whole.of(range(12), 16))


def test_devices_are_where_the_maps_say(cohort, data):
    found = find_places(cohort, data, workers=1, report=lambda _: None)
    kinds = cohort.table.filter(like="device:").to_numpy()
    there = found.of(range(12), 16).amax(dim=(2, 3)).numpy()
    assert np.array_equal(there[:, : kinds.shape[1]] == 1, kinds == 1)


def test_a_pools_maps_are_of_its_own_rows(tmp_path):
    part = open_pool(load_profile("quick"), "encoder", 2)
    prepared = prepare_images(part, tmp_path, workers=1, report=lambda _: None)
    found = find_places(part, prepared, workers=1, report=lambda _: None)
    masks = part.whole.masks(int(part.rows[1]))
    expected = Places(found.names, coarse(masks, found.names)[None])
    assert torch.equal(found.of([1], 16), expected.of([0], 16))


def test_places_are_learnt_from_patches(cohort, data, tokenizer):
    found = find_places(cohort, data, workers=1, report=lambda _: None)
    batch_of = {}
    for weight in (1.0, 0.0):
        objective = objective_for(data, tokenizer, found, place_weight=weight)
        batch_of[weight] = objective.draw(np.random.default_rng(0), 0, 3)
        objective(batch_of[weight]).backward()
    assert batch_of[1.0]["places"].shape == (3, len(found.names), 6, 6)
    assert "places" not in batch_of[0.0]


# How it is measured


class Knowing:
    """An encoder that knows a subject's attributes, and reads "no" (but not "free of")."""

    def __init__(self, deaf=()):
        self.deaf = deaf

    def embed_texts(self, texts):
        return torch.stack([self._read(text.lower()) for text in texts])

    def _read(self, text):
        code = torch.full((5,), 1e-3)
        if any(head in text for head in self.deaf):
            return code
        for index, name in enumerate(("pleural effusion", "cardiomegaly", "finding", "devices")):
            if name in text:
                negated = any(f"{word} " in text for word in ("no", "without"))
                code[index] = -1.0 if negated != (name == "finding") else 1.0
        return code


@pytest.fixture(scope="module")
def table():
    return PhantomCohort("development", 400).table


def known_pictures(table):
    signs = [2.0 * in_picture(table, name).to_numpy() - 1 for name in ATTRIBUTES]
    codes = torch.from_numpy(np.stack([*signs, np.zeros(len(table))], 1)).float()
    return normalize(codes, dim=-1)


def test_an_encoder_that_knows_is_always_right_and_one_that_does_not_is_at_chance(table):
    pictures = known_pictures(table)
    measured = zero_shot_table(Knowing(), pictures, table)
    known = measured[~measured["wording"].str.startswith("untaught")]
    assert (known["balanced_accuracy"] == 1).all() and (known["auc"] == 1).all()
    untaught = measured[measured["wording"] == "untaught"]
    assert (untaught.loc[untaught["attribute"] == "Cardiomegaly", "balanced_accuracy"] == 0.5).all()
    visible_only = measured[measured["subjects"] == "visible"]
    assert set(visible_only["n"]) <= {int(visible(table, name).sum()) for name in ATTRIBUTES}
    assert worst_drop(measured) == 0
    random = torch.randn(len(table), 5, generator=torch.Generator().manual_seed(0))
    lost = zero_shot_table(Knowing(), random, table)
    assert abs(lost["auc"].mean() - 0.5) < 0.1


def test_wordings_that_are_not_understood_show_as_a_drop(table):
    deaf = Knowing(deaf=[wording.head.lower() for wording in HELD_OUT])
    measured = zero_shot_table(deaf, known_pictures(table), table)
    assert worst_drop(measured) == pytest.approx(0.5)


def test_a_single_class_gives_no_number():
    table = PhantomCohort("development", 1).table
    encoder = Knowing()
    encoder.embed_images = lambda images: torch.ones(len(images), 5)
    measured = zero_shot(encoder, torch.zeros(1, 1, 8, 8), table)
    assert set(measured) == set(ATTRIBUTES)
    assert all(np.isnan(value) for value in flat(measured).values())


# The tokenizer


def test_no_caption_is_cut_and_words_of_captions_are_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    assert main(["train", "text", "--cohort-size", "300"]) == 0
    record = json.loads((tmp_path / "runs/training/text/record.json").read_text())
    assert record["texts_cut"] == 0 and record["longest_text_tokens"] <= 77
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(
        tmp_path / "runs/training/text/model/pipeline/tokenizer"
    )
    assert len(tokenizer) <= architectures.VOCABULARY
    words = ["effusion", "cardiomegaly", "severe", "moderate", "without", "lots", "devices", "left"]
    assert [len(tokenizer.tokenize(word)) for word in words] == [1] * len(words)
    asked = [text for pair in questions(TRAINED[0]).values() for text in pair]
    assert max(len(ids) for ids in tokenizer(asked)["input_ids"]) < 20


# The commands


def test_a_second_encoder_comes_from_subjects_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    model = tmp_path / "mini"
    small = ["--cohort-size", "2", "--held-out", "1", "--set", "steps=1", "--set", "batch_size=2"]
    assert main(["train", "clip", *small, "--set", "pool=encoder", "--export", str(model)]) == 0
    record = json.loads((model / "training" / "second_clip.json").read_text())
    assert record["part"] == "second_clip" and record["first_patient"].startswith("patient9")
    assert not (model / "pipeline").exists() and not (model / "clip").exists()
    assert "`second_clip/`" in (model / "README.md").read_text()
    encoder = ImageTextEncoder.load(model, part="second_clip")
    assert encoder.embed_texts(["chest x-ray"]).shape == (1, 128)
    assert (tmp_path / "runs/training/second_clip/checkpoint.pt").is_file()


def test_the_benchmark_prints_the_bars(tmp_path):
    script = paths.root() / "benchmarks" / "clip.py"
    command = [sys.executable, str(script), "--n", "2", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(paths.root()))
    assert done.returncode == 0, done.stderr
    assert "Pleural Effusion" in done.stdout and "bar 0.90" in done.stdout
    written = pd.read_csv(tmp_path / "clip.csv")
    assert (
        set(written["subjects"]) == {"all", "visible"} and (written["domain"] == "SIMULATED").all()
    )
