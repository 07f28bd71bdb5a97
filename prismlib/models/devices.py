"""Where networks run."""

import torch

from prismlib.memory import keep_freed_memory


def best_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for; if none, a GPU where there is one, else the CPU."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
    if chosen.type == "cpu":
        keep_freed_memory()
    return chosen


def computes_bf16(device: torch.device) -> bool:
    """Whether bf16 is worth it: not on a processor without AVX-512, which emulates it.

    There a step of prism-mini's U-Net takes twenty times as long as in float32.
    """
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def release_memory() -> None:
    """Give back what a GPU's allocator holds and nothing uses; nothing without a GPU."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
