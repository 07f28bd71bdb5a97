"""A U-Net that every block tells what the prompt says: nothing changes until it is trained."""

import json

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from tiny_stable_diffusion import save_tiny_prism

from prismlib.cli import main
from prismlib.editing.counterfactual import CONTROLS, Recipe, edit
from prismlib.models import architectures
from prismlib.models.clip import ImageTextEncoder
from prismlib.models.pipeline import LatentDiffusion
from prismlib.models.whole_prompt import reads_whole_prompt, with_whole_prompt

torch.set_num_threads(1)

SMALL = ["--cohort-size", "2", "--held-out", "1", "--set", "steps=2", "--set", "batch_size=2"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_prism(tmp_path_factory.mktemp("whole") / "tiny")


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    """The tiny model's U-Net given the whole prompt by `prism train`, two steps."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRISM_OUTPUT", str(folder))
        wide = ["--set", "whole_prompt=true", "--set", "learning_rate=0.01"]
        given = ["--model", str(tiny), "--start", str(tiny), "--export", str(folder / "mini")]
        assert main(["train", "unet", *SMALL, *wide, *given]) == 0
    return folder / "mini"


def answers(unet, text):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(len(text), unet.config.in_channels, 16, 16, generator=generator)
    with torch.no_grad():
        return unet(latents, 300, encoder_hidden_states=text).sample


def some_text(width=32, seed=1):
    return torch.randn(2, 77, width, generator=torch.Generator().manual_seed(seed))


def test_nothing_changes_until_it_is_trained(tiny):
    unet = LatentDiffusion.load(tiny).unet
    wider = with_whole_prompt(unet)
    assert reads_whole_prompt(wider.config) and not reads_whole_prompt(unet.config)
    torch.testing.assert_close(answers(wider, some_text()), answers(unet, some_text()))
    assert with_whole_prompt(wider) is wider
    again = with_whole_prompt(unet)
    for (name, one), other in zip(
        wider.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


def test_every_new_weight_learns_and_blocks_without_attention_hear_the_prompt():
    """A network without any cross-attention cannot tell two prompts apart, until it has this."""
    config = {
        **architectures.UNET,
        "down_block_types": ("DownBlock2D",) * 2,
        "up_block_types": ("UpBlock2D",) * 2,
        "mid_block_type": None,
        "block_out_channels": (16, 16),
        "norm_num_groups": 4,  # of several channels: alone, one would be rid of what is added
    }
    unet = architectures.unet(latent_channels=4, text_width=32, config=config)
    wider = with_whole_prompt(unet)
    generator = torch.Generator().manual_seed(0)
    latents, wanted = torch.randn(2, 2, 4, 8, 8, generator=generator)
    optimizer = torch.optim.AdamW(wider.parameters(), lr=0.01)
    for _ in range(40):  # two prompts, two answers
        optimizer.zero_grad()
        found = wider(latents[:1].expand(2, -1, -1, -1), 300, encoder_hidden_states=some_text())
        (found.sample - wanted).square().mean().backward()
        optimizer.step()
    added = dict(wider.add_embedding.named_parameters())
    still = {name for name, value in added.items() if not value.grad.abs().max() > 0}
    assert still <= {"pool.k_proj.bias"}  # which a softmax does not see

    def differ(network):
        one, other = (answers(network, text[None]) for text in some_text())
        return float((one - other).abs().max())

    assert differ(unet) == 0
    assert differ(wider) > 0.1


def test_plain_diffusers_loads_what_prism_train_exports(exported, tiny):
    unet = UNet2DConditionModel.from_pretrained(exported / "pipeline" / "unet")
    assert reads_whole_prompt(unet.config) and unet.add_embedding.norm2.weight.abs().max() > 0
    pipe = StableDiffusionPipeline.from_pretrained(exported / "pipeline")
    pipe.set_progress_bar_config(disable=True)
    latents = torch.zeros(1, unet.config.in_channels, 8, 8)
    drawn = pipe("chest x-ray", num_inference_steps=1, latents=latents, output_type="pt").images
    assert drawn.isfinite().all()
    record = json.loads((exported / "training" / "unet.json").read_text())
    assert record["settings"]["whole_prompt"] is True
    assert "reaches every block" in (exported / "README.md").read_text()


@pytest.mark.parametrize("inversion", ["virtual", "edit-friendly", "direct-shared", "null-text"])
def test_edits_go_through_it_and_editing_nothing_changes_nothing(exported, tiny, inversion):
    model, encoder = LatentDiffusion.load(exported), ImageTextEncoder.load(tiny)
    image = torch.rand(64, 64, generator=torch.Generator().manual_seed(3)).numpy()
    more = {"inner_steps": 2} if inversion == "null-text" else {}
    recipe = Recipe("through", inversion, 4, 2.0, "prompt-to-prompt", 0.5, 0.5, **more)
    same, other = "chest x-ray with devices", "chest x-ray with no devices"
    kept, changed = (
        edit(model, encoder, [image], [same], [text], recipe)[0] for text in (same, other)
    )
    (plain,) = edit(model, encoder, [image], [same], [same], CONTROLS["autoencoder"])
    if inversion != "null-text":
        assert abs(kept.image - plain.image).max() < 1e-3
    assert abs(changed.image - kept.image).max() > 1e-4


def test_a_resumed_run_keeps_it(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    given = ["--model", str(tiny), "--start", str(tiny), "--set", "whole_prompt=true"]
    for steps, more in ((1, []), (2, ["--resume"])):
        plan = [*SMALL[:4], "--set", f"steps={steps}", "--set", "batch_size=2"]
        assert main(["train", "unet", *plan, *given, *more]) == 0
    record = json.loads((tmp_path / "runs" / "training" / "unet" / "record.json").read_text())
    assert record["steps"] == 2
