"""Loading, verifying, saving and exporting: the parts as other libraries see them."""

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_stable_diffusion import save_tiny_stable_diffusion

from prismlib import config, paths
from prismlib.captions import EDIT_PROMPTS, paraphrase
from prismlib.cli import main
from prismlib.errors import PrismError, UsageError
from prismlib.models import architectures, weights
from prismlib.models.classifiers import Classifier, Network, available_roles
from prismlib.models.clip import ImageTextEncoder, resized
from prismlib.models.pipeline import LatentDiffusion
from prismlib.models.presets import load_preset
from prismlib.models.readers import PatientVerifier
from prismlib.models.records import shareable, trained_on
from prismlib.models.roles import ROLES
from prismlib.models.tokenizers import check_length, save_tokenizer, tokenize, train_tokenizer
from prismlib.models.train_clip import ClipSettings
from prismlib.models.train_unet import UnetSettings, starting_unet
from prismlib.models.training import settings_from

torch.set_num_threads(1)

SMALL = ["--cohort-size", "2", "--held-out", "1", "--set", "steps=2", "--set", "batch_size=2"]
WORDS = [
    paraphrase({"Edema": 1.0, "Cardiomegaly": 0.0}, np.random.default_rng(i)) for i in range(9)
]
PROMPTS = [text for edit in EDIT_PROMPTS.values() for text in (edit.source, edit.target)]


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A model folder whose parts `prism train` has made, two steps each."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRISM_OUTPUT", str(folder))
        for part in ("vae", "clip", "unet", "classifier"):
            model = str(folder / "mini")
            code = main(["train", part, *SMALL, "--model", model, "--export", model])
            assert code == 0, part
    return folder / "mini"


@pytest.fixture(scope="session")
def model(trained) -> LatentDiffusion:
    return LatentDiffusion.load(trained, device="cpu")


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer([*WORDS, *PROMPTS] * 2, vocabulary=640)


def bundled() -> Path:
    folder = weights.bundled_folder()
    if not (folder / "pipeline" / "unet").is_dir():
        pytest.skip("prism-mini is not in this checkout yet")
    return folder


# What plain libraries make of the folders


def check_with_plain_libraries(folder: Path) -> None:
    import timm
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPModel, CLIPProcessor

    pipe = StableDiffusionPipeline.from_pretrained(folder / "pipeline")
    assert {part.dtype for part in (pipe.unet, pipe.vae, pipe.text_encoder)} == {torch.float32}
    pipe.set_progress_bar_config(disable=True)
    noise = torch.zeros(1, pipe.unet.config.in_channels, 4, 4)
    squares = pipe("chest x-ray", num_inference_steps=1, latents=noise, output_type="pt").images
    picture = torch.nn.functional.pixel_shuffle(squares, 64 // squares.shape[-1])  # see the card
    assert picture.shape[2:] == (64, 64) and picture.isfinite().all()
    clip = CLIPModel.from_pretrained(folder / "clip")
    processor = CLIPProcessor.from_pretrained(folder / "clip")
    inputs = processor(
        text=["no edema"],
        images=[np.zeros((300, 300, 3), np.uint8)],
        return_tensors="pt",
        padding=True,
    )
    assert clip(**inputs).logits_per_text.shape == (1, 1)
    if (folder / "grounding").is_dir():
        finder = UNet2DConditionModel.from_pretrained(folder / "grounding")
        words = torch.zeros(1, 77, pipe.unet.config.cross_attention_dim)
        cells = torch.zeros(1, pipe.unet.config.in_channels, 8, 8)
        assert finder(cells, 0, encoder_hidden_states=words).sample.shape == (1, 1, 8, 8)
    network = timm.create_model(f"local-dir:{folder / 'classifier'}", pretrained=True)
    channels, *size = network.pretrained_cfg["input_size"]
    assert network(torch.zeros(2, channels, *size)).shape == (2, 4)
    for shard in folder.rglob("*.safetensors"):
        assert shard.stat().st_size <= 15_000_000


def test_what_prism_train_exports_loads_with_plain_libraries(trained):
    check_with_plain_libraries(trained)
    assert {path.name for path in (trained / "training").iterdir()} == {
        f"{part}.{kind}"
        for part in ("vae", "clip", "unet", "classifier")
        for kind in ("csv", "json")
    }
    card = (trained / "README.md").read_text()
    assert "SIMULATED" in card and "| unet | 2 | patient100000 to patient100001 | 2 | 2 |" in card
    record = json.loads((trained / "training" / "unet.json").read_text())
    assert record["steps"] == 2 and record["simulated"] and record["images"] == 2


def test_the_bundled_model_loads_with_plain_libraries_and_is_small():
    folder = bundled()
    check_with_plain_libraries(folder)
    assert sum(path.stat().st_size for path in weights.weight_files(folder)) < 100_000_000
    assert weights.verify() == sum(
        path.relative_to(folder).parts[0] in weights.PARTS for path in weights.weight_files(folder)
    )


def test_the_bundled_pipeline_reads_text_as_the_bundled_clip_does():
    bundled()
    model, encoder = LatentDiffusion.load(), ImageTextEncoder.load()
    assert model.tokenizer.get_vocab() == encoder.tokenizer.get_vocab()
    tower = encoder.model.text_model.state_dict()
    found = model.text_encoder.state_dict()
    found = {name.removeprefix("text_model."): value for name, value in found.items()}
    assert found.keys() == tower.keys()
    assert all(torch.equal(found[name], value) for name, value in tower.items())


@pytest.mark.parametrize("what", ["pleural effusion", "cardiomegaly", "medical devices"])
def test_the_bundled_text_encoder_reads_what_is_said_and_not_how(what):
    bundled()
    model = LatentDiffusion.load()
    texts = [f"chest x-ray with {what}", f"chest radiograph showing {what}"]
    texts += [f"chest x-ray without {what}"]
    last = [len(ids) - 1 for ids in model.tokenizer(texts).input_ids]
    one, same, opposite = model.embed(texts)[range(3), last]
    assert torch.dist(one, same) < torch.dist(one, opposite)


def test_the_noise_is_section_3_1s(model):
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    torch.testing.assert_close(model.scheduler.betas, betas)
    assert not model.scheduler.config.clip_sample


# A loaded Stable Diffusion


def test_images_become_latents_and_images_again(model):
    images = torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    latents = model.encode(images)
    assert latents.shape == (2, model.vae.config.latent_channels, 4, 6)
    assert torch.equal(latents, model.encode(images))
    torch.testing.assert_close(latents[1:], model.encode(images[1:]), atol=1e-4, rtol=1e-4)
    decoded = model.decode(latents * 50)
    assert decoded.shape == (2, 1, 64, 96)
    assert decoded.min() >= 0 and decoded.max() <= 1
    noise = model.predict_noise(latents, 10, model.embed(["a", "b"]))
    assert noise.shape == latents.shape and not noise.requires_grad


def test_the_scaling_factor_goes_in_and_comes_out(model):
    images = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    plain, decoded = model.encode(images), model.decode(model.encode(images))
    before = model.vae.config.scaling_factor
    try:
        model.vae.register_to_config(scaling_factor=2 * before)
        torch.testing.assert_close(model.encode(images), 2 * plain)
        torch.testing.assert_close(model.decode(model.encode(images)), decoded)
    finally:
        model.vae.register_to_config(scaling_factor=before)


def test_a_prompt_that_is_too_long_names_its_words(model):
    long = " ".join(["with"] * 74) + " patient chest patient"
    for _ in range(2):  # tokenizing with truncation in between must not hide it
        with pytest.raises(UsageError, match=r"79 tokens.* at most 77.* words 'chest patient'"):
            model.embed(["edema", long])
        assert model.embed([long], truncate=True).shape == (1, 77, 128)
    check_length(model.tokenizer, [" ".join(["with"] * 75)])


def test_embeddings_do_not_depend_on_the_company_they_keep(model):
    alone = model.embed(["chest x-ray with edema"])
    torch.testing.assert_close(model.embed(["no", "chest x-ray with edema"])[1:], alone)


def test_the_fingerprint_follows_the_files(trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained / "pipeline", copy)
    first = LatentDiffusion.load(copy)
    assert first.weights_sha256 == LatentDiffusion.load(trained).weights_sha256
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + "\n")
    assert LatentDiffusion.load(copy).weights_sha256 != first.weights_sha256
    assert LatentDiffusion.load(copy).part_sha256("vae") == first.part_sha256("vae")


# CLIP and the classifier


def test_image_embeddings_do_not_depend_on_the_batch(trained):
    encoder = ImageTextEncoder.load(trained)
    images = torch.rand(3, 1, 512, 512, generator=torch.Generator().manual_seed(0))
    together = encoder.embed_images(images, batch_size=2)
    assert together.shape == (3, 128)
    torch.testing.assert_close(together[2:], encoder.embed_images(images[2:]), atol=1e-5, rtol=1e-4)
    assert encoder.embed_texts(["no edema", "edema"]).shape == (2, 128)


def test_our_preprocessing_is_clips_own(trained):
    from transformers import CLIPImageProcessor

    encoder = ImageTextEncoder.load(trained)
    side = encoder.size
    grey = np.random.default_rng(0).integers(0, 256, (side, side, 1), dtype=np.uint8)
    processor = CLIPImageProcessor.from_pretrained(trained / "clip")
    pixels = processor(images=[grey.repeat(3, axis=2)], return_tensors="pt")["pixel_values"]
    theirs = encoder.model.get_image_features(pixel_values=pixels)
    theirs = theirs if isinstance(theirs, torch.Tensor) else theirs.pooler_output
    ours = encoder.embed_images(torch.from_numpy(grey[None, None, ..., 0] / np.float32(255)))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_a_classifier_saved_and_loaded_judges_alike(trained, tmp_path):
    classifier = Classifier.load(trained)
    assert classifier.attributes == (
        "Pleural Effusion", "Cardiomegaly", "No Finding", "Support Devices",
    )  # fmt: skip
    images = torch.rand(3, 1, 300, 300, generator=torch.Generator().manual_seed(0))
    logits = classifier.logits(images, batch_size=2)
    assert logits.shape == (3, 4)
    torch.testing.assert_close(classifier.probabilities(images), logits.sigmoid())
    classifier.save(tmp_path / "again")
    torch.testing.assert_close(Classifier.load(tmp_path / "again").logits(images), logits)
    assert classifier.logits(images[:0]).shape == (0, 4)


def test_resizing_averages_what_it_cannot_show():
    board = torch.tensor([[0.0, 1.0] * 32, [1.0, 0.0] * 32] * 32)[None, None]
    torch.testing.assert_close(resized(board, 8), torch.full((1, 1, 8, 8), 0.5), atol=0.03, rtol=0)


# Where weights come from


@pytest.mark.parametrize("loader", [LatentDiffusion, ImageTextEncoder, Classifier])
def test_an_unknown_model_is_the_users_mistake(loader, tmp_path):
    with pytest.raises(UsageError, match="no model 'prism-maxi'"):
        loader.load("prism-maxi")
    with pytest.raises(UsageError):
        loader.load(str(tmp_path / "nowhere"))


def test_a_folder_without_parts_says_which(tmp_path, trained):
    shutil.copytree(trained / "pipeline", tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "unet")
    with pytest.raises(UsageError, match="has no unet"):
        LatentDiffusion.load(tmp_path / "half")
    assert LatentDiffusion.load(tmp_path / "half", unet=architectures.unet()).unet is not None


def test_a_torn_download_is_one_line(tmp_path, trained):
    shutil.copytree(trained / "pipeline", tmp_path / "torn")
    shard = next((tmp_path / "torn" / "unet").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(PrismError, match=r"unet cannot be loaded"):
        LatentDiffusion.load(tmp_path / "torn")


def test_the_hub_is_asked_for_owner_and_name(monkeypatch):
    from diffusers import StableDiffusionPipeline

    def offline(name, **_):
        raise OSError(f"cannot reach {name}")

    monkeypatch.setattr(StableDiffusionPipeline, "download", offline)
    with pytest.raises(UsageError, match="no model 'someone/diffusion' here nor on the hub"):
        LatentDiffusion.load("someone/diffusion")


@pytest.fixture
def listed(tmp_path):
    """A small folder of bundled files and its manifest."""
    folder, manifest = tmp_path / "prism-mini", tmp_path / "weights.yaml"
    for name in ("pipeline/vae/a.bin", "clip/b.bin", "classifier/c.bin", "training/log.csv"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(name.encode() * 10)
    weights.refresh_manifest("SIMULATED radiographs only", folder, manifest)
    return folder, manifest


def test_the_manifest_says_whose_radiographs_were_seen():
    simulated = {"part": "unet", "simulated": True}
    vae = {"part": "vae", "simulated": True, "real": {"data": "nih", "images": 629}}
    assert trained_on([simulated]) == "SIMULATED radiographs only"
    assert trained_on([simulated, vae]) == (
        "SIMULATED radiographs; vae also 629 real ones of ChestX-ray14"
    )
    assert "real" in trained_on([{"part": "unet", "simulated": False}])


def test_a_record_names_no_place_of_a_machine(tmp_path):
    assert shareable(str(tmp_path / "nih-subset")) == "nih-subset"
    for value in ("prism-mini", "owner/name", "runs/training/unet", "", 0.5, None, True):
        assert shareable(value) == value


def test_whole_files_pass(listed):
    assert weights.verify("", *listed) == 3
    assert weights.verify("clip", *listed) == 1
    assert yaml.safe_load(listed[1].read_text())["prism-mini"]["total_bytes"] == 10 * (18 + 10 + 16)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"b\.bin is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), r"b\.bin is torn: 97 bytes"),
        (lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), r"b\.bin is altered"),
    ],
)
def test_a_torn_or_altered_file_is_named_and_refused(listed, damage, message):
    damage(listed[0] / "clip/b.bin")
    with pytest.raises(PrismError, match=message):
        weights.verify("clip", *listed)
    assert weights.verify("pipeline", *listed) == 1


def test_unlisted_parts_are_not_trusted(listed):
    with pytest.raises(PrismError, match="lists no files for 'ganterfactual'"):
        weights.verify("ganterfactual", *listed)


def test_the_bundled_name_is_verified_before_it_is_loaded(monkeypatch, listed, tmp_path):
    monkeypatch.setattr(weights, "bundled_folder", lambda: listed[0])
    monkeypatch.setattr(paths, "manifests", lambda: tmp_path)
    assert weights.locate("prism-mini", "clip") == listed[0] / "clip"
    (listed[0] / "clip/b.bin").write_bytes(b"")
    with pytest.raises(PrismError, match="torn"):
        ImageTextEncoder.load("prism-mini")


def test_large_networks_are_stored_in_shards(monkeypatch, tmp_path):
    from diffusers import UNet2DConditionModel

    monkeypatch.setattr(weights, "SHARD_SIZE", "2MB")
    unet = architectures.unet()
    weights.save_pretrained(unet, tmp_path / "unet")
    shards = list((tmp_path / "unet").glob("*.safetensors"))
    assert len(shards) > 2 and max(shard.stat().st_size for shard in shards) < 2_100_000
    again = UNet2DConditionModel.from_pretrained(tmp_path / "unet").state_dict()
    for name, value in unet.state_dict().items():
        torch.testing.assert_close(again[name], value, atol=1e-3, rtol=1e-3)


def test_a_failed_save_leaves_the_old_folder(tmp_path):
    folder = tmp_path / "part"
    folder.mkdir()
    (folder / "old").write_text("whole")
    with pytest.raises(RuntimeError), weights.written_folder(folder) as temporary:
        (temporary / "new").write_text("half")
        raise RuntimeError("disk full")
    assert [path.name for path in tmp_path.rglob("*")] == ["part", "old"]
    with weights.written_folder(folder) as temporary:
        (temporary / "new").write_text("whole")
    assert [path.name for path in tmp_path.rglob("*")] == ["part", "new"]


# Tokenizer


def test_the_tokenizer_is_the_one_that_transformers_loads(tokenizer, tmp_path):
    from transformers import CLIPTokenizer

    save_tokenizer(tokenizer, tmp_path / "tokenizer")
    again = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    classic = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    for text in (*WORDS, *PROMPTS, "Zebra №5, naïve 心脏"):
        assert tokenizer(text)["input_ids"] == again(text)["input_ids"]
        assert tokenizer(text)["input_ids"] == classic(text)["input_ids"]
    assert again.model_max_length == 77
    assert len(again) <= 640


def test_words_of_the_edit_prompts_are_single_tokens(tokenizer):
    for prompt in PROMPTS:
        words = prompt.lower().replace("-", " - ").split()
        assert tokenizer.tokenize(prompt) == [f"{word}</w>" for word in words]


@given(text=st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), max_size=30))
@settings(max_examples=60, deadline=None)
def test_any_text_can_be_written_and_read_back(text):
    tokenizer = _shared_tokenizer()
    ids = tokenize(tokenizer, [text])[0]
    assert len(ids) == 77 and max(ids) < len(tokenizer)
    if ids[-2] == tokenizer.eos_token_id:  # not cut
        read = tokenizer.decode(ids, skip_special_tokens=True)
        plain = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
        assert "".join(read.split()) == "".join(plain.split())


_TOKENIZERS: list = []


def _shared_tokenizer():
    if not _TOKENIZERS:
        _TOKENIZERS.append(train_tokenizer([*WORDS, *PROMPTS] * 2, vocabulary=640))
    return _TOKENIZERS[0]


# The command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vea"], "did you mean vae"),
        (["vae", "--max-seconds", "0"], "--max-seconds is 0"),
        (["vae", "--config", "none.yaml"], "none.yaml: no such file"),
        (["vae", "--set", "steps"], "expected KEY=VALUE"),
        (["vae", "--set", "stepz=3"], "did you mean steps"),
        (["vae", "--set", "batch_size=0"], "at least 1"),
        (["vae", "--cohort-size", "0"], "at least 1"),
        (["unet", "--set", "captions=rhymes"], "captions 'rhymes'"),
        (["vae", "--set", "error=cubed"], "error 'cubed'; expected absolute or squared"),
        (["vae", "--profile", "huge"], "no profile 'huge'"),
    ],
)
def test_wrong_requests_end_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.npy"))


def test_a_trained_part_can_be_trained_on(trained, capsys, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(trained.parent))
    before = weights.fingerprint(trained)
    more = [*SMALL[:-4], "--set", "steps=3", "--set", "batch_size=2", "--resume"]
    assert main(["train", "clip", *more]) == 0
    assert "going on at step 2" in capsys.readouterr().out
    assert weights.fingerprint(trained) == before  # nothing is exported unasked


@pytest.mark.parametrize(
    ("part", "weight"), [("vae", "pipeline/vae"), ("unet", "pipeline/unet"), ("classifier", "")]
)
def test_training_starts_from_a_models_part(part, weight, trained, tmp_path, monkeypatch):
    """With next to no learning rate, what comes out is what was started from, not random."""
    monkeypatch.setenv("PRISM_OUTPUT", str(trained.parent))
    out = tmp_path / "out"
    still = ["--set", "learning_rate=1.0e-12", "--set", "weight_decay=0.0", "--model", str(trained)]
    given = ["--start", str(trained), "--out", str(out)]
    assert main(["train", part, *SMALL, *still, *given]) == 0
    record = json.loads((out / "record.json").read_text())
    assert [started["part"] for started in record["start"]] == [part]
    assert record["model"] == trained.name and str(trained.parent) not in json.dumps(record)
    if weight and part != "vae":
        name = "diffusion_pytorch_model.safetensors"
        before, after = (load_file(f / weight / name) for f in (trained, out / "model"))
        for key, value in before.items():
            torch.testing.assert_close(after[key].float(), value.float(), atol=2e-3, rtol=2e-3)


def test_a_decoder_alone_can_be_trained_further(trained, tmp_path, monkeypatch, capsys):
    """The encoder, and so every latent, stays to the last bit."""
    monkeypatch.setenv("PRISM_OUTPUT", str(trained.parent))
    only = ["train", "vae", *SMALL, "--set", "decoder_only=true", "--out", str(tmp_path)]
    assert main([*only, "--set", "linear=false"]) == 2
    assert "decoder_only goes with --start" in capsys.readouterr().err
    copy = shutil.copytree(trained, tmp_path / "mini")
    assert main([*only, "--start", str(trained), "--export", str(copy)]) == 0
    said = "all of it was trained for 2 steps, then its decoder alone was trained for 2 steps"
    assert said in " ".join((copy / "README.md").read_text().split())
    name = "pipeline/vae/diffusion_pytorch_model.safetensors"
    before, after = (load_file(at / name) for at in (trained, tmp_path / "model"))
    kept = {key for key, value in before.items() if torch.equal(value, after[key])}
    encoder = {key for key in before if key.startswith(("encoder.", "quant_conv."))}
    assert encoder <= kept and "decoder.conv_out.weight" not in kept


def test_the_card_says_that_latents_were_held(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(trained.parent))
    copy = shutil.copytree(trained, tmp_path / "mini")
    held = ["train", "vae", *SMALL, "--set", "keep_latents=0.1", "--out", str(tmp_path)]
    assert main([*held, "--start", str(trained), "--export", str(copy)]) == 0
    said = (
        "all of it was trained for 2 steps, "
        "then all of it was trained for 2 steps with its latents held near what they were."
    )
    assert said in " ".join((copy / "README.md").read_text().split())


def test_a_base_learns_from_normal_subjects_and_fine_tuning_starts_from_it(trained, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(trained.parent))
    kept = ["--set", "learning_rate=1.0e-12", "--set", "weight_decay=0.0", "--model", str(trained)]
    only = ["--set", "subjects=normal", "--export", str(trained)]
    assert main(["train", "unet", *SMALL, *kept, *only]) == 0
    base = trained / "base_unet"
    record = json.loads((trained / "training" / "base_unet.json").read_text())
    assert record["part"] == "base_unet" and record["images"] == 2 and record["start"] is None
    out = trained.parent / "from_base"
    assert main(["train", "unet", *SMALL, *kept, "--start", str(base), "--out", str(out)]) == 0
    record = json.loads((out / "record.json").read_text())
    assert [started["part"] for started in record["start"]] == ["base_unet"]
    name = "diffusion_pytorch_model.safetensors"
    before, after = (load_file(at / name) for at in (base, out / "model" / "pipeline" / "unet"))
    for key, value in before.items():
        torch.testing.assert_close(after[key].float(), value.float(), atol=2e-3, rtol=2e-3)
    unet = starting_unet(LatentDiffusion.load(trained), str(base))
    assert all(parameter.requires_grad for parameter in unet.parameters())
    for key, value in before.items():
        torch.testing.assert_close(unet.state_dict()[key], value.float())
    shutil.rmtree(base)
    for suffix in ("json", "csv"):
        (trained / "training" / f"base_unet.{suffix}").unlink()


@pytest.mark.parametrize("role", ["biased", "guide", "reader", "leaky"])
def test_every_role_is_trained_and_loaded_by_its_name(role, tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    model = tmp_path / "mini"
    size = ["--cohort-size", "40", "--held-out", "1", "--set", "image_size=64"]
    steps = ["--set", "steps=1", "--set", "batch_size=2", "--set", f"role={role}"]
    assert main(["train", "classifier", *size, *steps, "--export", str(model)]) == 0
    network = Network.load(model, role=role)
    assert network.outputs == ROLES[role].outputs and network.size == 64
    assert (model / "training" / f"{ROLES[role].folder}.json").is_file()
    assert (tmp_path / "runs" / "training" / ROLES[role].folder / "record.json").is_file()


def test_an_unknown_role_and_an_unknown_network_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    assert main(["train", "classifier", *SMALL, "--set", "role=umpire"]) == 2
    assert "role 'umpire'; expected one of judge" in capsys.readouterr().err
    assert main(["train", "classifier", *SMALL, "--set", "network=deepnet"]) == 2
    assert "deepnet cannot be made by timm" in capsys.readouterr().err


def test_the_bundled_judges_are_small_and_each_loads_by_its_role():
    folder = bundled()
    present = available_roles(weights.BUNDLED)
    assert set(present) >= {"judge", "biased", "guide", "reader", "verifier"}
    size = 0
    for role in present:
        network = Network.load(weights.BUNDLED, role=role)
        assert network.outputs == ROLES[role].outputs and network.size == ROLES[role].side
        size += sum(p.stat().st_size for p in weights.weight_files(folder / ROLES[role].folder))
    assert size <= 40_000_000
    assert PatientVerifier.load().threshold > 0
    judge = Classifier.load()
    assert all(0 < judge.threshold(name) < 1 for name in judge.attributes)


def test_clip_says_that_it_cannot_be_started_from(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    assert main(["train", "clip", *SMALL, "--start", str(trained)]) == 2
    assert "freeze_text" in capsys.readouterr().err


def test_the_text_tower_can_be_kept(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(trained.parent))
    copy = tmp_path / "mini"
    shutil.copytree(trained, copy)
    frozen = ["--out", str(tmp_path / "out"), "--model", str(copy), "--export", str(copy)]
    assert main(["train", "clip", *SMALL, "--set", "freeze_text=true", *frozen]) == 0
    before, after = (ImageTextEncoder.load(folder).model.state_dict() for folder in (trained, copy))
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept >= {name for name in before if name.startswith("text_model.")}
    assert not any(
        name.startswith("vision_model") and name.endswith("proj.weight") for name in kept
    )
    assert LatentDiffusion.load(copy).part_sha256("text_encoder") == LatentDiffusion.load(
        trained
    ).part_sha256("text_encoder")


def test_a_kept_text_tower_is_what_the_unet_reads_with(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRISM_OUTPUT", str(trained.parent))
    copy = tmp_path / "mini"
    shutil.copytree(trained, copy)
    another = copy / "pipeline/text_encoder/model.safetensors"
    save_file({name: 2 * value for name, value in load_file(another).items()}, another)
    kept = ["--set", "freeze_text=true", "--start", str(copy), "--model", str(copy)]
    out = ["--out", str(tmp_path / "out"), "--export", str(copy)]
    assert main(["train", "clip", *SMALL, *kept, *out]) == 0
    expected = load_file(trained / "pipeline/text_encoder/model.safetensors")
    found = load_file(another)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    card = (copy / "README.md").read_text()
    assert "| clip, before | " in card and "It reads with the text tower" in card
    assert "| pipeline/text_encoder | " not in card and "text tower | " not in card
    said = capsys.readouterr().out
    assert "reads with another text encoder than the one kept: export into a copy" in said
    assert main(["train", "clip", *SMALL, *kept, *out]) == 0
    assert "another text encoder" not in capsys.readouterr().out


def test_a_record_names_where_a_kept_text_tower_and_a_start_come_from(
    trained, tmp_path, monkeypatch
):
    monkeypatch.setenv("PRISM_OUTPUT", str(trained.parent))
    ways = ["--set", "freeze_text=true", "--start", str(trained), "--model", str(trained)]
    assert main(["train", "clip", *SMALL, *ways, "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    for key in ("start", "text_tower_from"):
        assert [each["part"] for each in record[key]] == ["clip"], key


def test_the_text_encoder_of_the_unet_can_be_left_alone(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(trained.parent))
    copy = tmp_path / "mini"
    shutil.copytree(trained, copy)
    words = ["--out", str(tmp_path / "out"), "--model", str(copy), "--export", str(copy)]
    more = ["--set", "keep_text_encoder=true", "--seed", "7"]
    assert main(["train", "clip", *SMALL, *more, *words]) == 0
    for name, same in (("pipeline/text_encoder", True), ("clip", False)):
        before, after = (
            load_file(folder / name / "model.safetensors") for folder in (trained, copy)
        )
        assert all(torch.equal(before[key], after[key]) for key in before) is same
    assert "| pipeline/text_encoder | " in (copy / "README.md").read_text()
    with pytest.raises(UsageError, match="give one of them"):
        ClipSettings(freeze_text=True, keep_text_encoder=True)


def test_both_towers_can_be_trained_further(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(trained.parent))
    copy = tmp_path / "mini"
    shutil.copytree(trained, copy)
    words = ["--out", str(tmp_path / "out"), "--model", str(copy), "--export", str(copy)]
    more = ["--set", "keep_text_encoder=true", "--start", str(copy), "--set", "steps=1"]
    slow = ["--set", "learning_rate=0.000001", "--set", "warmup_steps=1"]
    assert main(["train", "clip", *SMALL, *more, *slow, *words]) == 0
    before, after = (ImageTextEncoder.load(folder).model.state_dict() for folder in (trained, copy))
    near = [(before[name] - after[name]).abs().max() < 1e-3 for name in before]
    moved = [not torch.equal(before[name], after[name]) for name in before]
    assert all(near) and any(moved)
    record = json.loads((copy / "training" / "clip.json").read_text())
    assert [each["part"] for each in record["start"]] == ["clip"]
    assert LatentDiffusion.load(copy).part_sha256("text_encoder") == LatentDiffusion.load(
        trained
    ).part_sha256("text_encoder")


def test_the_card_names_every_training_that_the_weights_come_from():
    folder = weights.bundled_folder()
    record, steps = json.loads((folder / "training" / "unet.json").read_text()), []
    while record:
        steps.append(record["steps"])
        record = next(iter(record["start"] or []), None)
    assert len(steps) > 1
    rows = [line.split(" | ") for line in (folder / "README.md").read_text().splitlines()]
    told = {row[0].removeprefix("| "): row[3] for row in rows if len(row) > 3}
    assert [told["unet" + ", before" * n] for n in range(len(steps))] == [str(n) for n in steps]


# A fine-tuned U-Net, and where its frozen parts come from


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_tiny_stable_diffusion(tmp_path_factory.mktemp("base"), factor=16)


@pytest.fixture(scope="module")
def tuned(base):
    """A U-Net shaped like the base model's, with other weights."""
    unet = LatentDiffusion.load(base, device="cpu").unet
    other = type(unet).from_config(unet.config)
    generator = torch.Generator().manual_seed(5)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return other.eval()


def as_pipeline(unet, base, folder):
    shutil.copytree(base, folder)
    unet.save_pretrained(folder / "unet")


def as_pickles(unet, base, folder):
    shutil.copytree(base, folder)
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", safe_serialization=False)


def as_unet_folder(unet, base, folder):
    unet.save_pretrained(folder / "unet")


def as_unet_itself(unet, base, folder):
    unet.save_pretrained(folder, safe_serialization=False)


def as_accelerate_leaves_it(unet, base, folder):
    """As `save_state` does in the authors' training: numbers alone, beside the optimizer's."""
    checkpoint = folder / "checkpoint-99-2500"
    checkpoint.mkdir(parents=True)
    save_file(unet.state_dict(), checkpoint / "model.safetensors")
    torch.save({}, checkpoint / "optimizer.bin")


def as_numbers_of_a_parallel_run(unet, base, folder):
    folder.mkdir()
    numbers = {f"module.{name}": value for name, value in unet.state_dict().items()}
    torch.save(numbers, folder / "pytorch_model.bin")


SHAPES = [
    as_pipeline, as_pickles, as_unet_folder, as_unet_itself, as_accelerate_leaves_it,
    as_numbers_of_a_parallel_run,
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_fine_tuned_weights_are_read_in_every_shape(shape, tuned, base, tmp_path):
    shape(tuned, base, tmp_path / "weights")
    model = LatentDiffusion.load(tmp_path / "weights", device="cpu", base=base)
    for name, value in tuned.state_dict().items():
        torch.testing.assert_close(model.unet.state_dict()[name], value)
    plain = LatentDiffusion.load(base, device="cpu")
    assert torch.equal(model.embed(["edema"]), plain.embed(["edema"]))
    assert model.part_sha256("vae") == plain.part_sha256("vae")
    assert model.weights_sha256 != plain.weights_sha256


def test_a_repository_of_a_unet_alone_is_fetched_as_such(monkeypatch, tuned, base, tmp_path):
    import huggingface_hub
    from diffusers import StableDiffusionPipeline
    from huggingface_hub.errors import EntryNotFoundError

    def no_index(name, **_):
        raise EntryNotFoundError(f"{name} has no model_index.json")

    def fetched(name, allow_patterns):
        assert name == "amar-kr/PRISM"
        names = ["model.safetensors", "checkpoint-99-2500/model.safetensors", "unet/config.json"]
        wanted = [n for n in names if any(Path(n).match(p) or fnmatch(n, p)
                                          for p in allow_patterns)]  # fmt: skip
        assert wanted == names
        assert not any(fnmatch("optimizer.bin", pattern) for pattern in allow_patterns)
        as_accelerate_leaves_it(tuned, base, tmp_path / "snapshot")
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(StableDiffusionPipeline, "download", no_index)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    model = LatentDiffusion.load("amar-kr/PRISM", device="cpu", base=base)
    assert torch.equal(model.unet.conv_in.weight, tuned.conv_in.weight)
    assert model.name == "amar-kr/PRISM"


def test_weights_that_do_not_fit_are_one_line(tuned, base, tmp_path):
    as_accelerate_leaves_it(tuned, base, tmp_path / "two")
    shutil.copytree(tmp_path / "two" / "checkpoint-99-2500", tmp_path / "two" / "checkpoint-0-0")
    with pytest.raises(UsageError, match=r"2 files that may be.*name the folder of one"):
        LatentDiffusion.load(tmp_path / "two", base=base)
    (tmp_path / "other").mkdir()
    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "other" / "model.safetensors")
    with pytest.raises(PrismError, match="cannot be loaded as a U-Net"):
        LatentDiffusion.load(tmp_path / "other", base=base)
    with pytest.raises(UsageError, match="reads 128 numbers a token, the frozen parts give 32"):
        LatentDiffusion.load(base, unet=architectures.unet())


# The profile decides what the command does not say


@pytest.fixture
def chexpert(monkeypatch, chexpert_root, base, tmp_path):
    """The environment of a user who has CheXpert and a Stable Diffusion."""
    monkeypatch.setenv("PRISM_CHEXPERT_ROOT", str(chexpert_root))
    monkeypatch.setenv("PRISM_MODEL", str(base))
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    return tmp_path


FEW = ["--held-out", "4", "--set", "steps=2", "--set", "batch_size=2", "--profile", "chexpert"]


def test_fine_tuning_on_chexpert_is_the_authors(chexpert, base):
    tuned = chexpert / "tuned"
    assert main(["train", "unet", *FEW, "--export", str(tuned)]) == 0
    record = json.loads((tuned / "training" / "unet.json").read_text())
    wanted = {"learning_rate": 1e-5, "accumulation": 4, "schedule": "constant", "ema_decay": 0.0,
              "min_snr_gamma": 0.0, "drop_caption": 0.0, "captions": "listing_1"}  # fmt: skip
    assert {key: record["settings"][key] for key in wanted} == wanted
    assert record["settings"]["batch_size"] == 2  # --set wins; 8 otherwise
    assert record["cohort_size"] is None and record["images"] > 30 and not record["simulated"]
    before, after = (LatentDiffusion.load(name, device="cpu") for name in (base, tuned))
    for name, value in before.unet.state_dict().items():  # it went on from the model's own
        torch.testing.assert_close(after.unet.state_dict()[name], value, atol=1e-3, rtol=2e-3)
    for part in ("vae", "text_encoder", "tokenizer"):  # frozen, and copied byte for byte
        assert before.part_sha256(part) == after.part_sha256(part)
    from diffusers import StableDiffusionPipeline

    assert StableDiffusionPipeline.from_pretrained(tuned / "pipeline").unet is not None


def test_a_unet_can_begin_anew_and_save_memory(chexpert, base):
    more = ["--set", "gradient_checkpointing=true", "--cohort-size", "6"]
    assert main(["train", "unet", *FEW, *more]) == 0
    log = pd.read_csv(chexpert / "runs" / "training" / "unet" / "training.csv")
    plain = ["--cohort-size", "6", "--out", str(chexpert / "plain")]
    assert main(["train", "unet", *FEW, *plain]) == 0
    again = pd.read_csv(chexpert / "plain" / "training.csv")
    np.testing.assert_allclose(log["loss"], again["loss"], rtol=1e-3)
    assert log["validation"].notna().iloc[-1]


def test_a_unet_that_does_not_fit_is_refused_before_it_trains(chexpert, capsys):
    bundled()
    assert main(["train", "unet", *FEW, "--start", "prism-mini", "--cohort-size", "2"]) == 2
    assert "take both from one model" in capsys.readouterr().err


def test_presets_are_checked(tmp_path):
    assert load_preset("full", "unet") == load_preset("quick", "vae")
    assert load_preset("full", "unet").cohort_size == 3000
    assert load_preset("chexpert", "unet").from_model
    wrong_ones = {
        "{starts: model}": "did you mean start",
        "{start: afresh}": "start is 'afresh'",
        "{cohort_size: few}": "expected a number of at least 1, or all",
    }
    for wrong, message in wrong_ones.items():
        text = (paths.manifests() / "training.yaml").read_text().split("chexpert:")[0]
        (tmp_path / "training.yaml").write_text(f"{text}\nfull: {{unet: {wrong}}}\n")
        with pytest.raises(UsageError, match=message):
            load_preset("full", "unet", tmp_path / "training.yaml")
    for profile in config.profile_names():  # every preset's settings are settings
        settings_from(UnetSettings, load_preset(profile, "unet").settings)
