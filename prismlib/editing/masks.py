"""Where an edit may change anything: masks given by the user, or found by the model itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, avg_pool2d, max_pool2d

from prismlib.captions.claims import taken_away
from prismlib.editing.attention import PromptToPrompt
from prismlib.editing.inversion import noise_path
from prismlib.editing.recipe import MaskKind
from prismlib.editing.schedule import Schedule
from prismlib.errors import UsageError

if TYPE_CHECKING:
    from prismlib.models.pipeline import LatentDiffusion

STRENGTH = 0.5  # how far up the noise levels a difference is measured (DiffEdit)
DRAWS = 4  # levels at which attention or differences are looked at
THRESHOLD = 0.5  # of a map's maximum
LIKELY = 0.3  # the chance from which on a cell may hold what is looked for
LEAST = 1 / 12  # of all cells that may change: what is said to be there lies somewhere, if hidden
REACH = 1 / 128  # of an image's width: how far a difference speaks for its neighbours


@dataclass(frozen=True)
class Region:
    """Where one radiograph may change, `edit`, and where it must not, `keep`: bool (H, W).

    What is in neither may follow along. Without `keep`, everything outside `edit` is kept.
    """

    edit: NDArray[np.bool_]
    keep: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Masks:
    """The same for a batch, on the latents' grid: bool (B, 1, h, w)."""

    edit: Tensor
    keep: Tensor


def from_regions(regions: Sequence[Region], like: Tensor) -> Masks:
    """Masks of latents shaped like `like` (B, C, h, w): a cell is edited if any pixel of it is."""
    size = like.shape[2], like.shape[3]
    edit = _shrunk([region.edit for region in regions], size).to(like.device)
    if all(region.keep is None for region in regions):
        return Masks(edit, ~edit)
    kept = [~region.edit if region.keep is None else region.keep for region in regions]
    return Masks(edit, _shrunk(kept, size).to(like.device) & ~edit)


def without_faint(difference: Tensor, floor: float) -> Tensor:
    """A difference of images (B, 1, H, W) without what is faint everywhere around.

    With `floor` 0 nothing is dropped. A thin wire passes by its own contrast; a change of tone over
    half the picture, which guidance brings with any edit, does not. See `not_faint`.
    """
    return difference if floor == 0 else difference * not_faint(difference, floor)


def not_faint(difference: Tensor, floor: float) -> Tensor:
    """Where a difference of images (B, 1, H, W) is not faint everywhere around, from 0 to 1.

    A pixel is judged by the largest absolute difference within `REACH` of it: 1 from `floor` on, 0
    below half of it, faded between, and the borders are smoothed.
    """
    reach = max(1, round(REACH * difference.shape[-1]))
    around = max_pool2d(difference.abs(), 2 * reach + 1, 1, reach)
    kept = (2 * around / floor - 1).clamp(0.0, 1.0)
    return avg_pool2d(kept, 2 * reach + 1, 1, reach, count_include_pad=False)


def grounded_masks(
    model: "LatentDiffusion", latents: Tensor, sources: Sequence[str], targets: Sequence[str]
) -> tuple[Masks, list[int]]:
    """Where that may lie which each prompt pair takes away, and how often a U-Net was asked.

    Cells of latents (B, C, h, w) may change whose chance is `LIKELY`, and at least the likeliest
    `LEAST` of them. All of an image may where nothing is taken away, as by a prompt that adds, and
    where the model has no grounding.
    """
    edit = torch.ones_like(latents[:, :1], dtype=torch.bool)
    away = [taken_away(*pair) for pair in zip(sources, targets, strict=True)]
    asked = [len(names) if model.grounding is not None else 0 for names in away]
    looked_for = [(row, name) for row, count in enumerate(asked) if count for name in away[row]]
    if looked_for:
        rows, names = zip(*looked_for, strict=True)
        found = model.ground(latents[list(rows)], names).split([count for count in asked if count])
        for row, chances in zip(sorted(set(rows)), found, strict=True):
            chance = chances.amax(0)
            least = chance.flatten().topk(max(1, round(LEAST * chance.numel()))).values[-1]
            edit[row] = chance >= least.clamp(max=LIKELY)
    return Masks(edit, ~edit), asked


def _shrunk(masks: Sequence[NDArray[np.bool_]], size: tuple[int, int]) -> Tensor:
    stacked = torch.from_numpy(np.stack(masks).astype(np.float32))[:, None]
    return adaptive_max_pool2d(stacked, size) > 0


def find_masks(
    model: "LatentDiffusion",
    kind: MaskKind,
    latents: Tensor,
    prompts: tuple[Tensor, Tensor],
    control: PromptToPrompt,
    schedule: Schedule,
    seeds: Sequence[int],
) -> tuple[Masks, int]:
    """Masks of latents (B, C, h, w), and the U-Net evaluations per image that they cost.

    `difference`: where the noise estimates under source and target prompt differ most, on average
    over draws (DiffEdit: Couairon et al. 2022, arXiv 2210.11427, section 3.2, step 1). `attention`:
    where the changed words' cross-attention is largest in the same evaluations.
    """
    half = max(1, round(STRENGTH * schedule.steps))
    levels = sorted({max(1, round(half * (k + 1) / DRAWS)) for k in range(DRAWS)})
    path = noise_path(latents, schedule, seeds, fresh=True).trajectory
    embeddings = torch.cat(prompts)
    change = torch.zeros_like(latents[:, :1])
    for level in levels:
        with control.attached(model.unet, 0, 1):
            noise = model.predict_noise(
                torch.cat([path[level]] * 2), schedule.timesteps[level - 1], embeddings
            )
        source, target = noise.chunk(2)
        change += (target - source).abs().mean(dim=1, keepdim=True)
    cost = 2 * len(levels)
    if kind == "attention":
        height, width = latents.shape[2:]
        edit = control.maps.mask(control.alignment.subjects, THRESHOLD, (height, width))
        return Masks(edit, ~edit), cost
    edit = change > THRESHOLD * change.amax(dim=(2, 3), keepdim=True)
    return Masks(edit, ~edit), cost


def check_regions(
    regions: Sequence[Region] | None, kind: MaskKind, shapes: Sequence[tuple[int, ...]]
) -> None:
    """UsageError unless there is one region an image of its shape, just where a recipe asks."""
    if kind != "given":
        if regions is not None:
            raise UsageError(f"got masks for a recipe with mask {kind!r}; expected mask 'given'")
        return
    if regions is None or len(regions) != len(shapes):
        got = "none" if regions is None else str(len(regions))
        raise UsageError(f"got {got} masks for {len(shapes)} images; expected one each")
    for row, (region, shape) in enumerate(zip(regions, shapes, strict=True)):
        for mask in (region.edit, region.keep):
            if mask is not None and mask.shape != shape:
                raise UsageError(
                    f"subject {row}: got a mask of {mask.shape}, the image is {shape}; expected "
                    "the same size"
                )
