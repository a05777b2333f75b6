"""`make` installs by uv, or by pip; and a CPU build of PyTorch where there is no GPU and the index has one."""

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
def test_the_build_and_what_is_said_before(install, calls, listed, build, wanted, monkeypatch, capsys):
    answer = subprocess.CompletedProcess([], 0, listed, "")
    monkeypatch.setattr(install, "wants_cpu_build", lambda what: wanted)
    monkeypatch.setattr(install.subprocess, "run", lambda *_, **__: answer)
    monkeypatch.setattr(install.sys, "argv", ["install.py", ".[train,report]"])
    assert install.main() == 0
    command, constraints = calls[-1]
    assert command[-2:] == ["-e", ".[train,report]"]
    said = capsys.readouterr().out
    pins = [line for line in constraints.splitlines() if line.startswith("torch==")]
    if wanted and build:  # pip alone is sure to find it
        assert [by(command) for command, _ in calls] == ["pip"]
        assert pins == [f"torch=={build}"]
        assert f"PyTorch {build}, a CPU build" in said
    else:
        assert [by(command) for command, _ in calls] == ["pip", "uv"]
        assert len(pins) == 2  # as constraints.txt has them, by machine
        assert ("5.8 GB" in said) == wanted


@pytest.mark.parametrize(("fails", "tried"), [(0, ["pip", "pip"]), (1, ["pip", "uv", "pip"])])
def test_pip_installs_where_uv_does_not(install, calls, fails, tried, monkeypatch, capsys):
    calls.fails = fails
    monkeypatch.setattr(install.sys, "argv", ["install.py", ".[dev]"])
    assert install.main() == 0
    assert [by(command) for command, _ in calls] == tried
    assert ("uv could not install" in capsys.readouterr().out) == ("uv" in tried)
    assert "--no-compile" in calls[-1][0]


def test_torchvision_needs_the_usual_build(install, monkeypatch):
    monkeypatch.setattr(install.sys, "platform", "linux")
    monkeypatch.setattr(install.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(install.Path, "exists", lambda path: False)
    assert [install.wants_cpu_build(what) for what in (".[train,report]", ".[dev]")] == [True, False]


class Calls(list):
    """Commands that would have run, with their constraints; the one of number `fails` does."""

    fails = None

    def __call__(self, command, **_):
        self.append((command, Path(command[command.index("-c") + 1]).read_text()))
        return int(len(self) - 1 == self.fails)


def by(command):
    """Which program a command installs with."""
    return "uv" if Path(command[0]).name == "uv" else "pip"


def test_kernels_that_are_built_are_not_built_again(install, calls, monkeypatch):
    monkeypatch.setattr(install, "is_built", lambda: True)
    monkeypatch.setattr(install.sys, "argv", ["install.py", ".[train,report]"])
    monkeypatch.setattr(install, "wants_cpu_build", lambda what: False)
    assert install.main() == 0
    assert calls[-1][0][-5:] == ["pyproject.toml", "--extra", "train", "--extra", "report"]


@pytest.fixture
def calls(install, monkeypatch):
    monkeypatch.setattr(install, "is_built", lambda: False)
    monkeypatch.setattr(install.subprocess, "call", Calls())
    return install.subprocess.call
