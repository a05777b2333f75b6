"""Files that appear whole or not at all, and JSON in them; files that grow by whole lines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from verydeep.errors import DiskError, UsageError, as_text

MOST_JSON_BYTES = 1 << 24
MOST_LINE_BYTES = 1 << 20
MARK = ("Software", "verydeep")
"""Text in the PNG files that this package draws, such as score maps: nobody takes them for data."""


def write_whole(path: Path, write: Callable[[Path], object], keep: Path | None = None) -> None:
    """Write a file aside, wait until the disk has it, then give it its name.

    Args:
        path: where it is to appear; its folder is made.
        write: is called with the path to write to.
        keep: a name for the file that was there before, which otherwise is lost.

    Raises:
        DiskError: it cannot be written; what was there before is as it was.

    """
    import tempfile  # not above: most processes only read

    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        aside = Path(name)
        try:
            write(aside)
            aside.chmod(0o666 & ~_umask())
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
            if keep and path.exists():
                path.replace(keep)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text, whole."""
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def check_out(path: Path) -> None:
    """Make sure, before the work, that a file can be written there; its folder is made.

    Raises:
        UsageError: it is a folder.
        DiskError: its folder cannot be made or written to.

    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{path.parent} cannot be made: {error.strerror or error}") from None
    if not os.access(path.parent, os.W_OK):
        raise DiskError(f"{path.parent} cannot be written to: permission denied")


def json_text(value: Any, **options: Any) -> str:
    """JSON in which names of files are text, by the rule of `as_text`; options as of `json.dumps`."""
    return json.dumps(_as_text(value), **{"ensure_ascii": False, **options})


def _as_text(value: Any) -> Any:
    """The same with every word as text."""
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {_as_text(name): _as_text(item) for name, item in value.items()}
    return [_as_text(item) for item in value] if isinstance(value, (list, tuple)) else value


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole; numbers that are not finite are refused."""
    write_text(path, json_text(value, indent=2, allow_nan=False) + "\n")


def parse_json(content: bytes | str, *, finite: bool = True) -> Any:
    """Read JSON that anybody may have written.

    Args:
        content: the text.
        finite: refuse NaN and Infinity, which Python reads and JSON has not.

    Raises:
        ValueError: it is not JSON, or nests too deeply.

    """
    try:
        return json.loads(content, parse_constant=_refuse_constant if finite else None)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def _refuse_constant(word: str) -> None:
    raise ValueError(f"it has {word}")


def read_json(path: Path, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Read a file of JSON that anybody may have written.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too long, is not JSON, or nests too deeply.

    """
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes} bytes")
    return parse_json(content)


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read the tables of a file that grows by lines; at a line that was cut short, or is none, it ends.

    Raises:
        OSError: it cannot be read.

    """
    with path.open("rb") as file:
        while line := file.readline(MOST_LINE_BYTES):
            try:
                record = parse_json(line, finite=False)
            except ValueError:
                return
            if not isinstance(record, dict):
                return
            yield record


class Lines:
    """A file that grows by lines, each of which is there at once for whoever reads it; a context manager.

    Args:
        path: of the file; its folder is made, and lines that are there already stay.

    Raises:
        DiskError: it cannot be opened.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def add(self, line: str) -> None:
        """Add a line.

        Raises:
            DiskError: it does not fit; nothing of it is left.

        """
        end = self._file.seek(0, os.SEEK_END)
        left = f"{line}\n".encode()
        with _named(self._path):
            try:
                while left:
                    left = left[self._file.write(left) :]  # of a full disk's last bytes a part
            except OSError:
                self._file.truncate(end)
                raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which file cannot be written, and why."""
    try:
        yield
    except (DiskError, FileNotFoundError):  # the latter is of what was to be written, fetched from elsewhere
        raise
    except OSError as error:
        raise DiskError(f"{path} cannot be written: {error.strerror or error}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
