"""Prefetch: results of a function are computed on threads before they are wanted, and given in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from verydeep.errors import VerydeepError

Item = TypeVar("Item")
Output = TypeVar("Output")


def prefetch(
    function: Callable[[Item], Output], items: Iterable[Item], *, ahead: int, threads: int | None = None
) -> Iterator[Output]:
    """Call a function for each item on threads, and give the results in the order of the items.

    An error is raised where its result would have been given, and ends the iterator. When the iterator is closed
    or dropped, calls that wait are cancelled, and those that run are waited for.

    Args:
        function: is called on several threads at once.
        items: are taken on the caller's thread, `ahead` of the result that is given.
        ahead: calls that are started or done while the caller works on a result. It bounds the memory.
        threads: None for as many as a `ThreadPoolExecutor` has.

    """
    for (output,) in prefetch_groups(function, ((item,) for item in items), ahead=ahead, threads=threads):
        yield output


def prefetch_groups(
    function: Callable[[Item], Output],
    groups: Iterable[Iterable[Item]],
    *,
    ahead: int = 1,
    threads: int | None = None,
) -> Iterator[list[Output]]:
    """As `prefetch`, for groups of items: gives the list of each group's results.

    Args:
        function: as in `prefetch`; is called for each item.
        groups: of items, which are computed side by side.
        ahead: whole groups that are started or done while the caller works on one.
        threads: as in `prefetch`.

    """
    pool = ThreadPoolExecutor(threads)
    waiting: deque[list[Future[Output]]] = deque()
    try:
        for group in groups:
            with starting_threads():
                started = [pool.submit(function, item) for item in group]
            waiting.append(started)
            if len(waiting) > ahead:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def starting_threads() -> Iterator[None]:
    """Say in a sentence that a thread of Python's cannot be started.

    Raises:
        VerydeepError: it cannot.

    """
    try:
        yield
    except RuntimeError as error:
        if str(error) != "can't start new thread":
            raise
        raise VerydeepError(
            "no more threads can be started; raise the limit of processes (ulimit -u) or of memory (ulimit -v)"
        ) from None
