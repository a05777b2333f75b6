"""Bounds of reads over a network: bytes by what is read, time without progress, attempts, and redirects.

Whoever reads counts what arrives by a `Pace`, and wraps the whole in `persist`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import TypeVar
from urllib.parse import urlsplit

BLOCK = 1 << 20  # bytes that are read at once

MOST_MANIFEST_BYTES = 1 << 26  # 64 MB: the names of a million classes
MOST_INDEX_BYTES = 1 << 34  # 16 GB: a file of the index of 400 million images
MOST_IMAGE_BYTES = 3 << 29  # 1.6 GB: four channels of 16 bits of the largest image that is read
MOST_WEIGHTS_BYTES = 1 << 33  # 8 GB: VGG-19 in float64 with the state of its optimizer
MOST_CONFIG_BYTES = 1 << 24  # 16 MB: the class names of a model

LEAST_BYTES = 1024  # fewer within SECONDS is no progress
SECONDS = 30.0
HUB_SECONDS = 300.0  # likewise, of a library that writes 10 MB at a time
WAITS = (0.5, 2.0, 8.0)  # seconds before another attempt, where the last brought less than a block

MAY_PASS = {408, 425, 429, 500, 502, 503, 504}  # answers of a web server that has the file, but not now

Outcome = TypeVar("Outcome")


class BrokenError(Exception):
    """A transfer ended before it was complete; another attempt may get further."""


class Pace:
    """Progress of a transfer: it has to bring `LEAST_BYTES` in so many seconds, again and again.

    Args:
        seconds: None for `SECONDS`.

    """

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = SECONDS if seconds is None else seconds
        self._start()

    def _start(self) -> None:
        self._count, self._end = 0, time.monotonic() + self._seconds

    @property
    def seconds_left(self) -> float:
        """Seconds until the next bytes must be there."""
        return max(0.001, self._end - time.monotonic())

    def count(self, num_bytes: int) -> None:
        """Count bytes that have arrived.

        Raises:
            BrokenError: they are too few.

        """
        self._count += num_bytes
        if self._count >= LEAST_BYTES:
            self._start()
        elif time.monotonic() > self._end:
            raise self.too_slow()

    def too_slow(self) -> BrokenError:
        """The error of a transfer without progress."""
        return BrokenError(f"less than {LEAST_BYTES} bytes came in {self._seconds:.3g} seconds")


def in_time(call: Callable[[], Outcome], pace: Pace, present: Callable[[], int] = lambda: 0) -> Outcome:
    """Call a function on a thread of its own, which is left alone where it makes no progress.

    Args:
        call: what cannot be ended.
        pace: that it has to keep.
        present: tells how many bytes it has brought so far; is asked every second.

    Raises:
        BrokenError: it makes no progress.

    """
    answer: Future[Outcome] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=work, daemon=True).start()
    before = present()
    while not wait([answer], min(1, pace.seconds_left)).done:
        now = present()
        pace.count(now - before)
        before = now
    return answer.result()


def persist(transfer: Callable[[], Outcome], present: Callable[[], int]) -> Outcome:
    """Transfer, and again after a while where that breaks off: more often as long as attempts bring a block.

    Args:
        transfer: goes on after what is there; raises a `BrokenError`.
        present: tells how many bytes are there.

    Raises:
        BrokenError: of the last attempt.

    """
    waits = iter(WAITS)
    while True:
        before = present()
        try:
            return transfer()
        except BrokenError:
            if present() >= before + BLOCK:
                waits = iter(WAITS)
            wait = next(waits, None)
            if wait is None:
                raise
            time.sleep(wait)


def may_redirect(url: str, to: str) -> bool:
    """Whether a web server may send us there: never out of the web, nor from https to an open connection."""
    schemes = (urlsplit(url).scheme, urlsplit(to).scheme)
    return schemes in {("http", "http"), ("http", "https"), ("https", "https")}
