"""Ctrl-C and SIGTERM as a request: what is at work ends by itself, at a place where nothing is lost."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request to end after this step; the second ends at once.

    Gives the function that tells whether it was requested.
    """
    requested = False

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True

    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(number, request) for number in signals]
    except ValueError:  # not the main thread: whoever started it takes care of signals
        yield lambda: False
        return
    try:
        yield lambda: requested
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def held(*signals: signal.Signals) -> Iterator[None]:
    """Keep signals for later, and from processes that are started meanwhile for ever, unless these want them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
