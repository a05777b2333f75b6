"""One thread computes for all requests. What waits with the same key is computed together.

A request's images are let in (`Room`) before they are decoded and leave when it is answered, so the queue is
bounded; so are the pixels that wait. The engine takes all cores for one call. So one thread calls it, and the
others decode.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

from verydeep.serving.limits import MOST_WAITING, Refusal
from verydeep.serving.metrics import Metrics

WAIT = 0.003  # seconds that a call waits for images that are being decoded
BATCH_IMAGES = 32  # of a call, at most
BATCH_PIXELS = 2_000_000  # likewise
SOON = 0.5  # share of the last call in the mean time of an image

Compute = Callable[[list[Any]], Iterable[Any]]


@dataclass(eq=False)
class _Task:
    """A part of a request that waits for the thread.

    Attributes:
        key: of what can be computed together; None is computed alone.
        items: what is computed, one result each.
        pixels: that the items have.
        compute: items -> results, in their order.
        loop: of the request.
        future: gets the results.

    """

    key: Hashable
    items: list[Any]
    pixels: int
    compute: Compute
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[Any]]


class Room:
    """The bounded queue: images that are in work or waiting.

    Args:
        most: images.

    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self.seconds_per_image = 0.0

    def check(self, images: int = 1) -> None:
        """Make sure that images could be let in now.

        Raises:
            Refusal: there is no room.

        """
        if self.taken and self.taken + images > self.most:
            raise self.refusal()

    def refusal(self) -> Refusal:
        """The answer to what comes while there is no room."""
        again = min(60, max(1, ceil(self.taken * self.seconds_per_image)))
        return Refusal(503, f"the server is busy: {self.taken} images are waiting; try again later", again)

    @contextmanager
    def images(self, count: int) -> Iterator[None]:
        """Let images in; they leave at the end.

        Raises:
            Refusal: there is no room.

        """
        self.check(count)
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count

    def learn(self, images: int, seconds: float) -> None:
        """Keep in mind how long an image takes, for what is refused."""
        last = seconds / images
        known = self.seconds_per_image or last
        self.seconds_per_image = SOON * last + (1 - SOON) * known


class Worker:
    """The thread that computes.

    Args:
        room: whose images are computed.
        metrics: of the server.

    """

    def __init__(self, room: Room, metrics: Metrics) -> None:
        self._room = room
        self._metrics = metrics
        self._tasks: list[_Task] = []
        self._changed = threading.Condition()
        self._arriving = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Tell the thread that something is about to be submitted; a call may wait for it."""
        with self._changed:
            self._arriving += 1
        try:
            yield
        finally:
            with self._changed:
                self._arriving -= 1
                self._changed.notify()

    def submit(
        self, items: Sequence[Any], compute: Compute, key: Hashable = None, *, pixels: int
    ) -> asyncio.Future[list[Any]]:
        """Compute items in the thread.

        Args:
            items: one result is given for each.
            compute: items -> results, in their order; it gets those of several requests of one key.
            key: of what can be computed together; None is computed alone.
            pixels: that are shown to networks, or held.

        Returns:
            What is to be awaited for the results, or for what `compute` raises.

        Raises:
            Refusal: the server is stopping, or too many pixels are waiting.

        """
        loop = asyncio.get_running_loop()
        task = _Task(key, list(items), pixels, compute, loop, loop.create_future())
        with self._changed:
            if self._closed:
                raise Refusal(503, "the server is stopping", 1)
            if self._tasks and sum(one.pixels for one in self._tasks) + pixels > MOST_WAITING:
                raise self._room.refusal()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="verydeep-compute", daemon=True)
                self._thread.start()
            self._tasks.append(task)
            self._changed.notify()
        task.future.add_done_callback(lambda future: self._forget(task) if future.cancelled() else None)
        return task.future

    def _forget(self, task: _Task) -> None:
        """Drop a task whose request has ended, with its images, if it is still waiting."""
        with self._changed:
            if task in self._tasks:
                self._tasks.remove(task)

    def close(self) -> None:
        """End the thread, after what waits is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while tasks := self._next():
            items = [item for task in tasks for item in task.items]
            begun = time.perf_counter()
            try:
                results = list(tasks[0].compute(items))
            except BaseException as error:
                self._metrics.computed(0, time.perf_counter() - begun)
                for task in tasks:
                    _deliver(task, error=error)
                continue
            seconds = time.perf_counter() - begun
            self._room.learn(len(items), seconds)
            self._metrics.computed(len(items), seconds)
            at = 0
            for task in tasks:
                _deliver(task, results[at : at + len(task.items)])
                at += len(task.items)

    def _next(self) -> list[_Task]:
        """The oldest task, and those that can be computed with it; nothing at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._tasks or self._closed)
                if not self._tasks:
                    return []
                until = time.monotonic() + WAIT
                while not self._full() and self._arriving and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
                if taken := self._take():
                    return taken

    def _full(self) -> bool:
        """Whether waiting would not make the next call larger."""
        return not self._tasks or self._tasks[0].key is None or len(self._tasks) >= BATCH_IMAGES

    def _take(self) -> list[_Task]:
        """Remove the oldest task and its like; those whose request has ended are dropped."""
        if not self._tasks:
            return []
        first = self._tasks[0]
        taken: list[_Task] = []
        left: list[_Task] = []
        images = pixels = 0
        for task in self._tasks:
            alike = task is first or (first.key is not None and task.key == first.key)
            fits = images + len(task.items) <= BATCH_IMAGES and pixels + task.pixels <= BATCH_PIXELS
            if not alike or (taken and not fits):
                left.append(task)
            elif not task.future.cancelled():
                taken.append(task)
                images, pixels = images + len(task.items), pixels + task.pixels
        self._tasks = left
        return taken


def _deliver(task: _Task, results: list[Any] | None = None, error: BaseException | None = None) -> None:
    def deliver() -> None:
        if task.future.done():  # its client has gone, or its time is over
            return
        if error is not None:
            task.future.set_exception(error)
        else:
            task.future.set_result(results or [])

    if not task.loop.is_closed():
        task.loop.call_soon_threadsafe(deliver)
