"""Time and memory of `prism cohort make`, each subject with one counterfactual.

    python benchmarks/cohort_speed.py                        # 40 subjects, 1 and 2 processes
    python benchmarks/cohort_speed.py --n 50 500 --workers 2 # is memory flat in n?

To be met: 2,000 subjects in 300 s on two cores, which is 0.15 s a subject by the clock and 0.3 s of
a processor's time, and memory that does not grow with n. Processor time is the steadier of the two
where a machine is shared; `start` is the time of a run of one subject, taken from the others.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from prismlib import paths

INTERVENTION = "Pleural Effusion=0"


@dataclass(frozen=True)
class Run:
    """One call: seconds by the clock and of processors, MiB of the largest process."""

    n: int
    workers: int
    wall: float
    processor: float
    memory: float


def measure(n: int, workers: int) -> Run:
    """Make a cohort in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, __file__, "--one", str(Path(scratch) / "out"), str(n)]
        text = subprocess.run(
            [*command, str(workers)], check=True, capture_output=True, text=True, cwd=paths.root()
        ).stdout
    wall, processor, memory = map(float, text.split())
    return Run(n, workers, wall, processor, memory)


def one(out: str, n: str, workers: str) -> None:
    """Run the command as a child of this process, which has no others; print what it took."""
    command = [sys.executable, "-m", "prismlib", "cohort", "make", "--do", INTERVENTION]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--out", out, "--n", n, "--workers", workers],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> None:
    """Print one line for each size and number of processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[40])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(*arguments.one)
        return
    for workers in arguments.workers:
        start = measure(1, workers)
        print(f"{workers} processes: start {start.wall:.1f} s ({start.processor:.1f} s processor)")
        for n in arguments.n:
            run = measure(n, workers)
            wall = (run.wall - start.wall) / (n - 1)
            processor = (run.processor - start.processor) / (n - 1)
            print(
                f"  n {n}: {wall:.3f} s a subject, {processor:.3f} s of a processor, "
                f"{run.memory:.0f} MiB; 2,000 in {start.wall + 2000 * wall:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
