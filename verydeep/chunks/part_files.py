"""Part files: the rows of a long list of images in a folder, a file for each thousand or so.

FOLDER/
  part-000000-0b5e2c0d9f1a7e34.jsonl ...   number of the part, and a digest of its images' names and dates
  _verydeep.json                           what was done to the images

Files are Parquet or JSON lines. Sorted by name, they have the images in their order. Each image has a row, which
says why where it cannot be read. Names that begin with `_` or `.` are passed over by what reads such folders.
"""

from __future__ import annotations

import json
import os
import re
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args

from verydeep.chunks.parts import Parts, Rows, Worked
from verydeep.chunks.plan import Blocks, Chunk
from verydeep.errors import (
    DiskError,
    ImageError,
    UsageError,
    as_text,
    check_least,
    escaped,
    refusal,
    require,
)
from verydeep.files import check_folder, write_whole
from verydeep.images.image_set import ImageSet, Unreadable
from verydeep.results import Result

PartFormat = Literal["jsonl", "parquet"]
IMAGES = 1000  # of a part, by default
FACTS = "_verydeep.json"
PART = re.compile(r"part-\d{6,}-[0-9a-f]{16}\.(jsonl|parquet)")
REASON = "reason"  # the last column
READ = f'"{REASON}": null}}\n'.encode()  # end of a line whose image could be read


@dataclass(frozen=True)
class PartOptions:
    """How a folder of part files is written.

    Attributes:
        folder: it; it is made.
        format: of the files.
        num_images: of a part; the last may have fewer.

    """

    folder: Path
    format: PartFormat
    num_images: int


def part_options(folder: Path, format: PartFormat | None, images_per_part: int | None) -> PartOptions:
    """Check, before the work, where and how part files are to be written.

    Args:
        folder: for them.
        format: None for JSON lines.
        images_per_part: None for a thousand.

    Raises:
        UsageError: the folder is a file or called like one, or an option is none that there is.
        DiskError: the folder cannot be made or written to.
        VerydeepError: what writes Parquet is not installed.

    """
    kind = "jsonl" if format is None else format
    count = IMAGES if images_per_part is None else images_per_part
    check_least("images_per_part", count, 1)
    if folder.suffix and not folder.exists():
        raise UsageError(
            f"`out` {folder} is called like a file; name a folder for part files, without an ending: `format` is "
            f"{' or '.join(get_args(PartFormat))}"
            + "; for CSV leave it out, and write standard output to a file"
            * (folder.suffix == ".csv")
        )
    check_folder(folder)
    if kind == "parquet":
        require("pyarrow", "parquet", "part files of Parquet")
    return PartOptions(folder, kind, count)


def refuse_part_options(format: PartFormat | None, images_per_part: int | None) -> None:
    """Make sure that nothing is said of part files where there are none.

    Raises:
        UsageError: it is.

    """
    for name, value in (("format", format), ("images_per_part", images_per_part)):
        if value is not None:
            raise UsageError(f"`{name}` is of part files; add `out` with a folder for them, or leave it out")


@dataclass(frozen=True, repr=False)
class PartFiles(Result):
    """A folder of part files, with a row for each image.

    Attributes:
        path: of the folder.
        num_images: rows in all.
        num_unreadable: rows of images that could not be read; the column `reason` says why.
        num_files: part files.

    """

    path: str
    num_images: int
    num_unreadable: int
    num_files: int

    def failure(self) -> ImageError | None:
        """That not one of the images could be read; a few that could not are no failure."""
        if not 0 < self.num_images == self.num_unreadable:
            return None
        return ImageError(f"none of the {self.num_images:,} images could be read; the rows say why")

    def __str__(self) -> str:
        lost = f", {self.num_unreadable:,} of them unreadable (see `{REASON}`)" if self.num_unreadable else ""
        files = f"{self.num_files:,} part file{'s' * (self.num_files != 1)}"
        return f"{escaped(self.path)}: {self.num_images:,} image{'s' * (self.num_images != 1)} in {files}{lost}"


class PartRows(Parts[Rows]):
    """The part files of a piece of work, each of which appears whole.

    Args:
        options: where and how they are written.
        key: as of `Parts`.
        images: whose rows they are.

    Attributes:
        plan: the parts' images.

    Raises:
        UsageError: the folder has part files of other work.

    """

    key_name = FACTS
    takes_unreadable = True
    name_column: ClassVar[str]

    def __init__(self, options: PartOptions, key: dict[str, Any], images: ImageSet) -> None:
        self.suffix = f".{options.format}"
        facts = {
            "command": self.noun,
            **key,
            "format": options.format,
            "images": len(images),
            "images_per_part": options.num_images,
        }
        alike = [
            name for name in _listed(options.folder) if name.startswith("part-") and name.endswith(self.suffix)
        ]
        others = [name for name in alike if not PART.fullmatch(name)]
        if others:  # who reads the parts would read them too
            raise UsageError(
                f"{options.folder} holds {escaped(others[0])}, which is none of this command's part files; choose "
                "another `out`, or move it away"
            )
        super().__init__(options.folder, facts)
        self.plan = Blocks(images, options.num_images)
        self._options, self._images = options, images
        self._there: dict[str, list[str]] = defaultdict(list)  # names of the files of each part
        for name in sorted(alike):
            self._there[name.split("-")[1]].append(name)

    @abstractmethod
    def columns(self, rows: Rows) -> Iterator[dict[str, Any]]:
        """The columns of each image that could be read, without its name and the reason."""

    @abstractmethod
    def empty(self) -> dict[str, Any]:
        """The same columns of an image that could not be read."""

    @abstractmethod
    def schema(self) -> Any:
        """The columns as a schema of pyarrow."""

    def begun(self) -> bool:
        """Whether there is a part file of any format."""
        return any(map(PART.fullmatch, _listed(self.folder)))

    def refusal(self, others: Sequence[str]) -> str:
        """Why the folder cannot be written to."""
        whose = f"made with another {' and '.join(others[:3])}"
        for name, words in (("pictures", "of other images"), ("command", "of another command")):
            whose = words if name in others else whose
        return (
            f"{self.folder} holds part files {whose}; repeat their command to resume it, choose another "
            "`out`, or remove the folder"
        )

    def file(self, chunk: Chunk) -> Path:
        """Where a part is."""
        return self.folder / f"part-{chunk.number:06d}-{chunk.content}{self.suffix}"

    def read(self, chunk: Chunk) -> Rows | None:
        """Whether a part is there with all of its rows, which stay on disk."""
        path = self.file(chunk)
        if path.name not in self._there[f"{chunk.number:06d}"] or count_rows(path)[0] != len(chunk.images):
            return None
        self._remove_others(path, chunk)
        return cast("Rows", ())

    def unreadable(self, chunk: Chunk) -> Sequence[Unreadable]:
        """Images that have a reason in a part that is there."""
        lost = ((chunk.images[row], reason) for row, reason in _reasons(self.file(chunk)))
        return [Unreadable(self._images.names[number], reason, number) for number, reason in lost]

    def write(self, chunk: Chunk, worked: Worked[Rows], lost: Sequence[Unreadable]) -> None:
        """Write a part, in the place of those of the same images as they were before."""
        known: dict[int, dict[str, Any]] = {}
        for numbers, rows in worked:
            columns = ({**one, REASON: None} for one in self.columns(rows))
            known |= dict(zip(numbers, columns, strict=True))
        known |= {image.number: {**self.empty(), REASON: as_text(image.reason)} for image in lost}  # type: ignore[misc]
        records = [{self.name_column: self._images.names[number], **known[number]} for number in chunk.images]
        path = self.file(chunk)
        write_whole(path, self._parquet(records) if self.suffix == ".parquet" else _json_lines(records))
        self._remove_others(path, chunk)

    def _remove_others(self, path: Path, chunk: Chunk) -> None:
        """Remove what was made of a part's images as they were before they changed."""
        for name in self._there[f"{chunk.number:06d}"]:
            if name != path.name:
                with suppress(FileNotFoundError):
                    (self.folder / name).unlink()

    def _parquet(self, records: list[dict[str, Any]]) -> Callable[[Path], None]:
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.Table.from_pylist(records, schema=self.schema())
        return lambda aside: parquet.write_table(table, aside)

    def count(self) -> PartFiles:
        """Count the rows of all parts, once they are written; what killed processes left half-written is removed.

        Raises:
            DiskError: a part is gone or damaged.

        """
        images = unreadable = files = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.startswith(".part-") and entry.name.endswith(".part"):
                    Path(entry.path).unlink(missing_ok=True)
                elif entry.name.startswith("part-") and entry.name.endswith(self.suffix):
                    rows, lost = count_rows(Path(entry.path))
                    images, unreadable, files = images + rows, unreadable + lost, files + 1
        if images != len(self._images):
            raise DiskError(
                f"{self.folder} has {images:,} rows for {len(self._images):,} images: files were lost or added "
                "meanwhile; repeat the command, which makes what is missing"
            )
        return PartFiles(os.fspath(self.folder), images, unreadable, files)


def _listed(folder: Path) -> list[str]:
    return os.listdir(folder)  # noqa: PTH208 - a Path for each would take long


def count_rows(path: Path) -> tuple[int, int]:
    """Number of rows of a part file, and of those whose image could not be read; no rows where it is damaged.

    Raises:
        DiskError: it cannot be read.

    """
    try:
        if path.suffix == ".parquet":
            return _count_parquet(path)
        rows = read = 0
        with path.open("rb") as file:
            for line in file:
                rows += line.endswith(b"}\n")
                read += line.endswith(READ)
    except OSError as error:
        raise DiskError(refusal(path, "read", error)) from None
    return rows, rows - read


def _count_parquet(path: Path) -> tuple[int, int]:
    import pyarrow
    from pyarrow import parquet

    try:
        reasons = parquet.read_table(path, columns=[REASON])[REASON]
    except (pyarrow.ArrowInvalid, KeyError):
        return 0, 0
    return len(reasons), len(reasons) - reasons.null_count


def _reasons(path: Path) -> Iterator[tuple[int, str]]:
    """Rows of a part file whose image could not be read, and why.

    Raises:
        DiskError: it cannot be read.

    """
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            reasons = parquet.read_table(path, columns=[REASON])[REASON].to_pylist()
            yield from ((row, reason) for row, reason in enumerate(reasons) if reason is not None)
            return
        with path.open("rb") as file:
            for row, line in enumerate(file):
                if line.endswith(b"}\n") and not line.endswith(READ):
                    yield row, json.loads(line)[REASON]
    except OSError as error:
        raise DiskError(refusal(path, "read", error)) from None


def _json_lines(records: list[dict[str, Any]]) -> Callable[[Path], None]:
    def write(aside: Path) -> None:
        with aside.open("w", encoding="utf-8", newline="\n") as file:
            for record in records:
                file.write(json.dumps(record, ensure_ascii=False, default=lambda array: array.tolist()) + "\n")

    return write
