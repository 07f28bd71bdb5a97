"""Two processes under `accelerate launch` train what one does, and one of them writes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from chexpert_folder import make_chexpert
from tiny_stable_diffusion import save_tiny_stable_diffusion

from prismlib import paths
from prismlib.models.pipeline import LatentDiffusion

# Sums over half batches are added in another order, and Adam divides by their size: a weight whose
# gradient is nothing but rounding can move by a learning rate. So weights are compared in the mean.
LEARNING_RATE = 1e-3
MEAN_TOLERANCE, LOSS_TOLERANCE = 0.01 * LEARNING_RATE, 1e-4

pytestmark = pytest.mark.slow


def launcher(processes: int) -> list[str]:
    """As on as many GPUs; accelerate's `--cpu` starts one process, whatever it is told."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    options = [f"--num_processes={processes}", f"--main_process_port={port}", "--num_machines=1"]
    return [*launch, *options, "--mixed_precision=no", "--dynamo_backend=no", "-m", "prismlib"]


class Work:
    """A fabricated CheXpert, a tiny Stable Diffusion, and `prism train unet` on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = make_chexpert(folder / "data")
        self.model = save_tiny_stable_diffusion(folder / "model", factor=16)

    def train(self, name: str, processes: int, steps: int, *more: str) -> str:
        """Its standard output; every `name` has a cache of its own."""
        arguments = ["train", "unet", "--profile", "chexpert", "--model", str(self.model)]
        sizes = {"steps": steps, "batch_size": 4, "accumulation": 2, "precision": "fp32",
                 "learning_rate": LEARNING_RATE, "log_seconds": 0.0, "validation_steps": 2,
                 "ema_decay": 0.5}  # fmt: skip
        given = [text for key, value in sizes.items() for text in ("--set", f"{key}={value}")]
        size = ["--cohort-size", "10", "--held-out", "4"]
        command = launcher(processes) if processes > 1 else [sys.executable, "-m", "prismlib"]
        environment = {"PRISM_OUTPUT": str(self.folder / name), "OMP_NUM_THREADS": "1",
                       "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip
        done = subprocess.run(
            [*command, *arguments, *size, *given, *more],
            env={**os.environ, **environment, "PRISM_CHEXPERT_ROOT": str(self.root)},
            cwd=paths.root(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def out(self, name: str) -> Path:
        return self.folder / name / "runs" / "training" / "unet"

    def state(self, name: str) -> dict:
        return torch.load(self.out(name) / "checkpoint.pt", weights_only=True)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return Work(tmp_path_factory.mktemp("processes"))


def test_two_processes_agree_with_one_through_a_resume(work):
    work.train("one", 1, 4)
    first = work.train("two", 2, 2)
    second = work.train("two", 2, 4, "--resume", "--export", str(work.folder / "exported"))
    one, two = work.state("one"), work.state("two")
    assert one["step"] == two["step"] == 4
    kept = [torch.cat([p.flatten() for p in s["ema"]["shadow_params"]]) for s in (one, two)]
    start = LatentDiffusion.load(work.model, device="cpu").unet
    origin = torch.cat([p.flatten() for p in start.parameters()])
    assert (kept[0] - origin).abs().mean() > LEARNING_RATE / 2  # it has moved
    assert (kept[0] - kept[1]).abs().mean() < MEAN_TOLERANCE
    logs = [pd.read_csv(work.out(name) / "training.csv") for name in ("one", "two")]
    assert list(logs[1]["step"]) == [1, 2, 3, 4]
    columns = ["loss", "validation", "learning_rate"]
    pd.testing.assert_frame_equal(logs[0][columns], logs[1][columns], rtol=LOSS_TOLERANCE)
    # one of the two wrote and spoke
    assert first.count("encoding 10 images once") == 1
    assert second.count("going on at step 2") == 1 and second.count("unet is in") == 1
    assert "encoding" not in second
    record = json.loads((work.folder / "exported" / "training" / "unet.json").read_text())
    assert record["processes"] == 2 and record["steps"] == 4
    assert not [path for path in work.folder.rglob("*") if path.name.startswith(".unet-")]


def test_two_processes_stop_in_time_together(work):
    said = work.train("timed", 2, 10**6, "--max-seconds", "2")
    state = work.state("timed")
    assert 0 < state["step"] < 10**6 and said.count("unet is in") == 1
