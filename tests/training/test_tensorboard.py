"""TensorBoard's files, read back by TensorBoard itself."""

from __future__ import annotations

import builtins
import importlib.util
import threading
import time
from pathlib import Path

import pytest

from verydeep.run_folder import TENSORBOARD
from verydeep.training import tensorboard
from verydeep.training.journal import EpochRecord, Listener, StepRecord
from verydeep.training.tensorboard import Scalars, curves

PER_EPOCH = 4


def tell(listener: Listener, steps: range, seconds: float = 2.0) -> None:
    """Steps whose loss is their number, and an epoch's end after each fourth."""
    for step in steps:
        listener(StepRecord(step, step // PER_EPOCH, float(step), 50.0, 0.1, seconds, seconds / 4))
        if (step + 1) % PER_EPOCH == 0:
            listener(EpochRecord(step + 1, step // PER_EPOCH, 1.0, 40.0, 30.0 - step, True, 4.0))


def points(run: Path, name: str) -> list[tuple[int, float]]:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = module.EventAccumulator(str(run / TENSORBOARD))
    events.Reload()
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]


def test_steps_and_epochs_are_written(tmp_path):
    pytest.importorskip("tensorboard")
    with curves(tmp_path / TENSORBOARD, 0) as listener:
        tell(listener, range(2 * PER_EPOCH))
    assert points(tmp_path, "step/loss") == [(step, float(step)) for step in range(8)]
    assert points(tmp_path, "step/error") == [(step, 50.0) for step in range(8)]
    assert points(tmp_path, "step/rate") == [(step, 0.1) for step in range(8)]
    assert points(tmp_path, "step/waiting") == [(step, 0.25) for step in range(8)]
    assert points(tmp_path, "epoch/validation_error") == [(3, 27.0), (7, 23.0)]
    assert points(tmp_path, "epoch/training_error") == [(3, 40.0), (7, 40.0)]
    assert points(tmp_path, "epoch/training_loss") == [(3, 1.0), (7, 1.0)]
    assert points(tmp_path, "epoch/images_per_second") == [(3, 4.0), (7, 4.0)]


def test_short_steps_share_a_point(tmp_path):
    pytest.importorskip("tensorboard")
    with curves(tmp_path / TENSORBOARD, 0) as listener:
        for step in range(1000):
            listener(StepRecord(step, 0, float(step), 50.0, 0.1, 2.0**-8, 0.0))
    written = points(tmp_path, "step/loss")
    assert [step for step, _ in written] == [255, 511, 767, 999]
    assert written[0][1] == sum(range(256)) / 256


@pytest.mark.parametrize("first", [4, 6])
def test_a_resumed_run_takes_back_what_it_will_do_again(tmp_path, first):
    """At an epoch's end and within an epoch: each step is there once, and no epoch is lost."""
    pytest.importorskip("tensorboard")
    with curves(tmp_path / TENSORBOARD, 0) as listener:
        tell(listener, range(first + 1))
    # TensorBoard reads files in the order of their names, which begin with the second.
    second = int(time.time())
    while int(time.time()) == second:
        time.sleep(0.02)
    with curves(tmp_path / TENSORBOARD, first) as listener:
        tell(listener, range(first, 12))
    assert points(tmp_path, "step/loss") == [(step, float(step)) for step in range(12)]
    assert [step for step, _ in points(tmp_path, "epoch/validation_error")] == [3, 7, 11]


def test_without_the_package_there_is_no_folder_and_no_word(tmp_path, monkeypatch, capfd):
    find = importlib.util.find_spec
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None if name == "tensorboard" else find(name))
    with curves(tmp_path / TENSORBOARD, 0) as listener:
        tell(listener, range(1))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_with_it_there_is_no_word_either(tmp_path, capfd):
    pytest.importorskip("tensorboard")
    with curves(tmp_path / TENSORBOARD, 0) as listener:
        tell(listener, range(1))
    assert (tmp_path / TENSORBOARD).is_dir()
    assert capfd.readouterr() == ("", "")


def test_a_broken_package_is_told_in_a_line(tmp_path, monkeypatch, capfd):
    load = builtins.__import__

    def broken(name, *arguments, **options):
        if name == "torch.utils.tensorboard":
            raise TypeError("Descriptors cannot\nbe created directly")
        return load(name, *arguments, **options)

    monkeypatch.setattr(tensorboard, "find_spec", lambda name: object())
    monkeypatch.setattr(builtins, "__import__", broken)
    with curves(tmp_path / TENSORBOARD, 0) as listener:
        tell(listener, range(2))
    assert capfd.readouterr().err == "no curves for TensorBoard: Descriptors cannot be created directly\n"


def test_a_failing_disk_is_told_once(capfd):
    class Full:
        def add_scalar(self, *arguments: object) -> None:
            raise OSError(28, "No space left on device")

    scalars = Scalars(Full)
    tell(scalars.add, range(8))
    scalars.close()
    assert capfd.readouterr().err == "no curves for TensorBoard: No space left on device\n"


def test_a_full_disk_under_tensorboards_own_thread(tmp_path, capfd, monkeypatch):
    """It writes in a thread, whose traceback nobody is to see, even where it ends late."""
    thread = pytest.importorskip("tensorboard.summary.writer.event_file_writer")._AsyncWriterThread
    run = thread.run

    def run_and_end_late(self):
        try:
            run(self)
        except OSError:
            time.sleep(0.3)
            raise

    monkeypatch.setattr(thread, "run", run_and_end_late)
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    hook = threading.excepthook
    with curves(tmp_path / TENSORBOARD, 0) as listener:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2500, before[1]))
            while listener.__self__.writer is not None:
                listener(StepRecord(0, 0, 1.0, 50.0, 0.1, 2.0, 0.5))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capfd.readouterr().err
    assert said == "no curves for TensorBoard: File too large\n"
    assert threading.excepthook == hook
