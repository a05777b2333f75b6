"""The distances of pairs of images, as a table, in files, and in a few numbers."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.comparison.pairs import Pairs
from verydeep.errors import ImageError, UsageError, escaped, require
from verydeep.files import check_out, json_text, write_whole
from verydeep.images.image_set import MOST_NAMED, Unreadable
from verydeep.results import Result

ENDINGS = (".csv", ".jsonl", ".parquet")
CHANGED = "the images were changed while they were read"
PERCENTILES = (5, 25, 75, 95)
AT_ONCE = 65_536  # rows of a Parquet file's group


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Result):
    """Distances of pairs of images.

    Attributes:
        metric: that measured them.
        pairs: which images are pairs.
        distances: of each pair, of shape (pairs,); NaN where there is none.
        unreadable: images that cannot be read, and why.
        out: file that has the pairs; None where there is none.

    """

    metric: str
    pairs: Pairs
    distances: NDArray[np.float64]
    unreadable: tuple[Unreadable, ...] = ()
    out: Path | None = None

    def __len__(self) -> int:
        return len(self.distances)

    def __iter__(self) -> Iterator[tuple[str, str, float]]:
        """The names of two images and their distance, pair by pair."""
        for first, second, distance, _ in self.rows():
            yield first, second, distance

    @cached_property
    def statistics(self) -> dict[str, float]:
        """Mean, median, percentiles, the least and the greatest distance; none where no pair could be compared."""
        known = self.distances[np.isfinite(self.distances)]
        if not len(known):
            return {}
        low, first, third, high = np.percentile(known, PERCENTILES).tolist()
        return {
            "mean": float(known.mean()),
            "median": float(np.median(known)),
            "min": float(known.min()),
            "percentile_5": low,
            "percentile_25": first,
            "percentile_75": third,
            "percentile_95": high,
            "max": float(known.max()),
        }

    @property
    def num_failed(self) -> int:
        """Pairs that could not be compared."""
        return int(np.isnan(self.distances).sum())

    def matrix(self) -> NDArray[np.float64]:
        """Distances of each image to each, where all pairs were compared.

        Returns:
            Of shape (images of A, images of B); of one folder (images, images), with 0 on the diagonal.

        Raises:
            UsageError: other pairs were compared.

        """
        if self.pairs.kind != "all":
            raise UsageError("only a comparison with `all_pairs` has a matrix")
        count, total = self.pairs.count, len(self.pairs.images)
        if self.pairs.two_sets:
            return self.distances.reshape(count, total - count)
        matrix = np.zeros((count, count))
        matrix[self.pairs.first, self.pairs.second] = self.distances
        return matrix + matrix.T

    def worst(self, count: int) -> list[int]:
        """Places of the pairs with the greatest distances, the greatest first."""
        order = np.argsort(-self.distances, kind="stable")  # NaN comes last
        places: list[int] = order[: min(count, len(order) - self.num_failed)].tolist()
        return places

    def rows(self) -> Iterator[tuple[str, str, float, str]]:
        """Of each pair: both names, the distance, and why there is none; empty where there is one."""
        lost = {one.number: one.reason for one in self.unreadable}
        for start in range(0, len(self), AT_ONCE):  # lists of them all would take four times the memory
            arrays = (self.pairs.first, self.pairs.second, self.distances)
            some = zip(*(array[start : start + AT_ONCE].tolist() for array in arrays), strict=True)
            for place, (first, second, distance) in enumerate(some, start):
                reason = ""
                if np.isnan(distance):
                    reason = self.pairs.reasons.get(place) or lost.get(first) or lost.get(second) or CHANGED
                yield self.pairs.name(first), self.pairs.name(second), distance, reason

    def records(self) -> Iterator[dict[str, Any]]:
        """An object for each pair; of a comparison whose pairs are in a file, its numbers alone."""
        if self.out:
            yield self.summary()
            return
        for first, second, distance, reason in self.rows():
            yield as_record(first, second, distance, reason)

    def to_dict(self) -> dict[str, Any]:
        """The numbers, and the pairs."""
        return {**self.summary(), "pairs": [as_record(*row) for row in self.rows()]}

    def summary(self) -> dict[str, Any]:
        """How many pairs were compared, and the statistics."""
        facts: dict[str, Any] = {"metric": self.metric, "num_pairs": len(self), "num_failed": self.num_failed}
        out = {"out": fspath(self.out)} if self.out else {}
        return facts | self.statistics | out

    def failure(self) -> ImageError | None:
        """How many pairs could not be compared; its notes are the reasons."""
        if not self.num_failed:
            return None
        reasons = Counter(reason for *_, reason in self.rows() if reason)
        if len(self) == 1:
            return ImageError(next(iter(reasons)))
        error = ImageError(f"{self.num_failed:,} of {len(self):,} pairs could not be compared")
        for reason, count in reasons.most_common(MOST_NAMED):
            error.add_note(reason + f" ({count:,} pairs)" * (count > 1))
        return error

    def __str__(self) -> str:
        """One distance alone; several as a table, with the statistics below."""
        if self.out:
            return f"{escaped(self.out)}: {self._statistics_line()}"
        if len(self) == 1:
            return "\n".join(f"{distance:.6f}" for distance in self.distances[np.isfinite(self.distances)])
        names = [(escaped(first), escaped(second)) for first, second, *_ in self.rows()]
        widths = [max(len(pair[side]) for pair in names) for side in (0, 1)]
        lines = [
            f"{first:{widths[0]}}  {second:{widths[1]}}  {escaped(reason) or f'{distance:.6f}'}"
            for (first, second), (_, _, distance, reason) in zip(names, self.rows(), strict=True)
        ]
        return "\n".join([*lines, "", self._statistics_line()])

    def exact(self) -> str:
        """The distance of one pair; several as CSV, in which names are as they are."""
        if self.out or len(self) == 1:
            return str(self)
        text = io.StringIO()
        write_csv(text, self.rows())
        return text.getvalue().removesuffix("\n")

    def _statistics_line(self) -> str:
        found = self.statistics
        counted = f"{len(self):,} pair{'s' * (len(self) != 1)}"
        failed = f", {self.num_failed:,} not compared" if self.num_failed else ""
        if not found:
            return f"{self.metric} of {counted}{failed}"
        shown = {
            "mean": "mean",
            "median": "median",
            "percentile_5": "5 %",
            "percentile_95": "95 %",
            "min": "min",
            "max": "max",
        }
        numbers = ", ".join(f"{word} {found[name]:.6f}" for name, word in shown.items())
        return f"{self.metric} of {counted}: {numbers}{failed}"


def as_record(first: str, second: str, distance: float, reason: str) -> dict[str, Any]:
    """A pair as an object: its names, and its distance or why there is none."""
    names = {"first": first or None, "second": second or None}
    return names | ({"distance": None, "reason": reason} if reason else {"distance": distance})


def check_pairs_out(path: Path) -> None:
    """Make sure that a file of pairs can be written there.

    Raises:
        UsageError: it has another ending than `ENDINGS`, or is a folder.
        DiskError: its folder cannot be made or written to.
        VerydeepError: what writes Parquet is not installed.

    """
    if path.suffix not in ENDINGS:
        raise UsageError(f"`out` {path} has to end with {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if path.suffix == ".parquet":
        require("pyarrow", "parquet", "a .parquet file")
    check_out(path)


def write_pairs(path: Path, comparison: Comparison) -> None:
    """Write a row for each pair: `first`, `second`, `distance`, `reason`; the file appears whole.

    Raises:
        DiskError: it cannot be written.

    """
    writers: Mapping[str, Callable[[Path], None]] = {
        ".csv": lambda aside: _write_csv_file(aside, comparison),
        ".jsonl": lambda aside: _write_json_lines(aside, comparison),
        ".parquet": lambda aside: _write_parquet(aside, comparison),
    }
    write_whole(path, writers[path.suffix])


def write_csv(to: io.TextIOBase, rows: Iterator[tuple[str, str, float, str]]) -> None:
    """Write rows as CSV, under a line of headings."""
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(["first", "second", "distance", "reason"])
    for first, second, distance, reason in rows:
        writer.writerow([first, second, "" if reason else f"{distance:.9g}", reason])


def _write_csv_file(path: Path, comparison: Comparison) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, comparison.rows())


def _write_json_lines(path: Path, comparison: Comparison) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in comparison.rows():
            file.write(json_text(as_record(*row)) + "\n")


def _write_parquet(path: Path, comparison: Comparison) -> None:
    import pyarrow
    from pyarrow import parquet

    text = pyarrow.string()
    columns = {"first": text, "second": text, "distance": pyarrow.float64(), "reason": text}
    metadata = {"verydeep": json_text(comparison.summary())}
    schema = pyarrow.schema([pyarrow.field(name, kind) for name, kind in columns.items()], metadata=metadata)
    with parquet.ParquetWriter(path, schema) as writer:
        for group in _groups(comparison.rows()):
            values = [
                [first or None for first, *_ in group],
                [second or None for _, second, *_ in group],
                [None if reason else distance for *_, distance, reason in group],
                [reason or None for *_, reason in group],
            ]
            arrays = [pyarrow.array(column, kind) for column, kind in zip(values, columns.values(), strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _groups(rows: Iterator[tuple[str, str, float, str]]) -> Iterator[Sequence[tuple[str, str, float, str]]]:
    from itertools import islice

    while group := list(islice(rows, AT_ONCE)):
        yield group


def collect(
    metric: str, pairs: Pairs, rows: Sequence[NDArray[np.float64]], unreadable: Sequence[Unreadable]
) -> Comparison:
    """Put the rows of all chunks in the order of the pairs."""
    distances = np.full(len(pairs), np.nan)
    for some in rows:
        first, second = some[:, :2].astype(np.int64).T
        distances[pairs.places(first, second)] = some[:, 2]
    each = {one.number: one for one in unreadable}  # where blocks pass by, one is met again and again
    return Comparison(metric, pairs, distances, tuple(each.values()))
