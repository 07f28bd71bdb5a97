"""The training loop, its data, and the objectives of the parts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import sobel as scipy_sobel
from torch.nn.functional import mse_loss

from prismlib.captions import EDIT_PROMPTS, paraphrase
from prismlib.cohorts.labels import LABELS
from prismlib.errors import PrismError, UsageError
from prismlib.models import architectures, data, devices, predictions
from prismlib.models.devices import computes_bf16
from prismlib.models.epochs import shuffled
from prismlib.models.folding import to_channels
from prismlib.models.records import read_log, read_records, record_table
from prismlib.models.train_classifier import ClassifierObjective, fit_classifier, untrained
from prismlib.models.train_classifier import ClassifierSettings as ForClassifier
from prismlib.models.train_clip import claims, truth_table
from prismlib.models.train_unet import (
    CachedInputs,
    UnetObjective,
    UnetSettings,
    prompt_margin,
)
from prismlib.models.train_vae import sobel, standardize_latents
from prismlib.models.training import (
    CHECKPOINT,
    LOG,
    Objective,
    Settings,
    fit,
    rate_at,
    settings_from,
)

torch.set_num_threads(1)


class Line(Objective):
    """Fits y = 2x + noise; sends itself a signal where it is told to."""

    def __init__(self, stop_at=None, pause=0.0, number=signal.SIGINT):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(1, 1)
        self.draws, self.stop_at, self.pause, self.signal = 0, stop_at, pause, number

    def draw(self, rng, position, size):
        if self.stop_at == position:
            signal.raise_signal(self.signal)
        time.sleep(self.pause)
        self.draws += 1
        x = rng.standard_normal((size, 1), dtype=np.float32)
        noise = 0.1 * rng.standard_normal((size, 1), dtype=np.float32)
        return {"x": torch.from_numpy(x), "y": torch.from_numpy(2 * x + noise)}

    def forward(self, batch):
        return mse_loss(self.layer(batch["x"]).float(), batch["y"])


PLAIN = Settings(
    steps=12, batch_size=4, learning_rate=0.05, warmup_steps=2, precision="fp32", log_seconds=0.0
)


def quiet(_line):
    """Say nothing."""


def weights_of(objective):
    return torch.cat([p.detach().flatten() for p in objective.parameters()])


def test_the_loop_learns():
    objective = Line()
    plan = settings_from(Settings, {"steps": 300, "learning_rate": 0.05, "precision": "fp32"})
    run = fit(objective, plan, report=quiet)
    assert run.finished and run.step == 300
    assert objective.layer.weight.item() == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("precision", "number"), [("fp32", signal.SIGINT), ("bf16", signal.SIGTERM)]
)
def test_resumed_and_uninterrupted_runs_agree_to_the_bit(tmp_path, monkeypatch, precision, number):
    monkeypatch.setattr(devices, "computes_bf16", lambda _: True)  # slower on some, but right
    plan = settings_from(Settings, {**vars(PLAIN), "precision": precision})
    whole = Line()
    fit(whole, plan, report=quiet)
    with pytest.raises(KeyboardInterrupt):  # its fifth step is ended first
        fit(Line(stop_at=4 * 4, number=number), plan, folder=tmp_path, report=quiet)
    rest = Line()
    run = fit(rest, plan, folder=tmp_path, resume=True, report=quiet)
    assert rest.draws == 12 - 5
    assert torch.equal(weights_of(rest), weights_of(whole))
    assert list(pd.read_csv(tmp_path / LOG)["step"]) == list(range(1, 13))
    assert run.finished


def test_what_comes_out_is_the_moving_average():
    trace = []

    class Traced(Line):
        def forward(self, batch):
            trace.append(weights_of(self).clone())
            return super().forward(batch)

    objective = Traced()
    fit(objective, settings_from(Settings, {**vars(PLAIN), "ema_decay": 0.5}), report=quiet)
    after = Line()  # the last weights before averaging are not in the trace; replay them
    fit(after, settings_from(Settings, {**vars(PLAIN), "ema_decay": 0.0}), report=quiet)
    raw = [*trace[1:], weights_of(after)]
    average = trace[0]
    for step, weight in enumerate(raw, start=1):
        decay = 0.0 if step == 1 else min(0.5, step / (9 + step))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(weights_of(objective), average)


def test_max_seconds_stops_cleanly_and_anneals(tmp_path):
    plan = settings_from(Settings, {**vars(PLAIN), "steps": 10**6})
    started = time.monotonic()
    run = fit(Line(pause=0.01), plan, folder=tmp_path, max_seconds=1.0, report=quiet)
    assert time.monotonic() - started < 10
    assert not run.finished and 1 < run.step < 200
    rates = pd.read_csv(tmp_path / LOG)["learning_rate"]
    assert rates.max() > 0.8 * 0.05
    assert rates.iloc[-1] < 0.1 * 0.05
    again = fit(Line(), plan, folder=tmp_path, resume=True, max_seconds=0.3, report=quiet)
    assert again.step > run.step and again.seconds > run.seconds


def test_a_second_signal_stops_at_once_and_saves_nothing(tmp_path):
    class Impatient(Line):
        def draw(self, rng, position, size):
            signal.raise_signal(signal.SIGINT)
            return super().draw(rng, position, size)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(Impatient(stop_at=0), PLAIN, folder=tmp_path, report=quiet)
    assert not (tmp_path / CHECKPOINT).exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_validation_is_of_the_average_and_disturbs_nothing(tmp_path):
    seen = []
    objective = Line()

    def validate():
        assert not objective.training
        seen.append(objective.layer.weight.item())
        return (seen[-1] - 2) ** 2

    plan = settings_from(Settings, {**vars(PLAIN), "validation_steps": 5, "log_seconds": 1e9})
    fit(objective, plan, folder=tmp_path, validate=validate, report=quiet)
    log = pd.read_csv(tmp_path / LOG)
    assert list(log["step"]) == [5, 10, 12]  # every fifth, and the last
    np.testing.assert_allclose(log["validation"], (np.array(seen) - 2) ** 2)
    assert seen[-1] == objective.layer.weight.item()  # what is kept
    plain = Line()
    fit(plain, PLAIN, folder=tmp_path / "plain", report=quiet)
    assert torch.equal(weights_of(plain), weights_of(objective))
    assert pd.read_csv(tmp_path / "plain" / LOG)["validation"].isna().all()


def test_a_log_is_not_flooded_and_a_terminal_gets_one_line(tmp_path, capsys):
    lines = []
    fit(Line(), PLAIN, folder=tmp_path, report=lines.append)
    assert len(lines) == 2 and "min left" in lines[0]  # the first and the last of twelve rows
    assert lines[1].startswith("step 12  loss ") and "samples/s" in lines[1]
    fit(Line(), PLAIN, report=lines.append, bar=True)
    assert len(lines) == 2
    shown = capsys.readouterr().err
    assert "\r" in shown and "loss" in shown and shown.count("\n") == 0


def test_a_constant_rate_stays_where_warm_up_has_led():
    plan = settings_from(Settings, {"schedule": "constant", "warmup_steps": 2})
    assert [rate_at(plan, step, 0.9) for step in (0, 1, 5)] == [5e-4, 1e-3, 1e-3]


def test_a_checkpoint_from_before_a_setting_existed_goes_on(tmp_path):
    fit(Line(), PLAIN, folder=tmp_path, report=quiet)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    del state["settings"]["schedule"]
    torch.save(state, tmp_path / CHECKPOINT)
    more = settings_from(Settings, {**vars(PLAIN), "steps": 13})
    assert fit(Line(), more, folder=tmp_path, resume=True, report=quiet).step == 13


def test_a_failed_save_leaves_the_checkpoint_that_was_there(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        fit(Line(stop_at=5 * 4), PLAIN, folder=tmp_path, report=quiet)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full_disk(_state, path):
        Path(path).write_bytes(b"half a checkp")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        fit(Line(), PLAIN, folder=tmp_path, resume=True, report=quiet)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, LOG]


_VICTIM = """
import sys; sys.path.insert(0, {tests!r})
from test_training import PLAIN, Line, Settings, fit, settings_from
from pathlib import Path
plan = settings_from(Settings, {{**vars(PLAIN), "steps": 10**6, "checkpoint_seconds": 0.0}})
fit(Line(), plan, folder=Path({folder!r}))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    program = _VICTIM.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    victim = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not (tmp_path / CHECKPOINT).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.37)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    step = torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"]
    plan = settings_from(Settings, {**vars(PLAIN), "steps": step + 2, "checkpoint_seconds": 0.0})
    objective = Line()
    assert fit(objective, plan, folder=tmp_path, resume=True, report=quiet).step == step + 2
    assert objective.draws == 2


def test_resuming_with_other_settings_is_refused(tmp_path):
    fit(Line(), PLAIN, folder=tmp_path, report=quiet)
    other = settings_from(Settings, {**vars(PLAIN), "learning_rate": 0.01})
    with pytest.raises(UsageError, match=r"learning_rate=0\.05.*0\.01"):
        fit(Line(), other, folder=tmp_path, resume=True, report=quiet)


def test_a_loss_that_is_no_number_stops_the_run():
    class Broken(Line):
        def forward(self, batch):
            return super().forward(batch) * float("nan")

    with pytest.raises(PrismError, match="loss is nan at step 0"):
        fit(Broken(), PLAIN, report=quiet)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 1.0}, "did you mean learning_rate"),
        ({"batch_size": "many"}, "batch_size is 'many'"),
        ({"batch_size": 0}, "at least 1"),
        ({"precision": "fp8"}, "expected bf16 or fp32"),
        ({"schedule": "linear"}, "expected cosine or constant"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(UsageError, match=message):
        settings_from(Settings, values)


@pytest.mark.parametrize(
    ("supported", "able", "quicker"),
    [
        (False, {"cpu_name": "AMD EPYC"}, False),  # emulated
        (True, {"cpu_name": "AMD EPYC", "amx_bf16": False}, True),
        (True, {"cpu_name": "Intel Xeon", "amx_bf16": True}, True),
        (True, {"cpu_name": "Intel Xeon", "amx_bf16": False}, False),  # .57 of float32's rate
        (True, {"architecture": "aarch64"}, True),
    ],
)
def test_bf16_is_asked_for_only_where_it_is_quicker(monkeypatch, supported, able, quicker):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert computes_bf16(torch.device("cpu")) == quicker
    assert computes_bf16(torch.device("cuda"))


@given(n=st.integers(1, 40), seed=st.integers(0, 9), size=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_every_epoch_holds_every_sample_once(n, seed, size):
    drawn = np.concatenate([shuffled(n, seed, p, size) for p in range(0, 3 * n, size)])
    for epoch in range(2):
        assert sorted(drawn[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(step=st.integers(0, 500), progress=st.floats(0, 2))
def test_the_learning_rate_stays_in_its_bounds(step, progress):
    rate = rate_at(Settings(), step, progress)
    assert 0 <= rate <= Settings().learning_rate
    assert rate_at(Settings(), step, min(2, progress + 0.1)) <= rate
    assert rate_at(Settings(), step, 1.0) == pytest.approx(0)


class Squares:
    """A cohort of grey images; counts how often one is drawn, and can fail at one."""

    name, simulated = "squares", True

    def __init__(self, n, fail_at=None):
        self.table = pd.DataFrame({"Patient": [f"patient{i}" for i in range(n)]})
        self.calls, self.fail_at = [], fail_at

    def __len__(self):
        return len(self.table)

    def image(self, index):
        if index == self.fail_at:
            raise RuntimeError("power cut")
        self.calls.append(index)
        return np.full((512, 512), (index % 256) / 255, dtype=np.float32)

    def truth(self, index, intervention):
        return None


def test_a_broken_preparation_goes_on_where_it_stood(tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        data.prepare_images(Squares(40, fail_at=37), tmp_path, workers=1, report=quiet)
    second = Squares(40)
    images = data.prepare_images(second, tmp_path, workers=1, report=quiet)
    assert [int(image[9, 9]) for image in images.images] == list(range(40))
    assert sorted(second.calls) == [0, 20, *range(32, 40)]  # two to name it, then the last block
    third = Squares(40)
    data.prepare_images(third, tmp_path, workers=1, report=quiet)
    assert sorted(third.calls) == [0, 20]
    assert images.at(64).shape == (40, 64, 64)
    assert int(images.at(64)[7].max()) == 7


@pytest.mark.slow
def test_two_processes_prepare_what_one_does(tmp_path):
    n = data._ALONE + 7
    images = data.prepare_images(Squares(n), tmp_path, workers=2, report=quiet)
    assert [int(image[0, 0]) for image in images.images] == list(range(n))


def test_another_cohort_gets_another_folder(tmp_path):
    class Brighter(Squares):
        def image(self, index):
            return np.full((512, 512), 0.9, dtype=np.float32)

    assert data.content_key(Squares(3)) != data.content_key(Brighter(3))
    assert data.content_key(Squares(3)) != data.content_key(Squares(4))
    assert data.content_key(Squares(3)) == data.content_key(Squares(3))


def test_sobel_is_scipys():
    image = np.random.default_rng(0).random((9, 11))
    ours = sobel(torch.from_numpy(image)[None, None])[0].numpy()
    for axis, gradient in ((1, ours[0]), (0, ours[1])):
        np.testing.assert_allclose(gradient, scipy_sobel(image, axis, mode="nearest") / 8)


def test_standardizing_latents_changes_no_reconstruction():
    torch.manual_seed(0)
    vae = architectures.autoencoder().eval()
    images = torch.rand(2, 1, 64, 64)
    signed = to_channels(images, vae)
    with torch.no_grad():
        before = vae.encode(signed).latent_dist
        picture = vae.decode(before.mean).sample
        standardize_latents(vae, images)
        after = vae.encode(signed).latent_dist
        again = vae.decode(after.mean).sample
    torch.testing.assert_close(again, picture, atol=1e-4, rtol=1e-4)
    values = after.mean.transpose(0, 1).flatten(1)
    torch.testing.assert_close(values.mean(1), torch.zeros(len(values)), atol=1e-4, rtol=0)
    torch.testing.assert_close(values.std(1), torch.ones(len(values)), atol=1e-3, rtol=0)
    ratio = before.std / after.std  # the posterior's width is scaled with its mean
    torch.testing.assert_close(ratio, ratio[:1, :, :1, :1].expand_as(ratio), rtol=1e-3, atol=0)


class Oracle(torch.nn.Module):
    """A "U-Net" that answers with a constant and remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.constant = torch.nn.Parameter(torch.tensor(0.25))

    def forward(self, noisy, timesteps, encoder_hidden_states):
        self.asked = (noisy, timesteps, encoder_hidden_states)
        return type("Output", (), {"sample": torch.zeros_like(noisy) + self.constant})


def unet_objective(asked_for=predictions.NOISE, **values):
    rng = np.random.default_rng(0)
    inputs = CachedInputs(
        latents=rng.standard_normal((5, 2, 4, 4)).astype(np.float16),
        embeddings=np.arange(4, dtype=np.float16)[:, None, None] * np.ones((1, 3, 2), np.float16),
        captions=np.array([[1, 2]] * 4 + [[3, 3]]),
    )
    plan = settings_from(UnetSettings, values)
    scheduler = architectures.scheduler({**architectures.SCHEDULER, "prediction_type": asked_for})
    return UnetObjective(Oracle(), scheduler, inputs, plan)


def test_the_plain_loss_is_algorithm_1():
    objective = unet_objective(min_snr_gamma=0.0)
    batch = objective.draw(np.random.default_rng(1), 0, 16)
    loss = objective(batch)
    assert loss.item() == pytest.approx(mse_loss(torch.full_like(batch["noise"], 0.25),
                                                 batch["noise"]).item())  # fmt: skip
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    a = alphas[batch["timesteps"]][:, None, None, None]
    noisy = a.sqrt() * batch["latents"] + (1 - a).sqrt() * batch["noise"]
    torch.testing.assert_close(objective.unet.asked[0], noisy, atol=1e-5, rtol=1e-4)


def test_min_snr_weighs_nearly_clean_latents_less():
    objective = unet_objective(min_snr_gamma=5.0)
    timesteps = torch.tensor([0, 300, 999])
    a = architectures.scheduler().alphas_cumprod[timesteps]
    snr = a / (1 - a)
    expected = torch.minimum(snr, torch.tensor(5.0)) / snr
    torch.testing.assert_close(objective._weights(timesteps), expected)
    assert expected[0] < 0.01 and expected[2] == 1


@pytest.mark.parametrize("centre", [0.2, 0.35, 0.6])
def test_timesteps_are_drawn_around_a_centre(centre):
    drawn = unet_objective(timestep_centre=centre).draw(np.random.default_rng(1), 0, 4000)
    found = drawn["timesteps"].numpy()
    assert found.min() >= 0
    assert found.max() <= 999
    # half lie below the centre, and as many within one deviation of the logit as of any normal
    assert (found < 1000 * centre).mean() == pytest.approx(0.5, abs=0.03)
    logits = np.log((found + 0.5) / (999.5 - found)) - np.log(centre / (1 - centre))
    assert (np.abs(logits) < 0.8).mean() == pytest.approx(0.683, abs=0.03)


def test_without_a_centre_all_timesteps_are_as_likely():
    found = unet_objective().draw(np.random.default_rng(1), 0, 4000)["timesteps"].numpy()
    assert np.histogram(found, 10, (0, 1000))[0] / 4000 == pytest.approx(0.1, abs=0.03)


def test_a_centre_beyond_the_levels_is_refused():
    with pytest.raises(UsageError, match="expected 0 to less than 1"):
        unet_objective(timestep_centre=1.0)


def test_a_network_may_be_asked_for_the_velocity():
    objective = unet_objective(predictions.VELOCITY, min_snr_gamma=0.0)
    batch = objective.draw(np.random.default_rng(1), 0, 16)
    a = objective.scheduler.alphas_cumprod[batch["timesteps"]][:, None, None, None]
    velocity = a.sqrt() * batch["noise"] - (1 - a).sqrt() * batch["latents"]
    expected = (velocity - 0.25).square().mean().item()
    assert objective(batch).item() == pytest.approx(expected, rel=1e-5)
    noisy = a.sqrt() * batch["latents"] + (1 - a).sqrt() * batch["noise"]
    found = predictions.noise_from(objective.scheduler, velocity, noisy, batch["timesteps"])
    torch.testing.assert_close(found, batch["noise"], atol=1e-5, rtol=1e-4)
    one = predictions.noise_from(objective.scheduler, velocity[:1], noisy[:1],
                                 int(batch["timesteps"][0]))  # fmt: skip
    torch.testing.assert_close(one, batch["noise"][:1], atol=1e-5, rtol=1e-4)


def test_min_snr_weighs_the_clean_latents_alike_whatever_is_asked_for():
    noise, velocity = (
        unet_objective(kind, min_snr_gamma=5.0)
        for kind in (predictions.NOISE, predictions.VELOCITY)
    )
    timesteps = torch.tensor([0, 300, 600, 999])
    # an error of the velocity is one of the noise times sqrt(a), squared times SNR / (SNR + 1)
    snr = noise.snr[timesteps]
    expected = noise._weights(timesteps) * snr / (snr + 1)
    torch.testing.assert_close(velocity._weights(timesteps), expected)


def test_an_unknown_kind_of_prediction_is_refused():
    with pytest.raises(UsageError, match="prediction_type is 'sample'"):
        unet_objective("sample")(unet_objective().draw(np.random.default_rng(1), 0, 2))


def test_captions_are_dropped_as_often_as_asked():
    never = unet_objective(drop_caption=0.0).draw(np.random.default_rng(0), 0, 64)
    always = unet_objective(drop_caption=1.0).draw(np.random.default_rng(0), 0, 64)
    assert (never["embeddings"] > 0).all()
    assert (always["embeddings"] == 0).all()
    some = unet_objective(drop_caption=0.25).draw(np.random.default_rng(0), 0, 2000)
    assert (some["embeddings"][:, 0, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chest x-ray of a patient showing pleural effusion, cardiomegaly",
         {"Pleural Effusion": 1, "Cardiomegaly": 1}),
        ("Normal chest X-ray with no significant findings", {"No Finding": 1}),
        (EDIT_PROMPTS["remove_devices"].source, {"Support Devices": 1}),
        (EDIT_PROMPTS["remove_devices"].target, {"Support Devices": 0}),
        ("an x-ray with no pleural effusion, with edema, possible pneumonia",
         {"Pleural Effusion": 0, "Edema": 1}),
    ],
)  # fmt: skip
def test_claims_reads_what_a_caption_says(text, said):
    assert claims(text) == said


@given(
    values=st.lists(st.sampled_from([1.0, 0.0, -1.0, float("nan")]), min_size=14, max_size=14),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=150, deadline=None)
def test_every_paraphrase_is_true_of_its_own_row(values, seed):
    row = dict(zip(LABELS, values, strict=True))
    if 1.0 in values[1:13]:
        row["No Finding"] = float("nan")  # CheXpert never has a finding beside it
    labels = np.nan_to_num(np.array([[row[label] for label in LABELS]]))
    text = paraphrase(row, np.random.default_rng(seed))
    assert truth_table([text], labels).all(), (text, row)


def marked_images(n=48, seed=0):
    """Images with a bright patch in one of four places for each attribute that is there."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 4)) < 0.5).astype(np.float32)
    images = rng.uniform(0.3, 0.4, (n, 64, 64)).astype(np.float32)
    for column, (y, x) in enumerate([(8, 8), (8, 40), (40, 8), (40, 40)]):
        images[:, y : y + 16, x : x + 16] += 0.5 * targets[:, column, None, None]
    return images, targets


def test_a_classifier_learns_what_can_be_seen_and_again_the_same():
    images, targets = marked_images()
    same = {"seed": 3, "steps": 60, "batch_size": 16, "image_size": 64, "learning_rate": 3e-3}
    classifier = fit_classifier(images, targets, **same)
    fresh, truth = marked_images(seed=1)
    tensor = torch.from_numpy(fresh).unsqueeze(1)
    answers = classifier.probabilities(tensor).numpy()
    assert ((answers > 0.5) == truth).mean() > 0.9
    short = {**same, "steps": 3}
    first = fit_classifier(images, targets, **short).logits(tensor)
    assert torch.equal(first, fit_classifier(images, targets, **short).logits(tensor))
    other = fit_classifier(images, targets, **{**short, "seed": 4}).logits(tensor)
    assert not torch.equal(first, other)


def test_unknown_targets_teach_nothing():
    images, targets = marked_images(n=8)
    targets[:, 1] = np.nan
    plan = settings_from(ForClassifier, {"image_size": 64, "fold": 1})
    model = untrained(plan)
    objective = ClassifierObjective(model, data.as_bytes(images), targets, plan)
    objective(objective.draw(np.random.default_rng(0), 0, 8)).backward()
    gradient = model.classifier.bias.grad
    assert gradient[1] == 0 and (gradient[[0, 2, 3]] != 0).all()


def test_a_prompt_margin_is_the_difference_of_two_noise_errors():
    class Reader:
        """Predicts the true noise under the embedding 1, nothing under the embedding 0."""

        scheduler = architectures.scheduler()

        def embed(self, prompts):
            return torch.tensor([float(prompt == "fits") for prompt in prompts])[:, None, None]

        def predict_noise(self, noisy, timestep, embeddings):
            alpha = self.scheduler.alphas_cumprod[timestep]
            noise = (noisy - alpha.sqrt() * latents) / (1 - alpha).sqrt()
            return noise * embeddings[:, :, :, None]

    latents = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    margin = prompt_margin(Reader(), latents, ("fits", "does not"))
    assert margin.shape == (3,)
    np.testing.assert_allclose(margin, 1, atol=0.25)  # the variance of the noise, less zero
    np.testing.assert_allclose(
        prompt_margin(Reader(), latents, ("does not", "fits")), -margin, rtol=1e-5
    )


def test_records_become_rows(tmp_path):
    assert record_table(read_records(tmp_path)).empty
    record = {
        "part": "vae", "settings": {"batch_size": 4, "accumulation": 2}, "first_patient": "a",
        "last_patient": "b", "images": 9, "steps": 10, "minutes": 1.5, "device": "CPU",
        "measured": {"psnr": 30.0, "held_out": {"x": {"auc": 0.5}}},
    }  # fmt: skip
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "vae.json").write_text(json.dumps(record))
    table = record_table(read_records(tmp_path))
    assert list(table["measure"]) == ["psnr", "held_out: x: auc"]
    assert list(table["samples"]) == [80, 80]
    assert read_log(tmp_path, "vae").empty
