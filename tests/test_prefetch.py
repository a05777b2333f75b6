"""Prefetch: order, bounds, errors at their place, and threads that end."""

from __future__ import annotations

import threading
from itertools import count, islice
from threading import Barrier, Event

import pytest

from verydeep.prefetch import prefetch, prefetch_groups


def test_results_come_in_the_order_of_the_items_whichever_is_done_first() -> None:
    later_is_done = Event()

    def double(item: int) -> int:
        if item == 0:
            assert later_is_done.wait(60)
        else:
            later_is_done.set()
        return 2 * item

    assert list(prefetch(double, range(5), ahead=3, threads=2)) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("ahead", [0, 1, 7, 100])
def test_every_result_is_given_however_far_ahead(ahead: int) -> None:
    assert list(prefetch(str, range(20), ahead=ahead)) == [str(item) for item in range(20)]
    assert list(prefetch(str, [], ahead=ahead)) == []


def test_no_more_is_computed_than_the_bound_ahead_of_what_was_given() -> None:
    started: list[int] = []
    results = prefetch(lambda item: started.append(item) or item, count(), ahead=3, threads=1)
    assert list(islice(results, 5)) == [0, 1, 2, 3, 4]
    results.close()  # type: ignore[attr-defined]
    assert started == sorted(started)
    assert 4 in started
    assert max(started) <= 4 + 3


def test_work_goes_on_while_the_caller_works() -> None:
    next_is_done = Event()

    def work(item: int) -> int:
        if item == 1:
            next_is_done.set()
        return item

    results = prefetch(work, range(3), ahead=1, threads=1)
    assert next(results) == 0
    assert next_is_done.wait(60)
    assert list(results) == [1, 2]


def test_items_of_a_group_are_computed_side_by_side() -> None:
    together = Barrier(3)

    def meet(item: int) -> int:
        together.wait(60)
        return item

    assert list(prefetch_groups(meet, [(0, 1, 2), (3, 4, 5)], ahead=0, threads=3)) == [[0, 1, 2], [3, 4, 5]]


def test_groups_keep_their_lengths_and_one_group_is_ahead() -> None:
    taken: list[int] = []

    def groups() -> object:
        for length in (2, 0, 3, 1):
            taken.append(length)
            yield range(length)

    results = prefetch_groups(str, groups())  # type: ignore[arg-type]
    assert next(results) == ["0", "1"]
    assert taken == [2, 0]
    assert list(results) == [[], ["0", "1", "2"], ["0"]]


def test_an_error_is_raised_at_its_place_and_ends_the_iterator() -> None:
    def fail_at_two(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = prefetch(fail_at_two, range(10), ahead=5)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert list(results) == []


def test_an_error_of_the_items_is_raised() -> None:
    def broken() -> object:
        yield 0
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(prefetch(str, broken(), ahead=1))  # type: ignore[arg-type]


def test_closing_cancels_what_waits_and_ends_the_threads() -> None:
    before = threading.active_count()
    started: list[int] = []
    release = Event()

    def block(item: int) -> int:
        started.append(item)
        if item:
            assert release.wait(60)
        return item

    results = prefetch(block, range(100), ahead=50, threads=2)
    assert next(results) == 0
    threading.Timer(0.05, release.set).start()  # those that run are waited for
    results.close()  # type: ignore[attr-defined]
    assert len(started) <= 1 + 2 + 1  # the first, one on each thread, and one that was taken in between
    assert threading.active_count() <= before + 1  # the timer's own thread may be ending


def test_an_error_in_the_caller_ends_the_threads() -> None:
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        for result in prefetch(str, count(), ahead=4):
            if result == "3":
                raise KeyboardInterrupt
    assert threading.active_count() == before
