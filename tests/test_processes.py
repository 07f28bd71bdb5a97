"""Work shared out over processes gives what one process gives, and ends in one error."""

import math
import os

import pytest

from prismlib import processes
from prismlib.errors import PrismError


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_once(workers):
    tasks = range(30)
    assert sorted(processes.results(math.sqrt, tasks, workers)) == [math.sqrt(n) for n in tasks]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_back_as_it_was(workers):
    with pytest.raises(ValueError, match="math domain error"):
        list(processes.results(math.sqrt, [1, -1, 4], workers))


def test_a_killed_worker_is_one_line():
    with pytest.raises(PrismError, match="worker process was killed"):
        list(processes.results(os._exit, [3], 2))


def test_tasks_are_drawn_as_they_are_needed():
    drawn = []
    tasks = (drawn.append(n) or float(n) for n in range(1000))
    results = processes.results(math.sqrt, tasks, 2)
    next(results)
    results.close()
    assert len(drawn) <= 2 * processes.AHEAD


def test_workers_have_one_thread_and_the_parents_environment_is_put_back(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert list(processes.results(os.getenv, ["OMP_NUM_THREADS"], 2)) == ["1"]
    assert "OMP_NUM_THREADS" not in os.environ
