"""Grounding: in which cells of the latents that lies which a sentence speaks of.

A U-Net of the pipeline's own shape, asked once at timestep 0 under a sentence, gives one logit a
cell. It begins as the diffusion model, whose features know the words already (Zhao et al. 2023,
arXiv 2303.02153), and learns from where findings and devices lie in simulated training subjects
(`train_grounding`). A model without this part is edited without a mask.
"""

from pathlib import Path
from typing import Any

import torch

from prismlib.captions.wordings import TRAINED, names_of
from prismlib.models import weights
from prismlib.models.loading import failing_as

PART = "grounding"
TIMESTEP = 0


def sentence(name: str) -> str:
    """The sentence by which a label or a kind of device is looked for."""
    return TRAINED[0].pair(name, names_of(name.replace("_", " "))[0])[0]


def with_one_output(unet: Any) -> Any:
    """The same U-Net with one channel of logits, all zero, in place of its latents'."""
    shape = {name: v for name, v in unet.config.items() if not name.startswith("_")}
    network = type(unet).from_config(shape | {"out_channels": 1})
    kept = {n: v for n, v in unet.state_dict().items() if not n.startswith("conv_out.")}
    network.load_state_dict(kept, strict=False)
    torch.nn.init.zeros_(network.conv_out.weight)
    torch.nn.init.zeros_(network.conv_out.bias)
    return network.to(unet.device)


def beside(pipeline: Path) -> Path | None:
    """The folder of the grounding that belongs to a pipeline's folder; None if it has none.

    Raises PrismError where the bundled one is torn or altered.
    """
    folder = pipeline.parent / PART
    if pipeline.name != "pipeline" or not folder.is_dir():
        return None
    if folder.parent.resolve() == weights.bundled_folder().resolve():
        weights.verify(PART)
    return folder


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The U-Net of a grounding's folder, in evaluation mode, without gradients."""
    from diffusers import UNet2DConditionModel

    with failing_as(f"{folder} cannot be loaded as a grounding"):
        network: Any = UNet2DConditionModel.from_pretrained(folder, torch_dtype=dtype)
    return network.eval().requires_grad_(False)
