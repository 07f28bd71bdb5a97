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
    """Whether a network is quicker in bf16 than in float32.

    Not on a processor without the instructions, which emulates it (a step of prism-mini's U-Net
    takes twenty times as long), nor on Intel's that have AVX512-BF16 without AMX: there
    convolutions reach .57 of their rate in float32.
    """
    if device.type != "cpu":
        return True
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16")) or not str(able.get("cpu_name", "")).startswith("Intel")


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """What networks run under: in bf16 where `precision` is that and bf16 is quicker there."""
    bf16 = precision == "bf16" and computes_bf16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def release_memory() -> None:
    """Give back what a GPU's allocator holds and nothing uses; nothing without a GPU."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
