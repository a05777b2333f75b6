"""Counts of a server, as Prometheus reads them."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)
MINUTE = 60  # seconds

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """How many values lie up to each bound.

    Args:
        bounds: rising.

    """

    def __init__(self, bounds: Iterable[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: Labels = ()) -> Iterator[str]:
        """In Prometheus's text format."""
        total = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            yield f"{name}_bucket{_labels((*labels, ('le', bound)))} {total}"
        yield f"{name}_sum{_labels(labels)} {self.sum:.9g}"
        yield f"{name}_count{_labels(labels)} {total}"


class Metrics:
    """What a server has done. `answered` is called by its loop, `computed` by its thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[Labels] = Counter()
        self._latency: dict[str, Histogram] = {}
        self._batches = Histogram(SIZES)
        self._seconds = 0.0
        self._lately: Counter[int] = Counter()  # images of each second of the last minute

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests[("route", route), ("status", str(status))] += 1
        self._latency.setdefault(route, Histogram(SECONDS)).add(seconds)

    def computed(self, images: int, seconds: float) -> None:
        """Count a call of the engine; of one that failed the seconds alone, for no images."""
        with self._lock:
            if images:
                self._batches.add(images)
            self._seconds += seconds
            self._lately[int(time.monotonic())] += images
            self._forget()

    def text(self, waiting: int) -> str:
        """All of it, in Prometheus's text format.

        Args:
            waiting: images that are in work or waiting.

        """
        return "\n".join(self._lines(waiting)) + "\n"

    def _lines(self, waiting: int) -> Iterator[str]:
        yield from _head("verydeep_requests_total", "counter", "Requests by route and status.")
        for labels, count in sorted(self._requests.items()):
            yield f"verydeep_requests_total{_labels(labels)} {count}"
        yield from _head("verydeep_request_seconds", "histogram", "Seconds from a request to its answer.")
        for route, histogram in sorted(self._latency.items()):
            yield from histogram.lines("verydeep_request_seconds", (("route", route),))
        yield from _head("verydeep_queue_images", "gauge", "Images that are in work or waiting.")
        yield f"verydeep_queue_images {waiting}"
        with self._lock:
            yield from _head("verydeep_batch_images", "histogram", "Images of a call of the engine.")
            yield from self._batches.lines("verydeep_batch_images")
            self._forget()
            yield from _head("verydeep_images_per_second", "gauge", "Images per second, mean of the last minute.")
            yield f"verydeep_images_per_second {self._lately.total() / MINUTE:.9g}"
            yield from _head("verydeep_images_total", "counter", "Images that were computed.")
            yield f"verydeep_images_total {self._batches.sum:.0f}"
            yield from _head("verydeep_compute_seconds_total", "counter", "Seconds that the engine was at work.")
            yield f"verydeep_compute_seconds_total {self._seconds:.9g}"

    def _forget(self) -> None:
        for second in [one for one in self._lately if one < time.monotonic() - MINUTE]:
            del self._lately[second]


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _labels(labels: Labels) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels) + "}" if labels else ""
