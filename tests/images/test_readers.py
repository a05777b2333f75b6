"""Processes that read images, as they are: killed, slow, failing, left alone."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slow_images
from sample_images import class_folders
from slow_images import STUCK
from slow_images import slow_batches as batches

from verydeep.cli import main
from verydeep.errors import DataError
from verydeep.images import batches as batches_room
from verydeep.images import in_memory
from verydeep.images.batches import feed
from verydeep.run_folder import JOURNAL, LAST_WEIGHTS
from verydeep.training.journal import read_journal
from verydeep.training.loop import Trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def readers() -> list[int]:
    """The processes that read now, in the order of their first steps."""
    return sorted(process.pid for process in multiprocessing.active_children())


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (
            signal.SIGKILL,
            r"ended with signal 9 \(Killed\), most often because memory ran out: use fewer `workers`, and",
        ),
        (signal.SIGQUIT, r"ended with signal 3 \(Quit\):"),
    ],
)
def test_a_reader_that_is_killed_is_named(number, said):
    if number != signal.SIGKILL:  # a shell's background processes ignore it
        signal.signal(number, signal.SIG_DFL)
    slow = batches(slow=tuple(range(16)), seconds=0.05)
    fed = feed(slow, 0, 4000, num_workers=2)
    assert next(fed).labels.tolist() == slow[0].labels.tolist()
    _, second = readers()
    os.kill(second, number)
    with pytest.raises(DataError) as caught:
        list(fed)
    told = re.fullmatch(
        rf"process {second}, which reads the images of step (\d+), has {said} resume with `resume=True`",
        str(caught.value),
    )
    assert told
    assert int(told[1]) % 2 == 1
    assert int(told[1]) < 100  # what it had made already is used, and the end is not waited for
    assert readers() == []


def test_a_slow_reader_is_named_and_waited_for(monkeypatch):
    monkeypatch.setattr(batches_room, "PATIENCE", 0.3)
    whole = batches()
    late = int(whole[3].labels[0])  # an image of step 3, which the second of two processes reads
    said: list[str] = []
    fed = feed(batches(slow=(late,), seconds=1), 0, 8, num_workers=2, tell=said.append)
    shown = [next(fed).labels.tolist()]
    second = readers()[-1]  # the first may be through its steps already
    shown += [batch.labels.tolist() for batch in fed]
    assert shown == [whole[step].labels.tolist() for step in range(8)]
    assert said == [
        f"waiting for the images of step 3: process {second}, which reads them, has taken 0.3 s and more; "
        "is the disk slow, or an image very large?"
    ]


def test_a_reader_that_is_stuck_does_not_hold_up_the_end():
    whole = batches()
    stuck = {int(label) for step in range(2, 8) for label in whole[step].labels} - set(whole[0].labels.tolist())
    woke = multiprocessing.Event()
    fed = feed(batches(tuple(stuck), STUCK, woke), 0, 8, num_workers=2)
    next(fed)
    assert len(readers()) == 2
    fed.close()
    assert readers() == []
    assert not woke.is_set()


def test_a_fault_in_a_reader_tells_its_line():
    fed = feed(batches(slow=(int(batches()[1].labels[0]),), seconds=-1), 0, 8, num_workers=2)
    next(fed)
    with pytest.raises(ZeroDivisionError, match="a fault of the program's own") as caught:
        next(fed)
    assert "slow_images.py" in caught.value.__notes__[0]


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_readers_leave_it_to_the_loop_when_to_end(how, monkeypatch):
    """SIGTERM goes to every process of a job; the loop then ends after its step, and needs its images."""
    monkeypatch.setattr(batches_room, "multiprocessing", multiprocessing.get_context(how))
    fed = feed(batches(slow=tuple(range(16)), seconds=0.02), 0, 8, num_workers=2)
    shown = [next(fed).labels.tolist()]
    for reader in readers():  # the second may only just have been started
        os.kill(reader, signal.SIGTERM)
        os.kill(reader, signal.SIGINT)
    shown += [batch.labels.tolist() for batch in fed]
    assert shown == [batches()[step].labels.tolist() for step in range(8)]


# A run whose images are read from disk, by two processes

TINY = [
    *("--recipe", "photos", "--config", "A", "--width", "0.03", "--window", "32"),
    *("--train-scale", "36", "--epochs", "2", "--batch-size", "4", "--workers", "2"),
]


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(in_memory, "KEEP_BYTES", 0)
    return class_folders(tmp_path / "data", {"cat": 100, "dog": 100})


def test_a_run_that_loses_a_reader_saves_and_goes_on_to_the_same_bits(data, tmp_path, monkeypatch, capfd):
    main(["train", str(data), str(tmp_path / "unbroken"), *TINY])
    run = tmp_path / "run"
    step = Trainer._step

    def kill_a_reader(self, batch, number, interrupted=False):
        if number == 41:  # the second epoch's second: nothing else saves within an epoch
            os.kill(readers()[0], signal.SIGKILL)
        return step(self, batch, number, interrupted)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(Trainer, "_step", kill_a_reader)
        capfd.readouterr()
        main(["train", str(data), str(run), *TINY])
    assert ended.value.code == 1
    said = capfd.readouterr().err.splitlines()[-1]
    assert re.match(
        r"verydeep: process \d+, which reads the images of step [4-7]\d, has ended with signal 9", said
    )
    assert said.endswith("resume with --resume")
    steps = [record["step"] for record in read_journal(run / JOURNAL) if "rate" in record]
    assert 41 in steps
    before = (run / JOURNAL).read_text().splitlines()
    main(["train", str(data), str(run), *TINY, "--resume"])
    after = (run / JOURNAL).read_text().splitlines()
    assert after[: len(before)] == before  # not a step was done again
    assert (run / LAST_WEIGHTS).read_bytes() == (tmp_path / "unbroken" / LAST_WEIGHTS).read_bytes()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are listed by Linux's /proc")
def test_readers_end_with_a_process_that_is_killed():
    script = (
        "from slow_images import slow_batches\n"
        "from verydeep.images.batches import feed\n"
        "for batch in feed(slow_batches(), 0, 10**9, num_workers=2):\n"
        "    pass"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(slow_images.__file__).parent)}
    run = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        wait_until(lambda: len(children_of(run.pid)) == 2)
        children = children_of(run.pid)
    finally:
        run.kill()
        run.wait()
    wait_until(lambda: not any(parent(process) is not None for process in children))


def children_of(process: int) -> list[int]:
    everyone = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [child for child in everyone if parent(child) == process]


def parent(process: int) -> int | None:
    """The process that started it, or None where it has ended."""
    try:
        state, parent = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(parent)


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
