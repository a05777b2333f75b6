"""`make install` and `make demo` take a CPU build of PyTorch where there is no GPU and the index has one."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

INSTALL = Path(__file__).parent.parent / "tools" / "install.py"
LISTED = "torch (2.15.0)\nAvailable versions: 2.15.0, {}2.14.1, 2.13.0+cpu, 2.13.0, 2.8.0+cpu, 2.8.0\n"


@pytest.fixture
def install():
    spec = importlib.util.spec_from_file_location("install", INSTALL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("listed", "build"),
    [
        (LISTED.format(""), "2.13.0+cpu"),
        (LISTED.format("2.14.1+cpu, "), "2.14.1+cpu"),
        ("torch (2.8.0)\nAvailable versions: 2.8.0+cpu, 2.8.0\n", None),
        ("torch (2.15.0)\nAvailable versions: 2.15.0, 2.14.1\n", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("wanted", [True, False])
def test_the_build_and_what_is_said_before(install, listed, build, wanted, monkeypatch, capsys):
    given = []

    def call(command, cwd):
        given.append((command, Path(command[command.index("-c") + 1]).read_text()))
        return 0

    answer = subprocess.CompletedProcess([], 0, listed, "")
    monkeypatch.setattr(install, "wants_cpu_build", lambda: wanted)
    monkeypatch.setattr(install.subprocess, "run", lambda *_, **__: answer)
    monkeypatch.setattr(install.subprocess, "call", call)
    monkeypatch.setattr(install.sys, "argv", ["install.py", ".[train,report]"])
    assert install.main() == 0
    ((command, constraints),) = given
    assert command[-2:] == ["-e", ".[train,report]"]
    said = capsys.readouterr().out
    pins = [line for line in constraints.splitlines() if line.startswith("torch==")]
    if wanted and build:
        assert pins == [f"torch=={build}"]
        assert f"PyTorch {build}, a CPU build" in said
    else:
        assert len(pins) == 2  # as constraints.txt has them, by machine
        assert ("5.8 GB" in said) == wanted
