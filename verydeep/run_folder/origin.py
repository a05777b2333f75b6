"""Where a model comes from: the call, the code, the versions and the machine that made it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from verydeep.run_folder.config import EARLIER, ModelConfig
from verydeep.version import installed_version

KEPT_OF_EARLIER = (
    *("origin", "licence", "commit", "recipe", "recipe_name", "data", "grown_from", "started_from"),
    EARLIER,
)

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

_command: ContextVar[str | None] = ContextVar("command", default=None)


@contextmanager
def carrying_out(command: str) -> Iterator[None]:
    """Record a command as the origin of models that are made meanwhile, unless one is carried out already."""
    token = _command.set(_command.get() or command)
    try:
        yield
    finally:
        _command.reset(token)


def recorded(function: Callable[Parameters, Answer]) -> Callable[Parameters, Answer]:
    """Let a function of the package record how it was called: the origin of what it makes."""

    @wraps(function)
    def recording(*positions: Parameters.args, **named: Parameters.kwargs) -> Answer:
        arguments = [*map(_shown, positions), *(f"{name}={_shown(value)}" for name, value in named.items())]
        with carrying_out(f"verydeep.{function.__name__}({', '.join(arguments)})"):
            return function(*positions, **named)

    return recording


def _shown(argument: object) -> str:
    return repr(str(argument) if isinstance(argument, Path) else argument)


def call_now() -> str:
    """The call of a recorded function that is carried out, as it was written: a command, or Python."""
    return _command.get() or ""


def provenance(**facts: Any) -> dict[str, Any]:
    """Where a model comes from: the call, the code and the machine that made it, and the given facts."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command.get(),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: installed_version(name) for name in ("verydeep", "torch", "numpy", "pillow")},
        "processor": processor_name(),
        **facts,
    }


def provenance_of_earlier(earlier: ModelConfig) -> dict[str, Any]:
    """What a run keeps in its provenance of the one that it started from, and of that one's own beginnings."""
    kept = {name: earlier.provenance[name] for name in KEPT_OF_EARLIER if name in earlier.provenance}
    return {EARLIER: kept} if kept else {}


def _commit() -> str | None:
    """The commit of the checkout that the package runs from, with a + where it has been changed since."""
    import subprocess

    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def processor_name() -> str:
    """The processor's name as its maker gives it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
