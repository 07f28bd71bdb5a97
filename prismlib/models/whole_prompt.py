"""A U-Net that every block tells what the whole prompt says, beside cross-attention to its words.

Cross-attention costs too much where latents are many, so a small U-Net has it at coarse scales
alone, and what is thin is decided at fine ones. So the prompt's tokens are pooled into one vector,
by attention, and added to the timestep's embedding, which every residual block reads (the text
pooling of Saharia et al. 2022, arXiv 2205.11487, appendix F.1; `addition_embed_type="text"` in
diffusers, which computes it from the same token embeddings, so that pipelines know nothing of it).
"""

from collections.abc import Mapping
from typing import Any

import torch

HEADS = 4  # of the attention that pools
TEXT = "text"  # what diffusers calls this kind of addition


def reads_whole_prompt(config: Mapping[str, Any]) -> bool:
    """Whether a diffusers U-Net with this configuration has it."""
    return config.get("addition_embed_type") == TEXT


def with_whole_prompt(unet: Any, seed: int = 0) -> Any:
    """The same U-Net with it, weights drawn from `seed`; the U-Net itself if it has it already.

    The last of the new layers is zero, as the last of a ControlNet's are (Zhang et al. 2023, arXiv
    2302.05543), so that nothing it predicts has changed until it is trained.
    """
    if reads_whole_prompt(unet.config):
        return unet
    added = {"addition_embed_type": TEXT, "addition_embed_type_num_heads": HEADS}
    shape = {name: v for name, v in unet.config.items() if not name.startswith("_")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wider = type(unet).from_config(shape | added)
    wider.load_state_dict(unet.state_dict() | _untrained(wider))
    return wider.to(unet.device)


def _untrained(unet: Any) -> dict[str, Any]:
    """The weights of the new layers, by their names in the whole U-Net."""
    last = unet.add_embedding.norm2
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    return {f"add_embedding.{name}": v for name, v in unet.add_embedding.state_dict().items()}
