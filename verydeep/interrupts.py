"""Signals: Ctrl-C and SIGTERM end work where nothing is lost; and processes that end with their parent."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_received: int | None = None


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end what is at work as Ctrl-C does, so that nothing is left behind; and note which has come."""
    global _received
    _received = None

    def end(number: int, frame: FrameType | None) -> None:
        _note(number)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    with _handled(end):
        yield


def exit_code(otherwise: int) -> int:
    """128 and the number of the signal that has come, as shells have it: 130 after Ctrl-C, 143 after SIGTERM."""
    return otherwise if _received is None else 128 + _received


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request to end after this step; the second ends at once.

    Gives the function that tells whether it was requested.
    """
    requested = False

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        _note(number)
        if requested:
            raise KeyboardInterrupt
        requested = True

    with _handled(request):
        yield lambda: requested


@contextmanager
def passed_on(send: Callable[[int], object]) -> Iterator[None]:
    """Call a function with each Ctrl-C and SIGTERM instead of ending."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        _note(number)
        send(number)

    with _handled(pass_on):
        yield


@contextmanager
def stopped_by_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Call a function at Ctrl-C and SIGTERM, which are how this work ends: the process exits with 0."""

    def end(number: int, frame: FrameType | None) -> None:
        stop()

    with _handled(end):
        yield


@contextmanager
def held(*signals: signal.Signals) -> Iterator[None]:
    """Keep signals for later, and from processes that are started meanwhile for ever, unless these want them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with_parent() -> None:
    """End this process, one of multiprocessing's, when the one that started it ends, even by SIGKILL."""
    from multiprocessing import parent_process

    parent = parent_process()
    assert parent
    if sys.platform == "linux":
        kernel_ends_with_parent()
        if os.getppid() != parent.pid:  # it was gone before
            os._exit(1)
    else:
        from threading import Thread

        Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def kernel_ends_with_parent() -> None:
    """Let the kernel end this process with its parent, even while it is stopped; Linux alone does that."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _end_after(parent: int) -> None:
    from multiprocessing.connection import wait

    wait([parent])  # a pipe that ends with it
    os._exit(1)


def _note(number: int) -> None:
    global _received
    _received = number


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    try:
        before = [signal.signal(number, handler) for number in ENDING]
    except ValueError:  # not the main thread: whoever started it takes care of signals
        yield
        return
    try:
        yield
    finally:
        for number, one in zip(ENDING, before, strict=True):
            signal.signal(number, one)
