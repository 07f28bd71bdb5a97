"""The processes that `accelerate launch` started: who leads, who waits, how they agree.

Rank 0 leads: it alone prepares images, fills caches, writes, exports and reports. A command that
was not launched so is its own leader and never waits. (`accelerate launch --cpu` starts one process
whatever `--num_processes` says; with `--multi_gpu` several run on a machine without a GPU too.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import PartialState

from prismlib.models.devices import best_device

PATIENCE = timedelta(days=3)  # the others wait while the leader encodes a whole data set


def joined() -> PartialState:
    """The state of the group, which the first call joins."""
    return PartialState(cpu=best_device().type == "cpu", timeout=PATIENCE)


def device() -> torch.device:
    """Where this process computes."""
    return best_device(joined().device)


def leads() -> bool:
    """Whether this is the process that writes and reports."""
    return bool(joined().is_main_process)


@contextmanager
def leader_first() -> Iterator[bool]:
    """Within the block the leader is alone; the others come after. Gives whether this one leads."""
    with joined().main_process_first():
        yield leads()


def agreed(*values: float) -> tuple[float, ...]:
    """The largest of each value over all processes, the same on all."""
    state = joined()
    if state.num_processes == 1:
        return values
    largest = torch.tensor(values, dtype=torch.float64, device=state.device)
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    return tuple(largest.tolist())


def leave() -> None:
    """Wait until all are done, then leave the group; nothing for a process that is alone."""
    joined().wait_for_everyone()
    joined().destroy_process_group()


def silent(_line: str) -> None:
    """What processes that do not lead report with."""
