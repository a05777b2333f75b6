"""A disk that fills up: one sentence, what was saved is whole, and the run goes on to the same bits later.

The limit on a file's size makes any one writer fail at a chosen step; a small disk of its own fills up in earnest.
"""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from verydeep.cli import main
from verydeep.errors import DiskError
from verydeep.files import Lines, write_whole
from verydeep.images.image_set import Unreadable
from verydeep.run_folder import JOURNAL, LAST_WEIGHTS, PREVIOUS_STATE, STATE, WEIGHTS
from verydeep.training.journal import read_journal
from verydeep.training.loop import Trainer
from verydeep.training.unreadable import UnreadableLog

SMALL = ("--recipe", "digits", "--width", "0.03", "--epochs", "2", "--batch-size", "64", "--warmup-epochs", "0")
STEPS_PER_EPOCH = 1438 // 64

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def train(capfd) -> Run:
    """Train the digits; give the exit code, and standard error from its first sentence of failure on."""

    def run(folder: Path, *words: str) -> tuple[int, str]:
        capfd.readouterr()
        try:
            main(["train", "digits", str(folder), *SMALL, *words])
        except SystemExit as ended:
            said = capfd.readouterr().err
            assert "Traceback" not in said
            assert said.count("verydeep: ") == 1
            return ended.code, said[said.index("verydeep: ") :].strip()
        return 0, ""

    return run


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    main(["train", "digits", str(run), *SMALL])
    return run


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """Let no file grow beyond that, as a full disk would not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def full_from(monkeypatch, number: int, most: Callable[[], int]) -> None:
    """Let the disk be full from a step on."""
    step = Trainer._step

    def fill(self, batch, at, interrupted=False):
        if at == number:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (most(), hard))
        return step(self, batch, at, interrupted)

    monkeypatch.setattr(Trainer, "_step", fill)


def assert_whole(run: Path) -> None:
    """No file is half-written, and none is left aside."""
    assert [path.name for path in run.iterdir() if path.name.endswith(".part")] == []
    for name in (WEIGHTS, LAST_WEIGHTS):
        if (run / name).exists():
            assert load_file(run / name)
    lines = (run / JOURNAL).read_text().splitlines(keepends=True)
    assert all(line.endswith("\n") and json.loads(line) for line in lines)
    for name in (STATE, PREVIOUS_STATE):
        if (run / name).exists():
            torch.load(run / name, weights_only=True)


def assert_ends_as(run: Path, unbroken: Path) -> None:
    assert (run / LAST_WEIGHTS).read_bytes() == (unbroken / LAST_WEIGHTS).read_bytes()
    steps = [record["step"] for record in read_journal(run / JOURNAL) if "rate" in record]
    assert steps == list(range(2 * STEPS_PER_EPOCH))


@pytest.mark.parametrize(
    ("fails", "from_step", "every", "most"),
    [
        pytest.param(STATE, 5, "3", lambda run: 50_000, marks=pytest.mark.heavy),  # within an epoch
        pytest.param(
            WEIGHTS, 5, "1000", lambda run: 50_000, marks=pytest.mark.heavy
        ),  # at the first epoch's end, before there is any state
        pytest.param(
            LAST_WEIGHTS + "|" + WEIGHTS, 30, "1000", lambda run: 50_000, marks=pytest.mark.heavy
        ),  # at the second's
        (JOURNAL, 25, "1000", lambda run: (run / JOURNAL).stat().st_size + 50),  # in the middle of a line
    ],
    ids=["state", "first weights", "later weights", "journal"],
)
def test_a_writer_that_finds_no_room(train, unbroken, tmp_path, monkeypatch, fails, from_step, every, most):
    run = tmp_path / "run"
    with files_of_at_most(resource.RLIM_INFINITY), monkeypatch.context() as patch:
        full_from(patch, from_step, lambda: most(run))
        code, said = train(run, "--save-steps", every)
    assert code == 1
    assert any(
        said.startswith(f"verydeep: the run cannot be saved: {run / name} cannot be written: File too large")
        for name in fails.split("|")
    ), said
    assert said.endswith(f"make room, and resume with verydeep train digits {run} --resume")
    assert len(said.splitlines()) == 1
    assert_whole(run)
    assert train(run, "--resume") == (0, "")
    assert_ends_as(run, unbroken)


def test_no_room_for_the_first_file(train, tmp_path):
    with files_of_at_most(1000):
        code, said = train(tmp_path / "run")
    assert code == 1
    assert "split.json cannot be written: File too large; nothing has been trained yet: make room" in said
    assert not (tmp_path / "run").exists()
    assert train(tmp_path / "run", "--epochs", "1") == (0, "")


def test_a_disk_that_fills_up_in_earnest(train, unbroken, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        run = disk / "run"
        code, said = train(run, "--save-steps", "2")
        assert code == 1
        assert "No space left on device; what was saved before is intact" in said
        assert len(said.splitlines()) == 1
        assert_whole(run)
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        assert train(run, "--resume") == (0, "")
        assert_ends_as(run, unbroken)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_is_as_it_was_where_the_new_one_does_not_fit(tmp_path):
    path = tmp_path / "folder" / "letter"
    write_whole(path, lambda aside: aside.write_text("short"))
    with (
        files_of_at_most(1000),
        pytest.raises(DiskError, match=r"folder/letter cannot be written: File too large"),
    ):
        write_whole(path, lambda aside: aside.write_text("long" * 1000), keep=tmp_path / "kept")
    assert [file.name for file in path.parent.iterdir()] == ["letter"]
    assert path.read_text() == "short"
    assert not (tmp_path / "kept").exists()


def test_a_line_that_does_not_fit_leaves_nothing(tmp_path):
    with Lines(tmp_path / "lines") as lines:
        lines.add("a" * 600)
        with files_of_at_most(1000), pytest.raises(DiskError, match="lines cannot be written: File too large"):
            lines.add("b" * 600)
        assert (tmp_path / "lines").read_text() == "a" * 600 + "\n"
        lines.add("c")
    assert (tmp_path / "lines").read_text() == "a" * 600 + "\nc\n"


def test_an_image_that_cannot_be_noted(tmp_path):
    skipped = UnreadableLog(tmp_path / "skipped.jsonl", most=10)
    skipped.add(Unreadable("one.jpg", "damaged"))
    with files_of_at_most(70), pytest.raises(DiskError, match=r"skipped\.jsonl cannot be written"):
        skipped.add(Unreadable("two.jpg", "damaged"))
    [line] = (tmp_path / "skipped.jsonl").read_text().splitlines()
    assert json.loads(line)["name"] == "one.jpg"


def test_no_room_for_a_model(tmp_path, capfd):
    with files_of_at_most(5000), pytest.raises(SystemExit) as ended:
        main(["new", "A", str(tmp_path / "model"), "--width", "0.05", "--window", "32"])
    assert ended.value.code == 1
    said = capfd.readouterr().err.splitlines()
    assert said == [f"verydeep: {tmp_path / 'model' / WEIGHTS} cannot be written: File too large"]
    assert not (tmp_path / "model").exists()
