"""Ctrl-C and SIGTERM: exit codes, and what they leave behind. `benchmarks/random_signals.py` tries more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from verydeep.cli import main
from verydeep.files import all_or_none, write_whole
from verydeep.interrupts import ended_by_signals, exit_code, interrupts, passed_on

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_a_signal_ends_a_command_with_its_code_and_no_file_is_left(tmp_path, number, monkeypatch, capsys):
    def write(aside: Path) -> None:
        aside.write_text("half")
        signal.raise_signal(number)

    monkeypatch.setattr("verydeep.cli._run", lambda name, words: write_whole(tmp_path / "file", write))
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        main(["describe", "A"])
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err in ("verydeep: interrupted\n", "verydeep: terminated\n")
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) is before
    monkeypatch.undo()
    main(["describe", "A"])  # the next one is not ended by it


@BOTH
def test_work_that_ends_by_itself_after_a_signal_has_its_code_too(number):
    with ended_by_signals():
        assert exit_code(0) == 0
        with interrupts() as requested:
            signal.raise_signal(number)
            assert requested()
        assert exit_code(0) == 128 + number
        passed: list[int] = []
        with passed_on(passed.append):
            signal.raise_signal(number)
            signal.raise_signal(number)
        assert passed == [number, number]
    with ended_by_signals():
        assert exit_code(1) == 1


def test_of_several_files_all_or_none_is_left(tmp_path):
    with pytest.raises(KeyboardInterrupt), all_or_none([tmp_path / "a", tmp_path / "b", tmp_path / "c"]):
        (tmp_path / "a").touch()
        (tmp_path / "b" / "deep").mkdir(parents=True)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_long_commands_at_random_moments():
    script = Path(__file__).parent.parent / "benchmarks" / "random_signals.py"
    ended = subprocess.run(
        [sys.executable, script, "--moments", "6", "--only", "train", "evaluate", "shard", "convert"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count(", 0 wrong") == 4
