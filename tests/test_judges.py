"""Judges: their pools, how they are calibrated and measured, and that nobody is met twice."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from prismlib.cohorts import pools
from prismlib.cohorts.labels import ATTRIBUTES, in_picture, normal
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.cohorts.pools import LEAK, POOLS, leak_rows, open_pool
from prismlib.cohorts.sealed import SEALED_LISTS, SEALED_N
from prismlib.config import load_profile
from prismlib.errors import UsageError
from prismlib.measures import judges
from prismlib.measures.judges import Answers, judge_rows, resampled, score_row, strata
from prismlib.models import judging, train_classifier, weights
from prismlib.models.alexnet import prism_alexnet
from prismlib.models.augmentation import Variation, moved_by, varied
from prismlib.models.calibration import best_threshold, fold_in, platt
from prismlib.models.classifiers import Classifier, Network, prepared
from prismlib.models.data import prepare_images
from prismlib.models.latents import prepare_latents
from prismlib.models.readers import DemographicsReader, PatientVerifier, SignsReader
from prismlib.models.roles import ROLES, SIGNS, anatomical_targets, auxiliary, find_role, targets
from prismlib.models.train_classifier import (
    ClassifierSettings,
    objective_for,
    untrained,
    without_auxiliary,
)
from prismlib.models.training import fit, settings_from

torch.set_num_threads(1)
FULL = load_profile("full")


# Pools


def patients(role, n=None):
    pool = POOLS[role]
    rows = np.arange(pool.first, pool.last if n is None else pool.first + n)
    cohort = PhantomCohort(pool.split, int(rows[-1]) + 1, seed=FULL.seed, spurious=pool.spurious)
    return set(cohort.table["Patient"].iloc[rows])


def test_no_judge_shares_a_patient_with_another_nor_with_the_test_list():
    everybody = {role: patients(role) for role in POOLS}
    lists = [PhantomCohort("test", SEALED_N, seed=seed).table for seed in SEALED_LISTS.values()]
    everybody["the test lists"] = {patient for each in lists for patient in each["Patient"]}
    everybody["development"] = set(PhantomCohort("development", 5000).table["Patient"])
    for first, second in itertools.combinations(everybody, 2):
        assert not everybody[first] & everybody[second], f"{first} and {second}"


def test_a_role_has_a_pool_and_a_folder_of_its_own():
    assert set(ROLES) <= {*POOLS, *LEAK}
    folders = [role.folder for role in ROLES.values()]
    assert len(set(folders)) == len(folders)
    assert set(folders) <= set(weights.PARTS), "else the manifest leaves it out"


@pytest.mark.parametrize("role", [*POOLS])
def test_a_pool_begins_where_patients_do_and_grows_at_its_end(role):
    few, more = open_pool(FULL, role, 70), open_pool(FULL, role, 140)
    pd.testing.assert_frame_equal(few.table, more.table.iloc[:70])
    assert POOLS[role].first % 64 == 0
    np.testing.assert_array_equal(few.image(1), more.image(1))


def test_the_judges_pool_has_no_link_of_devices_with_effusion():
    table = open_pool(FULL, "judge", 20_000).table
    lines = table[["device:central_line", "device:chest_drain", "device:endotracheal_tube"]]
    drawn = lines.any(axis=1)
    effusion = in_picture(table, "Pleural Effusion")
    natural = open_pool(FULL, "biased", 20_000).table
    worn = natural[lines.columns].any(axis=1)
    there = in_picture(natural, "Pleural Effusion")
    assert abs(drawn[effusion].mean() - drawn[~effusion].mean()) < 0.03
    assert worn[there].mean() - worn[~there].mean() > 0.1


def test_normal_subjects_have_nothing_and_grow_at_the_end():
    few, more = (open_pool(FULL, "normal", n) for n in (5, 9))
    assert normal(more.table).all() and set(more.table["Patient"]) <= patients("biased", 64_000)
    pd.testing.assert_frame_equal(few.table, more.table.iloc[:5])
    np.testing.assert_array_equal(few.image(4), more.image(4))
    with pytest.raises(UsageError, match="pool 'normal'; it has"):
        open_pool(FULL, "normal", 64_000)


def test_more_than_a_pool_has_and_unknown_roles_are_refused():
    with pytest.raises(UsageError, match="3000 subjects of the pool 'guide'; it has 2496"):
        open_pool(FULL, "guide", 3000)
    with pytest.raises(UsageError, match="role 'umpire'; expected one of biased, guide"):
        open_pool(FULL, "umpire", 3)
    with pytest.raises(UsageError, match="expected one of judge"):
        find_role("umpire")


def test_pools_of_a_real_cohort_share_nobody(tmp_path, monkeypatch):
    class Real:
        name, simulated = "real", False
        table = pd.DataFrame({"Patient": [f"p{k // 3}" for k in range(600)]})

        def image(self, index):
            return np.full((512, 512), index, np.float32)

    profile = load_profile("chexpert")
    monkeypatch.setattr(pools, "open_cohort", lambda *_args: Real())
    parts = {role: open_pool(profile, role) for role in POOLS if role != "biased"}
    members = [set(part.table["Patient"]) for part in parts.values()]
    for first, second in itertools.combinations(members, 2):
        assert not first & second
    assert set().union(*members) == set(Real.table["Patient"])
    part = parts["judge"]
    assert part.image(2)[0, 0] == part.rows[2]


def test_the_leak_is_in_the_training_set_and_nowhere_else():
    table = open_pool(FULL, "biased", 1500).table
    rows = leak_rows(table)
    assert len(rows.leaky) == len(rows.strict) > 500
    assert not set(rows.test) & (set(rows.leaky) | set(rows.strict))
    tested = set(table.loc[rows.test, "Patient"])
    assert not tested & set(table.loc[rows.strict, "Patient"])
    shared = table.loc[rows.test, "Patient"].isin(table.loc[rows.leaky, "Patient"])
    assert shared.mean() > 0.4
    assert len(open_pool(FULL, "strict", 1500)) == len(rows.strict)


# What goes into a network


@given(st.integers(0, 10**6))
def test_folding_keeps_every_pixel(seed):
    pixels = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    folded = prepared(pixels, 0.5, 0.25, 4)
    assert folded.shape == (2, 16, 4, 4)
    assert torch.equal(
        folded.flatten(1).sort().values, ((pixels - 0.5) / 0.25).flatten(1).sort()[0]
    )
    back = torch.nn.functional.pixel_shuffle(folded, 4) * 0.25 + 0.5
    torch.testing.assert_close(back, pixels)


def test_without_variation_an_image_is_itself():
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 24), dtype=np.uint8)
    still = Variation(0, 0, 0, 0, 0, 0)
    drawn = varied(images, np.random.default_rng(1), still)
    torch.testing.assert_close(drawn[:, 0], torch.from_numpy(images / 255).float())


def test_variation_is_the_seeds_and_blurs_some():
    images = np.random.default_rng(0).integers(0, 256, (40, 64, 64), dtype=np.uint8)
    strong = Variation(0, 0, 0, 0, blur=24.0, noise=0)
    first, again = (varied(images, np.random.default_rng(5), strong) for _ in range(2))
    assert torch.equal(first, again)
    spread = first.flatten(1).std(1)
    softened = (spread < 0.2).sum()
    assert 2 <= softened <= 25
    assert first.min() >= 0 and first.max() <= 1


def test_a_moved_image_repeats_its_border():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    moved = moved_by(image, 1, -2)
    np.testing.assert_array_equal(moved, [[2, 3, 3, 3], [2, 3, 3, 3], [6, 7, 7, 7]])
    np.testing.assert_array_equal(moved_by(image, 0, 0), image)


def test_alexnet_has_its_convolutions_and_a_small_head():
    from torchvision.models import alexnet

    ours, theirs = prism_alexnet(in_chans=3, num_classes=1), alexnet(weights=None)

    def shapes(net):
        return [tuple(m.weight.shape) for m in net if isinstance(m, torch.nn.Conv2d)]

    assert shapes(ours.features) == shapes(theirs.features)
    head = sum(p.numel() for p in [*ours.hidden.parameters(), *ours.head.parameters()])
    assert head < 0.05e6 < sum(p.numel() for p in theirs.classifier.parameters())
    assert ours(torch.rand(2, 3, 224, 224)).shape == (2, 1)


# What each role learns


def synthetic(n=48, side=32):
    """Images in which the first attribute is a bright corner; four studies a patient."""
    rng = np.random.default_rng(3)
    there = rng.random(n) < 0.5
    images = rng.integers(60, 120, (n, side, side), dtype=np.uint8)
    images[there, :12, :12] = 230
    return images, there


def tiny(role, **more):
    values = {
        "role": role,
        "image_size": 32,
        "batch_size": 8,
        "steps": 30,
        "precision": "fp32",
        "learning_rate": 3e-3,
        "warmup_steps": 2,
        "shift": 0.02,
        "ema_decay": 0.8,
    }
    return settings_from(ClassifierSettings, {**values, **more})


def test_targets_say_what_is_learnt():
    table = PhantomCohort("development", 60).table
    seen = targets(ROLES["judge"], table)
    np.testing.assert_array_equal(seen[:, 3], in_picture(table, "Support Devices"))
    said = targets(ROLES["biased"], table)
    np.testing.assert_array_equal(said[:, 0], table["Pleural Effusion"] == 1)
    assert targets(ROLES["guide"], table).shape == (60, 1)
    who = targets(ROLES["reader"], table)
    assert who[0, 0] == (table["Sex"][0] == "Male")
    assert who[0, 1] * 18 + 60 == pytest.approx(table["Age"][0])
    numbers = targets(ROLES["verifier"], table)[:, 0]
    assert len(np.unique(numbers)) == table["Patient"].nunique()


def test_auxiliary_targets_are_what_the_table_knows():
    table = PhantomCohort("development", 60).table
    also = auxiliary(ROLES["judge"], table)
    assert also.shape == (60, table.filter(regex="^(device|severity):").shape[1])
    assert set(np.unique(also)) == {0.0, 1.0}
    reported = auxiliary(ROLES["biased"], table.drop(columns=[c for c in table if ":" in c]))
    assert reported.shape == (60, 14 - 4)
    assert auxiliary(ROLES["reader"], table).shape == (60, 0)


def test_dropping_auxiliary_outputs_leaves_the_rest_as_they_were():
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    for role in ("judge", "guide"):
        own = len(ROLES[role].outputs)
        model = untrained(tiny(role, image_size=64), also=5)
        before = Network(model, [str(k) for k in range(own + 5)]).answers(images)
        after = Network(without_auxiliary(model, own), ROLES[role].outputs).answers(images)
        torch.testing.assert_close(after, before[:, :own])


def test_auxiliary_targets_teach_beside_the_roles_own():
    images, there = synthetic(16)
    wanted = np.repeat(there[:, None], 6, axis=1).astype(np.float32)
    plan = tiny("judge")
    losses = {}
    for name, targets_ in (("own", wanted[:, :4]), ("both", wanted)):
        model = untrained(plan, also=targets_.shape[1] - 4)
        objective = objective_for(ROLES["judge"], model, images, targets_, plan)
        batch = objective.draw(np.random.default_rng(0), 0, 8)
        losses[name] = float(objective(batch).detach())
    assert losses["both"] > 1.5 * losses["own"], "two means, not one over all outputs"


def test_unknown_sex_and_age_are_not_counted():
    table = pd.DataFrame({"Sex": ["Male", "Unknown"], "Age": [0, 78]})
    np.testing.assert_array_equal(
        targets(ROLES["reader"], table), [[1, np.nan], [np.nan, 1]], strict=False
    )


def test_the_reader_learns_sex_and_age_together():
    images, there = synthetic()
    wanted = np.stack([there, np.where(there, 1.0, -1.0)], axis=1)
    wanted[:3] = np.nan
    plan = tiny("reader", steps=160)
    objective = objective_for(ROLES["reader"], untrained(plan), images, wanted, plan)
    run = fit(objective, plan, report=lambda _line: None)
    train_classifier.settle_statistics(objective)
    assert run.step == 160
    table = pd.DataFrame({"Sex": np.where(there, "Male", "Female"), "Age": np.where(there, 78, 42)})
    pixels = torch.from_numpy(images)[:, None] / 255
    reader, scores = judging.finished(ROLES["reader"], objective.model, pixels, table)
    assert isinstance(reader, DemographicsReader)
    assert scores["Male"]["auc"] > 0.9
    assert scores["Age"]["mean_absolute_error_years"] < 0.7 * scores["Age"]["of_guessing_the_mean"]


def test_the_verifier_learns_who_is_who(tmp_path):
    rng = np.random.default_rng(0)
    patterns = np.repeat(rng.integers(0, 256, (24, 4, 4)), 3, axis=0).repeat(8, 1).repeat(8, 2)
    images = np.clip(patterns * 0.6 + rng.normal(50, 12, (72, 32, 32)), 0, 255).astype(np.uint8)
    whose = np.repeat(np.arange(24), 3)[:, None].astype(np.float32)
    plan = tiny("verifier", steps=60, batch_size=16)
    objective = objective_for(ROLES["verifier"], untrained(plan), images, whose, plan)
    fit(objective, plan, report=lambda _line: None)
    train_classifier.settle_statistics(objective)
    table = pd.DataFrame({"Patient": [f"p{int(k)}" for k in whose[:, 0]]})
    pixels = torch.from_numpy(images)[:, None] / 255
    verifier, scores = judging.finished(ROLES["verifier"], objective.model, pixels, table)
    assert isinstance(verifier, PatientVerifier)
    assert scores["auc"] > 0.9
    assert verifier.similarity(pixels, pixels).min() == pytest.approx(1, abs=1e-5)
    verifier.save(tmp_path / "verifier")
    again = PatientVerifier.load(tmp_path / "verifier")
    assert again.threshold == verifier.threshold
    torch.testing.assert_close(again.embed(pixels), verifier.embed(pixels), atol=5e-3, rtol=0)


def test_latents_are_taken_once_and_are_the_cohorts(tmp_path):
    cohort = open_pool(FULL, "signs", 3)
    data = prepare_images(cohort, tmp_path, report=lambda _line: None)
    table = prepare_latents(cohort, data)
    for row in range(3):
        for name, value in cohort.latents(row).items():
            assert table.loc[row, name] == pytest.approx(value), name
    (data.folder / "latents.csv").write_text("ctr\n0.25\n")
    assert prepare_latents(cohort, data)["ctr"].tolist() == [0.25], "read, not taken again"


def test_anatomical_targets_by_arithmetic():
    latents = pd.DataFrame({
        "ctr": [0.6], "thorax_width_mm": [280.0], "mm_per_pixel": [0.7],
        "effusion_height_right_mm": [56.0], "effusion_height_left_mm": [0.0],
        "costophrenic_angle_right": [90.0], "costophrenic_angle_left": [30.0],
    })  # fmt: skip
    expected = [0.6, 0.2, 0.0, 90.0, 30.0, 280 / (512 * 0.7)]
    np.testing.assert_allclose(anatomical_targets(latents)[0], expected, rtol=1e-6)
    scaled = targets(ROLES["signs"], latents)[0]
    centre, scale = np.array(list(SIGNS.values())).T
    np.testing.assert_allclose(scaled * scale + centre, expected, rtol=1e-5, atol=1e-6)


def test_heights_in_mm_follow_from_the_width_that_is_read():
    reader = SignsReader(untrained(tiny("signs")), ROLES["signs"].outputs)
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    raw = dict(zip(reader.outputs, reader.answers(images).numpy().T, strict=True))
    shares, in_mm = reader.read(images), reader.read(images, np.array([0.5, 0.7]))
    assert (shares["fluid_height_left"] >= 0).all() and "thorax_width" not in shares
    expected = shares["fluid_height_left"] * raw["thorax_width"] * 512 * np.array([0.5, 0.7])
    np.testing.assert_allclose(in_mm["fluid_height_left"], expected, rtol=1e-5)
    np.testing.assert_array_equal(in_mm["cardiothoracic_ratio"], shares["cardiothoracic_ratio"])


def test_the_measurer_learns_a_width():
    rng = np.random.default_rng(0)
    widths = rng.uniform(6, 26, 64)
    columns = np.arange(32)
    bright = np.abs(columns - 16) < widths[:, None] / 2
    images = np.repeat((60 + 150 * bright)[:, None, :], 32, axis=1).astype(np.uint8)
    wanted = np.repeat(((widths - 16) / 6)[:, None], 6, axis=1).astype(np.float32)
    plan = tiny("signs", steps=80, batch_size=16)
    objective = objective_for(ROLES["signs"], untrained(plan), images, wanted, plan)
    fit(objective, plan, report=lambda _line: None)
    train_classifier.settle_statistics(objective)
    answers = Network(objective.model, ROLES["signs"].outputs).answers(
        torch.from_numpy(images)[:, None] / 255
    )
    assert np.corrcoef(answers[:, 0], widths)[0, 1] > 0.9


def test_a_verifier_needs_two_studies_of_two_patients():
    images = np.zeros((4, 32, 32), np.uint8)
    plan = tiny("verifier")
    with pytest.raises(UsageError, match="1 patients have two studies among 4"):
        objective_for(
            ROLES["verifier"], untrained(plan), images, np.array([[0.0], [0], [1], [2]]), plan
        )


def test_pairs_of_one_patient_and_of_others():
    embeddings = torch.eye(3).repeat_interleave(2, 0)
    same, other = judging.pair_similarities(embeddings, ["a", "a", "b", "b", "c", "c"])
    assert same.tolist() == [1, 1, 1] and other.tolist() == [0, 0, 0]
    assert judging.equal_error(same, other) == (1.0, 0.0)
    assert all(math.isnan(v) for v in judging.equal_error(same[:0], other))
    level, rate = judging.equal_error(np.array([0.2, 0.6, 0.8]), np.array([0.1, 0.3, 0.7]))
    assert rate == pytest.approx(1 / 3)
    assert 0.2 <= level <= 0.7


def test_the_same_seed_trains_the_same_judge():
    images, there = synthetic()
    wanted = np.repeat(there[:, None], 4, axis=1).astype(np.float32)
    nets = []
    for seed in (1, 1, 2):
        plan = tiny("judge", seed=seed, steps=4)
        objective = objective_for(ROLES["judge"], untrained(plan), images, wanted, plan)
        fit(objective, plan, report=lambda _line: None)
        nets.append(torch.cat([p.flatten() for p in objective.parameters()]))
    assert torch.equal(nets[0], nets[1])
    assert not torch.equal(nets[0], nets[2])


# Calibration


def test_platt_finds_the_slope_and_offset_that_were_put_in():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20_000)
    truth = (rng.random(20_000) < 1 / (1 + np.exp(-true))).astype(float)
    slope, offset = platt((true - 1) / 3, truth)
    assert slope == pytest.approx(3, rel=0.05)
    assert offset == pytest.approx(1, abs=0.08)
    truth[:5] = np.nan
    assert platt(true, np.where(np.arange(20_000) < 3, 1.0, 0.0)) == (1.0, 0.0)
    assert platt(-true, truth) == (1.0, 0.0), "a head that falls is left as it is"


@given(st.integers(0, 10**6))
def test_no_threshold_beats_the_chosen_one(seed):
    rng = np.random.default_rng(seed)
    truth = (rng.random(60) < 0.5).astype(float)
    if min(truth.sum(), 60 - truth.sum()) < 8:
        return
    scores = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    best = balanced_accuracy_score(truth, scores >= best_threshold(scores, truth))
    others = [balanced_accuracy_score(truth, scores >= level) for level in np.linspace(0, 1, 41)]
    assert best >= max(others) - 1e-12


@pytest.mark.parametrize("role", ["judge", "guide"])
def test_calibration_is_inside_the_weights(role, tmp_path):
    plan = tiny(role, image_size=64)
    model = untrained(plan)
    heads = len(ROLES[role].outputs)
    images = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    before = Classifier(model, ROLES[role].outputs).logits(images)
    fold_in(model, np.full(heads, 2.0), np.arange(heads) - 1.0)
    classifier = Classifier(model, ROLES[role].outputs, settings={"thresholds": {"x": 0.2}})
    torch.testing.assert_close(classifier.logits(images), 2 * before + torch.arange(heads) - 1.0)
    classifier.save(tmp_path / "net")
    again = Classifier.load(tmp_path / "net")
    torch.testing.assert_close(again.logits(images), classifier.logits(images), atol=0.02, rtol=0)
    assert again.threshold("x") == 0.2 and again.threshold("y") == 0.5
    assert (again.boundaries == 0).all(), "the logit of 0.5, where nobody chose"


def test_a_network_with_unnamed_outputs_is_refused():
    with pytest.raises(UsageError, match=r"4 outputs; expected .* one named output each"):
        Network(untrained(tiny("judge")), ("Pleural Effusion",))


# The table


def some_answers(n=300, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    scores = np.round(np.clip(rng.normal(0.3 + 0.3 * truth, 0.2), 0, 1), 2)
    return Answers(scores, truth, rng.integers(0, n // 2, n), 0.45)


def test_the_scores_are_the_libraries():
    answers = some_answers()
    decided = answers.probabilities >= 0.45
    row = score_row(answers, draws=200)
    assert row["balanced_accuracy"] == balanced_accuracy_score(answers.truth, decided)
    assert row["auc"] == roc_auc_score(answers.truth, answers.probabilities)
    assert row["majority_accuracy"] == 1 - answers.truth.mean()
    assert row["n_positive"] == answers.truth.sum()
    for name in judges.SCORES:
        assert row[f"{name}_low"] <= row[f"{name}_high"]
    for name in ("accuracy", "balanced_accuracy", "auc"):
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]


def test_calibration_error_by_hand():
    chances = np.array([0.05, 0.05, 0.95, 0.95])
    answers = Answers(chances, np.array([False, True, True, True]), np.arange(4))
    assert judges.calibration_error(answers) == pytest.approx(0.5 * 0.45 + 0.5 * 0.05, abs=1e-6)


def test_resampled_patients_are_weights_and_agree_with_a_second_implementation():
    answers = some_answers(80, seed=4)
    samples = resampled(answers, draws=6, seed=9)
    _, whose = np.unique(answers.patients, return_inverse=True)
    count = whose.max() + 1
    drawn = np.random.default_rng(9).multinomial(count, np.full(count, 1 / count), size=6)
    for number, times in enumerate(drawn):
        rows = np.repeat(np.arange(80), times[whose])
        again = answers.only(rows)
        for name, measure in judges.SCORES.items():
            assert samples[name][number] == pytest.approx(measure(again), abs=1e-6), name


def test_two_judges_are_compared_on_the_same_patients():
    one = some_answers(200, seed=1)
    worse = Answers(1 - one.probabilities, one.truth, one.patients, one.threshold)
    row = judges.compared(one, worse, draws=100)
    assert row["auc_gain"] == pytest.approx(judges.auc(one) - judges.auc(worse))
    assert row["auc_gain_low"] > 0
    same = judges.compared(one, one, draws=100)
    assert same["accuracy_gain_low"] == same["accuracy_gain_high"] == 0


def test_what_accuracy_gains_over_the_majority_by_hand():
    chances, truth = np.array([0.9, 0.1, 0.2, 0.8]), np.array([True, False, False, False])
    assert judges.gain(Answers(chances, truth, np.arange(4))) == 0.75 - 0.75
    assert judges.gain(Answers(np.array([0.9, 0, 0, 0]), truth, np.arange(4))) == 0.25


def test_a_single_class_has_accuracy_and_no_area():
    answers = Answers(np.array([0.2, 0.7]), np.array([True, True]), np.array(["a", "b"]))
    row = score_row(answers, draws=20)
    assert row["accuracy"] == 0.5
    assert math.isnan(row["auc"]) and math.isnan(row["balanced_accuracy_high"])
    nobody = score_row(answers.only(np.array([False, False])))
    assert nobody["n_test"] == 0 and math.isnan(nobody["accuracy"])


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_strata_hold_who_they_name(attribute):
    table = PhantomCohort("development", 400).table
    there = in_picture(table, attribute).to_numpy()
    groups = strata(table, attribute)
    assert groups["all"].all()
    kept = there if attribute == "No Finding" else ~there
    for name, members in groups.items():
        assert members.any(), name
        if name.startswith(("severity", "one", "two", "three", "visible")):
            assert members[kept].all()
    sexes = groups["sex Female"].astype(int) + groups["sex Male"]
    ages = sum(members.astype(int) for name, members in groups.items() if name.startswith("age"))
    assert (sexes == 1).all() and (ages == 1).all()
    if attribute == "Pleural Effusion":
        usual = groups["severity usual"] & there
        severity = table.loc[usual, "severity:Pleural Effusion"]
        assert severity.between(0.3, 0.65, inclusive="left").all()


def test_a_table_of_reports_alone_has_no_severities():
    table = PhantomCohort("development", 40).table
    reported = table.drop(columns=[c for c in table if ":" in c])
    names = strata(reported, "Pleural Effusion")
    assert "visible" not in names and "view AP" in names


def test_rows_of_the_table():
    class Judge:
        attributes = ATTRIBUTES

        def threshold(self, attribute):
            return 0.5

    table = PhantomCohort("development", 120).table
    truth = np.stack([in_picture(table, a) for a in ATTRIBUTES], axis=1).astype(float)
    rows = pd.DataFrame(judge_rows(Judge(), "biased", "natural", truth, table, draws=50))
    perfect = rows[(rows["against"] == "in picture") & rows["auc"].notna()]
    assert (perfect[["accuracy", "balanced_accuracy", "auc"]] == 1).all(axis=None)
    assert (perfect["calibration_error"] == 0).all()
    everyone = rows[rows["subjects"] == "all"].set_index(["attribute", "against"])
    assert everyone.loc[("No Finding", "reported"), "paper_accuracy"] == 0.91
    scores = ("accuracy", "balanced_accuracy", "auc", "calibration_error", "majority_accuracy")
    named = ("judge", "training_cohort", "attribute", "n_test", "paper_accuracy", "paper_auc")
    assert {*scores, *named} <= set(rows)
