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
