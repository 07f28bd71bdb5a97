"""A U-Net that is to read with another text encoder than the one it was trained beside."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

TEXTS = 2500  # at most, of 77 tokens each, that a map is fitted to
CROSS = (".attn2.to_k.weight", ".attn2.to_v.weight")


@torch.no_grad()
def rereading(unet: Any, before: Any, after: Any, texts: Sequence[str]) -> Any:
    """The same U-Net, whose text comes from `after` and no longer from `before`, changed in place.

    Both are `LatentDiffusion`s of one tokenizer and width. What the new encoder gives for `texts`
    is mapped linearly onto what the old one gave, by least squares, and the map goes into the
    weights that read text: so the U-Net begins near to what it knew, and training does the rest.
    Where both have the same text encoder nothing changes.
    """
    if before.part_sha256("text_encoder") == after.part_sha256("text_encoder"):
        return unet
    some = texts[:: -(-len(texts) // TEXTS)]
    new, old = (
        model.embed(some, truncate=True).cpu().flatten(0, 1).float() for model in (after, before)
    )
    back = torch.linalg.lstsq(new, old).solution
    for name, weight in unet.named_parameters():
        if name.endswith(CROSS):
            weight.copy_((weight.float() @ back.T.to(weight.device)).to(weight.dtype))
    if getattr(unet, "add_embedding", None) is not None:
        _reread_whole(unet.add_embedding, new, old)
    return unet


def _reread_whole(layer: Any, new: Tensor, old: Tensor) -> None:
    """The same for a `TextTimeEmbedding` (`whole_prompt`), which normalises what it reads first."""
    device = layer.norm1.weight.device
    new, old = (layer.norm1(each.to(device)) for each in (new, old))
    ones = torch.ones(len(new), 1, device=device)
    found = torch.linalg.lstsq(torch.cat([new, ones], 1).cpu(), old.cpu()).solution.to(device)
    back, offset = found[:-1], found[-1]
    pool = layer.pool
    for reader in (pool.q_proj, pool.k_proj, pool.v_proj):
        reader.bias += reader.weight @ offset
        reader.weight.copy_(reader.weight @ back.T)
    place = torch.linalg.lstsq(back.T.cpu(), pool.positional_embedding.T.cpu()).solution
    pool.positional_embedding.copy_(place.T.to(device))
