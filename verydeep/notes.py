"""What a person is told on standard error beside results and errors, from any room."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import cache


def say(line: str) -> None:
    """Tell a person what is going on; of several processes that work together the first does."""
    if speaks() and sys.stderr:
        with suppress(OSError, ValueError):  # nobody listens: standard error is closed
            print(line, file=sys.stderr, flush=True)


@cache
def note(line: str) -> None:
    """Tell something that the answer depends on, once."""
    say(f"note: {line}")


def speaks() -> bool:
    """Whether this process speaks for all: of torchrun's, and of those that it has started, the first does."""
    return os.environ.get("RANK", "0") == "0"
