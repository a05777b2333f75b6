"""Processes that `evaluate --processes` starts: the bits of one, and what becomes of them when one is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest
from sample_images import class_folders, cut

import verydeep
from verydeep.api.new import new
from verydeep.cli import main
from verydeep.distributed import World
from verydeep.errors import DataError, UsageError, VerydeepError
from verydeep.evaluation.results import read_result
from verydeep.processes import start_processes
from verydeep.processor import num_threads

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Images of two shapes, 37 and 12: no share is even."""
    folder = class_folders(tmp_path_factory.mktemp("data"), {"blue": 25, "green": 12, "red": 12})
    class_folders(folder, {"blue": 12}, size=(33, 50))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "A"
    new("A", path, width=0.06, num_classes=3, window=32)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "class_names": ["blue", "green", "red"]}))
    return path


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "verydeep", "evaluate", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def others(run: subprocess.Popen[str]) -> list[int]:
    """The processes that it has started to share its work."""
    listed = subprocess.run(["pgrep", "-f", "spawn_main", "-P", str(run.pid)], capture_output=True, text=True)
    return [int(word) for word in listed.stdout.split()]


def wait_for_a_part(run: subprocess.Popen[str], result: Path) -> None:
    while not list(result.with_name(result.name + ".parts").glob("*.npy")):
        time.sleep(0.01)
        assert run.poll() is None, run.communicate()


@pytest.mark.slow
def test_processes_give_the_bits_of_one(run, data, tmp_path):
    words = (run, data, "--part", "all", "--batch-size", 4, "--views", "both", "--scales", 32, 40, "--json")
    started = [start(*words, "--out", tmp_path / f"{count}.npz", "--processes", count) for count in (1, 2, 3)]
    printed = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], printed
    alone, *together = [json.loads(out) for out, _ in printed]
    assert alone["num_images"] == 49
    for more, (_, err) in zip(together, printed[1:], strict=True):
        assert more["confusion"] == alone["confusion"]
        assert not err
    expected = read_result(tmp_path / "1.npz")
    for count in (2, 3):
        result = read_result(tmp_path / f"{count}.npz")
        assert result.names == expected.names
        assert (result.posteriors == expected.posteriors).all()
    assert not list(tmp_path.glob("*.parts"))


SLOW = ("--part", "all", "--batch-size", 1, "--views", "crops", "--scales", 32, 40, 64, 96)


@pytest.mark.slow
def test_a_process_that_is_killed_is_one_sentence_and_the_rest_is_done_next_time(run, data, tmp_path):
    file = tmp_path / "result.npz"
    words = (run, data, *SLOW, "--out", file, "--processes", 2)
    first = start(*words)
    wait_for_a_part(first, file)
    (other,) = others(first)
    os.kill(other, signal.SIGKILL)
    out, err = first.communicate(timeout=60)
    assert first.returncode == 1
    assert not out
    assert err.startswith("verydeep: process 2 of 2 was ended by signal 9 before it finished its share")
    assert len(err.splitlines()) == 1
    assert not file.exists()
    assert 0 < len(list((tmp_path / "result.npz.parts").glob("*.npy"))) < 49
    again = start(*words, "--json")
    out, err = again.communicate(timeout=60)
    assert json.loads(out)["num_images"] == 49, err
    assert np.isfinite(read_result(file).posteriors).all()


@pytest.mark.slow
def test_ctrl_c_ends_all_of_them_with_one_word(run, data, tmp_path):
    """A terminal sends the signal to every process of the group."""
    file = tmp_path / "result.npz"
    slower = range(104, 400, 16)  # more scales, lest it be done before the signal on a busy machine
    started = start(run, data, *SLOW, *slower, "--out", file, "--processes", 3)
    wait_for_a_part(started, file)
    processes = others(started)
    assert len(processes) == 2
    os.killpg(started.pid, signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out, err.count("\n")) == (130, "", 1)
    assert err.startswith("verydeep: interrupted; what is finished is kept in ")
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.mark.slow
def test_what_another_process_cannot_read_is_told_once(run, data, tmp_path):
    broken = class_folders(tmp_path / "broken", {"blue": 2, "green": 2, "red": 2})
    lost = cut(broken / "green" / "1.jpg")
    told = []
    for count in (1, 3):
        process = start(run, broken, "--part", "all", "--batch-size", 1, "--processes", count)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (1, "")
        told.append(err)
    assert told[0] == told[1]
    assert str(lost.relative_to(broken)) in told[0]


@pytest.mark.parametrize("count", [0, -2])
def test_a_wrong_number_of_processes_is_refused(run, data, capsys, count):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(run), str(data), "--processes", str(count)])
    assert ended.value.code == 2
    assert f"--processes is {count}; it must be at least 1" in capsys.readouterr().err


def test_no_more_processes_than_images_are_started(run, monkeypatch, tmp_path):
    """Any machine may be asked for 16; the images are fewer here."""
    data, counts = class_folders(tmp_path / "data", {"blue": 2, "green": 1, "red": 1}), []

    @contextmanager
    def started(count, work):
        counts.append(count)
        yield World()

    monkeypatch.setattr("verydeep.processes.start_processes", started)
    verydeep.evaluate(run, data, processes=16)
    verydeep.extract(run, data, layers=["fc7"], out=tmp_path / "features.npz", processes=16)
    assert counts == [4, 4]


def test_torchruns_processes_start_no_others(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="leave `processes` out"), start_processes(2, print):
        pass


def count_and_give(world: World) -> None:
    for _ in world.share(range(7)):
        world.counting(lambda count: None)(1)
    world.gather((world.rank, os.environ["OMP_NUM_THREADS"], list(world.share(range(7)))))


def fail(world: World) -> None:
    raise DataError(f"process {world.rank} has no data")


def end(world: World) -> None:
    os._exit(3)


def test_the_first_process_counts_for_all(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    counted = []
    with start_processes(3, count_and_give) as world:
        for _ in world.share(range(7)):
            world.counting(counted.append)(1)
        values = world.gather(0, counted.append)
    each = str(max(1, num_threads() // 3))
    assert values == [0, (1, each, [1, 4]), (2, each, [2, 5])]
    assert sum(counted) == world.num_counted(7) == 7
    assert "OMP_NUM_THREADS" not in os.environ


def test_why_a_process_cannot_be_started_is_what_is_raised(monkeypatch):
    """Not that the one which never ran could not be ended."""

    def start(process):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(SpawnProcess, "start", start)
    with pytest.raises(VerydeepError, match="temporarily unavailable; try fewer"), start_processes(2, print):
        pass


def test_an_error_in_another_process_is_raised_here():
    with pytest.raises(DataError, match="process 1 has no data"), start_processes(2, fail) as world:
        world.gather(0)
    with pytest.raises(VerydeepError, match="process 2 of 2 ended with exit code 3"):  # noqa: SIM117
        with start_processes(2, end) as world:
            world.gather(0)


WAITING = """
import os, sys, time
from verydeep.processes import start_processes
def wait(world):
    if {elsewhere}:
        sys.platform = "elsewhere"
        from verydeep.interrupts import die_with_parent
        import ctypes
        ctypes.CDLL(None).prctl(1, 0)  # not by the kernel
        die_with_parent()
    os.write(1, b"at work\\n")
    time.sleep(100)
if __name__ == "__main__":
    with start_processes(3, wait):
        time.sleep(100)
"""


@pytest.mark.parametrize("elsewhere", [False, True])
def test_processes_die_with_the_one_that_started_them(tmp_path, elsewhere):
    """Where the kernel does not see to it, a pipe from it tells them."""
    script = tmp_path / "waiting.py"
    script.write_text(WAITING.format(elsewhere=elsewhere))
    first = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert first.stdout
    assert [first.stdout.readline() for _ in range(2)] == ["at work\n"] * 2
    started = others(first)
    assert len(started) == 2
    first.kill()
    end = time.monotonic() + 2
    first.communicate()  # they have its standard output too, and it ends with the last of them
    assert time.monotonic() < end


def test_a_script_without_the_guard_is_told_so(tmp_path):
    """Each process imports the script, and would start processes itself."""
    new("A", tmp_path / "run", width=0.05, num_classes=10, window=32)
    script = tmp_path / "script.py"
    script.write_text(
        "import verydeep\n"
        "try:\n"
        "    verydeep.evaluate('run', 'digits', part='all', processes=2, out='result.npz')\n"
        "except verydeep.errors.VerydeepError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert '`if __name__ == "__main__":`' in ended.stdout, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
