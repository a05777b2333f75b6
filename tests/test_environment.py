"""What the environment says and what the machine lacks: one sentence, and the process is whole afterwards."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from importlib.machinery import EXTENSION_SUFFIXES

import numpy as np
import pytest
import torch
from PIL import Image

import verydeep
from verydeep.api.new import new
from verydeep.cli import main
from verydeep.distributed import num_restarts, world
from verydeep.errors import UsageError, VerydeepError, lack_of_memory
from verydeep.prefetch import prefetch
from verydeep.processes import start_processes
from verydeep.processor import MOST_THREADS, num_threads, require_native
from verydeep.training.state import Writer

ODD = ["abc", "-1", "1.5", "1e3", " 2", "²", "٣", "0x10", "None", "9" * 20, "9" * 5000]
GATHERED = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29999"}


def work(world) -> None:
    """Is importable."""


def start() -> None:
    with start_processes(2, work):
        pass


def join() -> None:
    with world():
        pass


@pytest.fixture
def alone(monkeypatch):
    for name in (*GATHERED, "LOCAL_WORLD_SIZE", "VERYDEEP_THREADS", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


USES = [
    ("VERYDEEP_THREADS", num_threads),
    ("LOCAL_WORLD_SIZE", num_threads),
    ("WORLD_SIZE", join),
    ("WORLD_SIZE", start),
    ("RANK", join),
    ("MASTER_PORT", join),
    ("LOCAL_RANK", join),
    ("TORCHELASTIC_RESTART_COUNT", num_restarts),
]
FROM_ONE = ("VERYDEEP_THREADS", "LOCAL_WORLD_SIZE", "WORLD_SIZE")


@pytest.mark.parametrize(("name", "use"), USES)
@pytest.mark.parametrize("value", ODD, ids=lambda value: value[:10])
def test_a_number_of_the_environment_that_is_none(alone, name, use, value):
    if use is join and name != "WORLD_SIZE":
        for each, number in GATHERED.items():
            alone.setenv(each, number)
    alone.setenv(name, value)
    with pytest.raises(UsageError, match=f"^{name} is .* it must be a whole number from "):
        use()


@pytest.mark.parametrize(("name", "use"), [(name, use) for name, use in USES if name in FROM_ONE])
def test_a_number_of_the_environment_that_is_none_as_it_is_zero(alone, name, use):
    alone.setenv(name, "0")
    with pytest.raises(UsageError, match=f"^{name} is '0'; it must be a whole number from 1 to "):
        use()


@pytest.mark.parametrize("name", FROM_ONE)
def test_a_variable_that_is_empty_is_not_set(alone, name):
    wanted = num_threads()
    alone.setenv(name, "")
    assert num_threads() == wanted
    join()


@pytest.mark.parametrize("name", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_a_world_that_nobody_has_started(alone, name):
    for each, number in GATHERED.items():
        alone.setenv(each, number)
    alone.setenv(name, "")
    with pytest.raises(UsageError, match=f"WORLD_SIZE is 2, and {name} is not set; start .* by torchrun"):
        join()


@pytest.mark.parametrize("threads", [0, -1, MOST_THREADS + 1, 10**20])
def test_a_number_of_threads_that_nothing_has(threads):
    with pytest.raises(UsageError, match=f"`threads` is {threads}; it must be 1 to {MOST_THREADS}"):
        num_threads(threads)


@pytest.mark.parametrize(
    ("name", "value"),
    [("VERYDEEP_THREADS", "many"), ("VERYDEEP_INSTRUCTIONS", "foo"), ("LOCAL_WORLD_SIZE", "abc")],
)
def test_the_command_line_ends_with_a_sentence(alone, name, value, capsys):
    alone.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main(["engines"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"verydeep: {name} is '{value}'")


# Threads of Python's, and processes


@pytest.fixture
def most_threads(monkeypatch):
    """Let no more threads start than are said, as a limit of processes or of memory does."""
    start = threading.Thread.start
    left = [0]

    def start_if_there_is_room(thread):
        if left[0] == 0:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    def limit(count):
        left[0] = count
        monkeypatch.setattr(threading.Thread, "start", start_if_there_is_room)

    yield limit
    monkeypatch.undo()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_thread_that_cannot_start_is_told_and_none_is_left(most_threads, count):
    before, both = threading.active_count(), threading.Event()
    most_threads(count)
    with pytest.raises(VerydeepError, match=r"no more threads can be started.*ulimit -u"):
        list(prefetch(lambda item: both.wait(0.01), range(50), ahead=20, threads=8))
    assert threading.active_count() == before
    most_threads(8)
    assert list(prefetch(abs, range(-50, 0), ahead=20, threads=8)) == list(range(50, 0, -1))


def test_a_writer_whose_thread_cannot_start(most_threads):
    most_threads(0)
    with Writer() as writer, pytest.raises(VerydeepError, match="no more threads"):
        writer.write(lambda: None)


def test_a_process_that_cannot_start_is_told_and_none_is_left(alone):
    from multiprocessing.context import SpawnProcess

    start, started = SpawnProcess.start, []

    def start_once(process):
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(process)
        start(process)

    alone.setattr(SpawnProcess, "start", start_once)
    with (
        pytest.raises(VerydeepError, match=r"process 3 of 3 cannot be started: Resource .* try fewer processes"),
        start_processes(3, work),
    ):
        pass
    assert not started[0].is_alive()


# Memory


@pytest.mark.parametrize(
    "allocate", [lambda: np.empty(1 << 45), lambda: torch.empty(1 << 45)], ids=["NumPy", "torch"]
)
def test_each_librarys_want_of_memory_is_told_alike(allocate):
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        allocate()
    assert str(lack_of_memory(raised.value)).startswith("there is not enough memory (")


def test_other_errors_are_not_taken_for_it():
    assert lack_of_memory(RuntimeError("shapes do not fit")) is None
    assert lack_of_memory(ValueError("out of memory")) is None


TOO_LITTLE_MEMORY = """
import contextlib, io, os, resource, sys
from pathlib import Path
from verydeep.cli import main

def answer():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main(sys.argv[1:])
    return out.getvalue()

first = answer()
pages = int(Path("/proc/self/statm").read_text().split()[0])
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGESIZE") + (8 << 20), before[1]))
try:
    answer()
except SystemExit as ended:
    code = ended.code
resource.setrlimit(resource.RLIMIT_AS, before)
print(code, answer() == first)
"""


def test_a_command_that_finds_too_little_memory_goes_on_where_there_is_more(tmp_path):
    """In a process of its own, which has no memory that others have left."""
    new("A", tmp_path / "model", width=0.3, window=128)
    Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(tmp_path / "image.png")
    words = ["predict", str(tmp_path / "model"), str(tmp_path / "image.png"), "--engine", "native"]
    ended = subprocess.run(
        [sys.executable, "-c", TOO_LITTLE_MEMORY, *words],
        env={**os.environ, "VERYDEEP_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == "1 True\n", ended.stderr
    assert ended.stderr.startswith("verydeep: there is not enough memory (")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(("system", "why"), [("win32", "for Windows"), ("linux", "without a C++ compiler")])
def test_why_there_is_no_native_engine(monkeypatch, system, why):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("verydeep.processor.EXTENSION_SUFFIXES", ())  # nor is there another package that has it
    monkeypatch.setattr("verydeep.api.engines.native_module", lambda: None)
    assert why in str(verydeep.engines())
    monkeypatch.setattr("verydeep.processor.native_module", lambda: None)
    with pytest.raises(VerydeepError, match=re.escape(why)):
        require_native()


def test_a_checkout_that_hides_the_installed_package_is_told(tmp_path, monkeypatch):
    """As where Python starts in the folder of the checkout."""
    (tmp_path / "verydeep").mkdir()
    (tmp_path / "verydeep" / f"_native{EXTENSION_SUFFIXES[0]}").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("verydeep.processor.native_module", lambda: None)
    with pytest.raises(VerydeepError, match=r"and not the installed one; start it by `python -P`"):
        require_native()
