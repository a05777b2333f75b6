"""Two and three processes against one: the same losses; a lost process; another number of processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sample_images import class_folders, cut

from verydeep.cli import main
from verydeep.distributed import World
from verydeep.errors import UsageError
from verydeep.images.batches import TrainingBatches
from verydeep.images.sources import open_data
from verydeep.images.views import TrainingView
from verydeep.run_folder import JOURNAL, LAST_WEIGHTS, SKIPPED, STATE
from verydeep.training.journal import read_journal
from verydeep.training.training_images import training_hashes

pytestmark = pytest.mark.slow

# 19 steps in each of two epochs. No batch normalisation, with which rounding grows a thousandfold in ten steps.
SMALL = (
    "digits {run} --recipe digits --width 0.06 --no-batch-norm --epochs 2 --batch-size 75 "
    "--precision float32 --learning-rate 0.005 --engine native"
)
STEPS = 38
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def words(run: Path, *more: str) -> list[str]:
    return ["train", *SMALL.format(run=run).split(), *more]


def torchrun(processes: int, arguments: list[str], restarts: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["--max-restarts", str(restarts), "-m", "verydeep", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def finished(run: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = run.communicate(timeout=240)
    assert run.returncode == 0, err
    return out, err


def losses(run: Path) -> np.ndarray:
    return np.array([record["loss"] for record in read_journal(run / JOURNAL) if "rate" in record])


def errors(run: Path) -> list[float]:
    return [record["validation_error"] for record in read_journal(run / JOURNAL) if "validation_error" in record]


def assert_near(run: Path, other: Path, tolerance: float) -> None:
    one, two = load_file(run / LAST_WEIGHTS), load_file(other / LAST_WEIGHTS)
    for name, tensor in one.items():
        np.testing.assert_allclose(tensor, two[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "one"
    main(words(run))
    return run


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "two"
    _, err = finished(torchrun(2, words(run)))
    assert "Warning" not in err
    return run


def test_two_processes_have_the_losses_of_one(one, two):
    """With dropout, over 38 steps; a batch of 75 does not divide by 2."""
    assert len(losses(one)) == len(losses(two)) == STEPS
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-4)
    np.testing.assert_allclose(errors(two), errors(one), atol=0.3)  # one of 359 images
    assert_near(one, two, 1e-3)


@pytest.mark.heavy
def test_a_lost_process_is_replaced_and_the_end_is_the_same_to_the_bit(two, tmp_path):
    """So two processes repeat themselves to the bit, too."""
    run = tmp_path / "run"
    world = torchrun(2, words(run, "--save-steps", "5"), restarts=1)
    wait_until(lambda: len(losses(run)) > 21 and (run / STATE).is_file())
    os.kill(a_worker_of(world), signal.SIGKILL)
    _, err = finished(world)
    assert err.count("images of 10 classes to train on") == 2  # begun twice
    assert (run / LAST_WEIGHTS).read_bytes() == (two / LAST_WEIGHTS).read_bytes()
    steps = [record["step"] for record in read_journal(run / JOURNAL) if "rate" in record]
    assert steps == list(range(STEPS))


@pytest.mark.heavy
def test_a_run_goes_on_with_another_number_of_processes(one, tmp_path, capsys):
    run = tmp_path / "run"
    world = torchrun(2, words(run, "--save-steps", "5"))
    wait_until(lambda: len(losses(run)) > 21 and (run / STATE).is_file())
    world.send_signal(signal.SIGTERM)
    world.communicate(timeout=120)
    done = len(losses(run))
    assert 21 < done < STEPS
    main(["train", "digits", str(run), "--recipe", "digits", "--resume"])
    told = capsys.readouterr().err
    assert re.search(
        r"resuming with 1 x \d threads; the run began with 2 x 1 threads: .* may differ in the last bits", told
    )
    np.testing.assert_allclose(losses(run), losses(one), rtol=1e-4)


@pytest.mark.heavy
def test_batch_normalisation_is_by_the_whole_batch_and_every_image_left_out_is_named_once(tmp_path):
    """Were each half normalised by itself, the first loss would already differ by more than a hundredth."""
    data = class_folders(tmp_path / "data", {"cat": 40, "dog": 40})
    for number in (3, 5):
        cut(data / "dog" / f"{number}.jpg", 0.6)
    small = "--recipe digits --width 0.06 --epochs 1 --batch-size 15 --precision float32 --learning-rate 0.005"
    small += " --max-unreadable 2 --engine native"
    one, two = tmp_path / "one", tmp_path / "two"
    main(["train", str(data), str(one), *small.split()])
    out, err = finished(torchrun(2, ["train", str(data), str(two), *small.split()]))
    assert len(losses(one)) == 4
    np.testing.assert_allclose(losses(two)[:3], losses(one)[:3], rtol=1e-4)
    np.testing.assert_allclose(losses(two), losses(one), rtol=5e-2)
    for run in (one, two):
        lines = [json.loads(line) for line in (run / SKIPPED).read_text().splitlines()]
        assert sorted(line["name"] for line in lines) == ["dog/3.jpg", "dog/5.jpg"]
    assert err.count("skipped: ") == 2  # once, though every process has found out
    assert out.count("least validation error") == 1


def test_what_the_first_process_refuses_is_told_once(two):
    """The others neither repeat it nor tell of a connection that broke."""
    ended = torchrun(2, words(two))
    _, err = ended.communicate(timeout=240)
    assert ended.returncode == 1
    assert err.count("is a run that has finished (epochs: 2)") == 1
    assert err.count("verydeep: ") == 1 and "gloo" not in err.lower() and "DistBackendError" not in err


def test_too_many_processes_for_a_batch_are_refused():
    images = open_data("digits").train
    with pytest.raises(UsageError, match=r"a batch of 1 (image|image)s cannot be shared by 2 processes"):
        TrainingBatches(images, TrainingView((36, 36), 32), 1, 0, (1, 2))


def wait_until(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def a_worker_of(world: subprocess.Popen[str]) -> int:
    """The second process: one that does not write."""
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(world.pid)], capture_output=True, text=True, check=True
    )
    return max(map(int, children.stdout.split()))


@pytest.mark.parametrize("known", [True, False])
def test_hashes_that_a_process_does_not_know_are_not_made_up(known, tmp_path, monkeypatch):
    """Shards that were packed by an earlier version have none."""
    data = open_data(str(class_folders(tmp_path / "data", {"cat": 4, "dog": 4})))
    alone = training_hashes(data.train, (), None, World())
    share = World(1, 2).share(range(len(data.train)))
    other = data.train.select(share).source.hashes(lambda count: None) if known else None

    def gather(value, values):
        values[:] = [value, other]

    monkeypatch.setattr(torch.distributed, "gather_object", gather)
    found = training_hashes(data.train, (), None, World(0, 2))
    if known:
        np.testing.assert_array_equal(found, alone)
    else:
        assert found is None
