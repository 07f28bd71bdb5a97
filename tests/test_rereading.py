"""A U-Net that is given another text encoder begins near to what it knew."""

import copy
import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tiny_stable_diffusion import save_tiny_prism

from prismlib.cli import main
from prismlib.models.pipeline import LatentDiffusion
from prismlib.models.rereading import rereading
from prismlib.models.whole_prompt import with_whole_prompt

torch.set_num_threads(1)

TEXTS = [f"text {i}" for i in range(40)]
SMALL = ["--cohort-size", "3", "--held-out", "2", "--set", "steps=1", "--set", "batch_size=2"]


class Speaker:
    """An encoder whose embeddings are those of another, turned and stretched."""

    def __init__(self, turned=None):
        self.turned = torch.eye(32) if turned is None else turned

    def part_sha256(self, part):
        return str(self.turned.sum().item())

    def embed(self, texts, truncate=False):
        plain = [torch.randn(77, 32, generator=torch.Generator().manual_seed(int(t[5:])))
                 for t in texts]  # fmt: skip
        return torch.stack(plain) @ self.turned


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_prism(tmp_path_factory.mktemp("rereading") / "tiny")


@pytest.fixture(scope="module")
def speakers():
    turned = torch.randn(32, 32, generator=torch.Generator().manual_seed(5))
    return Speaker(), Speaker(turned)


def answers(unet, speaker):
    latents = torch.randn(4, unet.config.in_channels, 16, 16,
                          generator=torch.Generator().manual_seed(0))  # fmt: skip
    with torch.no_grad():
        return unet(latents, 300, encoder_hidden_states=speaker.embed(TEXTS[:4])).sample


def test_embeddings_that_are_only_turned_are_read_as_before(tiny, speakers):
    unet = LatentDiffusion.load(tiny).unet
    before, after = speakers
    expected, misread = answers(unet, before), answers(unet, after)
    read = answers(rereading(copy.deepcopy(unet), before, after, TEXTS), after)
    torch.testing.assert_close(read, expected, atol=1e-4, rtol=1e-4)
    assert (misread - expected).abs().max() > 100 * (read - expected).abs().max()


def test_the_whole_prompt_is_read_more_nearly_as_before(tiny, speakers):
    unet = with_whole_prompt(LatentDiffusion.load(tiny).unet)
    torch.nn.init.normal_(unet.add_embedding.norm2.weight, std=3.0)
    before, after = speakers
    expected, misread = answers(unet, before), answers(unet, after)
    read = answers(rereading(copy.deepcopy(unet), before, after, TEXTS), after)
    assert (read - expected).square().mean() < 0.3 * (misread - expected).square().mean()


def test_the_same_encoder_changes_nothing(tiny, speakers):
    unet = with_whole_prompt(LatentDiffusion.load(tiny).unet)
    same = rereading(copy.deepcopy(unet), speakers[0], Speaker(), TEXTS)
    for name, weight in unet.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name]), name


@pytest.mark.parametrize("part", ["unet", "grounding"])
def test_training_goes_on_beside_another_text_encoder(part, tiny, tmp_path, monkeypatch):
    """With a learning rate of nothing, what is left is the map."""
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    begun = save_tiny_prism(tmp_path / "begun")
    if part == "grounding":
        made = ["--model", str(begun), "--export", str(begun), "--out", str(tmp_path / "first")]
        assert main(["train", part, *SMALL, *made]) == 0
    other = save_tiny_prism(tmp_path / "other")
    where = other / "pipeline" / "text_encoder" / "model.safetensors"
    weights = load_file(where)
    name = next(key for key in weights if key.endswith("final_layer_norm.weight"))
    weights[name] = weights[name] * torch.linspace(0.5, 2.0, len(weights[name]))
    save_file(weights, where, {"format": "pt"})
    still = ["--set", "learning_rate=0.0", "--set", "weight_decay=0.0"]
    ways = ["--model", str(other), "--start", str(begun), "--export", str(tmp_path / "made")]
    assert main(["train", part, *SMALL, *still, *ways, "--out", str(tmp_path / "out")]) == 0
    folder = "pipeline/unet" if part == "unet" else part
    old, new = (
        UNet2DConditionModel.from_pretrained(root / folder) for root in (begun, tmp_path / "made")
    )
    speakers = [LatentDiffusion.load(root) for root in (begun, other)]
    latents = torch.randn(1, old.config.in_channels, 16, 16,
                          generator=torch.Generator().manual_seed(0))  # fmt: skip
    text = ["chest x-ray of the patient with cardiomegaly"]
    with torch.no_grad():
        said = [
            unet(latents, 300, encoder_hidden_states=speaker.embed(text)).sample
            for unet, speaker in ((old, speakers[0]), (new, speakers[1]), (old, speakers[1]))
        ]
    assert (said[1] - said[0]).square().mean() <= 0.1 * (said[2] - said[0]).square().mean() + 1e-6
    record = json.loads((tmp_path / "made" / "training" / f"{part}.json").read_text())
    assert record["start"] is not None
