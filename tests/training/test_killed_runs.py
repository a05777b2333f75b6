"""Runs that are killed between their first step and their last, and end as if they had not been.

`benchmarks/kill_test.py` does it forty times.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from verydeep.cli import main
from verydeep.run_folder import JOURNAL, LAST_WEIGHTS, has_state
from verydeep.training.journal import read_journal

pytestmark = pytest.mark.slow

RECIPE = ["--recipe", "digits", "--width", "0.06", "--epochs", "2", "--batch-size", "64", "--save-steps", "1"]
RECIPE += ["--engine", "native"]
STEPS = 2 * (1438 // 64)


@pytest.fixture
def _one_thread():
    """Here as in the processes that are killed: the last bits depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def words(run: Path, *more: str) -> list[str]:
    return ["train", "digits", str(run), *RECIPE, *more]


def start(run: Path, *more: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "verydeep", *words(run, *more)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def steps_of(run: Path) -> list[int]:
    return [record["step"] for record in read_journal(run / JOURNAL) if "rate" in record]


def kill_after(step: int, run: Path, process: subprocess.Popen[bytes]) -> None:
    """Kill it as soon as the journal has this many steps: what comes after, a step or a save, is cut anywhere."""
    end = time.monotonic() + 240
    while len(steps_of(run)) < step:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.heavy
@pytest.mark.usefixtures("_one_thread")
def test_a_run_that_is_killed_twice_ends_with_the_bits_of_the_unbroken_one(tmp_path):
    unbroken, run = tmp_path / "unbroken", tmp_path / "run"
    main(words(unbroken))
    assert steps_of(unbroken) == list(range(STEPS))
    first, second = sorted(random.Random(0).sample(range(2, STEPS - 10), 2))
    for step, more in ((first, []), (second, ["--resume"])):
        process = start(run, *more)
        kill_after(step, run, process)
        assert process.returncode == -signal.SIGKILL
        assert step <= len(steps_of(run)) < STEPS
    assert has_state(run)  # the one before the last, where the kill came between the two renamings
    main(words(run, "--resume"))
    assert steps_of(run) == list(range(STEPS))
    assert (run / LAST_WEIGHTS).read_bytes() == (unbroken / LAST_WEIGHTS).read_bytes()
    assert [path.name for path in run.iterdir() if path.name.endswith(".part")] == []
