"""One process at a time writes a folder or a file; `benchmarks/two_writers.py` tries each command fifty times."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sample_images import class_folders, save

from verydeep import lock, notes
from verydeep.cli import main
from verydeep.errors import BusyError, UsageError
from verydeep.lock import LOCK, is_written, wait_for_lock, writing_file, writing_folder

SMALL = ["--recipe", "digits", "--width", "0.03", "--epochs", "1", "--batch-size", "8"]


def hold(*folders: Path) -> subprocess.Popen[str]:
    """Another process that writes to folders, until it is ended."""
    code = (
        "import sys, time\nfrom contextlib import ExitStack\nfrom pathlib import Path\n"
        "from verydeep.lock import writing_folder\n"
        "with ExitStack() as stack:\n"
        "    for folder in sys.argv[1:]:\n        stack.enter_context(writing_folder(Path(folder)))\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, *map(str, folders)], stdout=subprocess.PIPE, text=True)
    assert other.stdout and other.stdout.readline() == "held\n"
    return other


def test_the_other_is_told_who_writes_and_a_killed_one_locks_nothing(tmp_path):
    folder = tmp_path / "runs" / "a"
    with hold(folder) as other:
        assert is_written(folder)
        with pytest.raises(BusyError) as refused, writing_folder(folder):
            pass
        told = f"{folder} is being written by process {other.pid} on this machine (-c {folder}, since "
        assert str(refused.value).startswith(told)
        assert str(refused.value).endswith("); wait for it, or stop it")
        other.send_signal(signal.SIGKILL)
    assert (folder / LOCK).exists()
    assert is_written(folder) is False
    with writing_folder(folder):
        assert is_written(folder)
    assert list(folder.iterdir()) == []
    with writing_folder(tmp_path / "new" / "b"):
        pass
    assert not (tmp_path / "new").exists()  # both were made for it, and stayed empty


def test_what_is_in_a_folder_stays_and_a_lock_goes_with_its_file(tmp_path):
    (tmp_path / "run").mkdir()
    with writing_folder(tmp_path / "run"):
        (tmp_path / "run" / "weights").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["weights"]
    with writing_file(tmp_path / "result.npz"):
        with writing_file(tmp_path / "other.npz"):
            pass
        with (
            pytest.raises(BusyError, match=r"result\.npz is being written"),
            writing_file(tmp_path / "result.npz"),
        ):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    with pytest.raises(UsageError, match="is a file"), writing_folder(tmp_path / "run" / "weights"):
        pass


def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path):
    for name in ("n" * 255, "é" * 127, "n" * 240):
        with writing_file(tmp_path / name):
            (lock_file,) = tmp_path.iterdir()
            with (
                writing_file(tmp_path / ("m" * 255)),
                pytest.raises(BusyError, match="is being written"),
                writing_file(tmp_path / name),
            ):
                pass
        assert not lock_file.exists()


@pytest.mark.parametrize("holder", ["", "[]", "{", '{"host": 1}', '{"process": 3, "host": "a", "since": "x"}'])
def test_a_holder_that_cannot_be_read(tmp_path, holder):
    with writing_file(tmp_path / "x"):
        (tmp_path / ".x.lock").write_text(holder)
        with pytest.raises(BusyError, match="is being written by another process; wait"):  # noqa: SIM117
            with writing_file(tmp_path / "x"):
                pass


def test_a_holder_on_another_machine_since_another_day(tmp_path):
    holder = {"process": 3, "host": "far\naway", "command": "verydeep train", "since": "2026-01-02T12:00:00+00:00"}
    with writing_file(tmp_path / "x"):
        (tmp_path / ".x.lock").write_text(json.dumps(holder))
        told = r"process 3 on far away \(verydeep train, since 2026-01-02 \d\d:\d\d\)"
        with pytest.raises(BusyError, match=told), writing_file(tmp_path / "x"):
            pass


def test_a_file_system_without_locks_is_named_and_used(tmp_path, monkeypatch, capsys):
    def none(*descriptor: int, **shared: bool) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock, "_lock", none)
    notes.note.cache_clear()
    for _ in range(2):
        with writing_folder(tmp_path / "run") as descriptor:
            assert descriptor is None
            assert is_written(tmp_path / "run") is None
    assert capsys.readouterr().err.count("is on a file system without locks") == 1


def test_a_system_without_locks_fetches_and_says_so(tmp_path, monkeypatch, capsys):
    """As Windows, which has no fcntl."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    notes.note.cache_clear()
    path = tmp_path / "file"
    with path.open("wb") as file:
        wait_for_lock(file.fileno(), path)
    assert "without locks" in capsys.readouterr().err


def test_who_looks_for_a_moment_keeps_nobody_from_writing(tmp_path):
    folder = tmp_path / "run"
    watching = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom pathlib import Path\nfrom verydeep.lock import is_written\n"
            "print('go', flush=True)\nwhile True: is_written(Path(sys.argv[1]))",
            str(folder),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert watching.stdout and watching.stdout.readline()
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            with writing_folder(folder):
                pass
    finally:
        watching.kill()
        watching.communicate()


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    desk = tmp_path_factory.mktemp("desk")
    class_folders(desk / "data", {"blue": 4, "red": 4})
    save(desk / "image.png")
    main(["new", "A", str(desk / "model"), "--width", "0.03", "--num-classes", "2", "--window", "32"])
    config = json.loads((desk / "model" / "config.json").read_text())
    (desk / "model" / "config.json").write_text(json.dumps(config | {"class_names": ["blue", "red"]}))
    main(["train", str(desk / "data"), str(desk / "run"), *SMALL])
    (desk / "study.toml").write_text('title = "T"\nrecipe = "digits"\n[[train]]\nnetworks = "A"\n')
    return desk


@pytest.mark.parametrize(
    ("words", "output", "held"),
    [
        ("train data new SMALL", "new", writing_folder),
        ("train data run --resume", "run", writing_folder),
        ("evaluate model data --part all --out x.npz", "x.npz", writing_file),
        ("evaluate model data --part all --out x.npz --processes 2", "x.npz", writing_file),
        ("extract model data --layers pool5 --out x.npz", "x.npz", writing_file),
        ("transfer model data --scales 36", "model/classifier.safetensors", writing_file),
        ("shard data --out shards", "shards", writing_folder),
        ("convert model copy", "copy", writing_folder),
        ("new A fresh --width 0.03 --window 32", "fresh", writing_folder),
        ("export model --to hub --out hub", "hub", writing_folder),
        ("export model --to onnx --out x.onnx", "x.onnx", writing_file),
        ("study study.toml --out study --data data", "study", writing_folder),
    ],
)
def test_every_command_that_writes_a_folder_or_parts_is_refused(desk, monkeypatch, capsys, words, output, held):
    monkeypatch.chdir(desk)
    before = sorted(path for path in desk.rglob("*"))
    with held(Path(output)):
        during = sorted(path for path in desk.rglob("*"))
        with pytest.raises(SystemExit) as ended:
            main([word for part in words.split() for word in (SMALL if part == "SMALL" else [part])])
        assert sorted(path for path in desk.rglob("*")) == during
    assert ended.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith(f"verydeep: {output} is being written by process {os.getpid()} on this machine")
    assert sorted(path for path in desk.rglob("*")) == before


@pytest.mark.heavy
def test_two_writers_at_once():
    """Of two processes that begin at the same moment, one works and the other is refused."""
    script = Path(__file__).parent.parent / "benchmarks" / "two_writers.py"
    ended = subprocess.run(
        [sys.executable, script, "--tries", "2"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("2 tries, 0 wrong") == 5
