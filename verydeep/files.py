"""Files that appear whole or not at all, and JSON in them; files that grow by whole lines."""

from __future__ import annotations

import json
import os
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from numbers import Integral, Real
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from verydeep.errors import DeniedError, DiskError, UsageError, as_text, refusal

STANDARD_OUTPUT = 1
NO_FILES = {stat.S_IFDIR: "folder", stat.S_IFSOCK: "socket", stat.S_IFBLK: "disk"}
MOST_LETTERS = 40  # of a file's name, in that of the file aside: a name has 255 bytes at most
LONGEST_PART = 100  # bytes of a word in a file's name
MOST_JSON_BYTES = 1 << 24
MOST_LINE_BYTES = 1 << 20
MARK = ("Software", "verydeep")
"""Text in the PNG files that this package draws, such as score maps: nobody takes them for data."""


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file, in hexadecimal."""
    import hashlib  # not above: few commands want it

    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def name_part(word: str) -> str:
    """A word as a part of a file's name on any system: letters and digits stay, special characters become `_`."""
    composed = unicodedata.normalize("NFC", word)
    kept = "".join(letter if letter.isalnum() or letter in " -_.+" else "_" for letter in composed)
    return kept.encode()[:LONGEST_PART].decode(errors="ignore").strip(" .-") or "_"


def free_name(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where it is taken in upper or lower case; it is added to `taken`."""
    free, count = name, 2
    while free.casefold() in taken:
        free, count = f"{name}-{count}", count + 1
    taken.add(free.casefold())
    return free


def is_drawing(path: Path) -> bool:
    """Whether a PNG file has the mark of our drawings; not where it cannot be read."""
    try:
        with path.open("rb") as file:
            return "\0".join(MARK).encode() in file.read(256)
    except OSError:
        return False


def names_of_others(folder: Path) -> set[str]:
    """Names, for `free_name`, of the PNG files in a folder that are no drawings of ours: they are not replaced."""
    files = folder.iterdir() if folder.is_dir() else ()
    return {path.stem.casefold() for path in files if path.suffix.lower() == ".png" and not is_drawing(path)}


def write_whole(path: Path, write: Callable[[Path], object], keep: Path | None = None) -> None:
    """Write a file aside, wait until the disk has it, then give it its name.

    A link stays, and the file that it leads to is written. What goes through devices, pipes and standard output is
    written aside first, too, and no file takes their place.

    Args:
        path: where it is to appear; its folder is made.
        write: is called with the path to write to.
        keep: a name for the file that was there before, which otherwise is lost.

    Raises:
        UsageError: no file can be there: it is a folder, say.
        DiskError: it cannot be written; what was there before is as it was.

    """
    with _named(path):
        target = _target(path)
    aside = _aside(target)
    try:
        with _named(path, aside):
            write(aside)
        with _named(path):
            if target is None:
                _pour(aside, path)
                return
            if (mode := _mode(target, aside)) != stat.S_IMODE(aside.stat().st_mode):
                with suppress(PermissionError):  # some network disks have no modes
                    aside.chmod(mode)
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
            if keep and target.exists():
                target.replace(keep)
            aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def all_or_none(paths: Sequence[Path]) -> Iterator[None]:
    """Remove files and folders that were not there before, unless all of them are made."""
    import shutil  # not above: most processes only read

    try:
        yield
    except BaseException:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text, whole."""
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def check_out(path: Path) -> None:
    """Make sure, before the work, that a file can be written there; its folder is made.

    Raises:
        UsageError: no file can be there: it is a folder, say.
        DiskError: its folder cannot be made or written to.

    """
    with _named(path):
        aside = _aside(_target(path))
        try:
            aside.touch()
        finally:
            aside.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Make sure, before the work, that files can be written into a folder; it need not be there.

    Raises:
        UsageError: it is a file.
        DiskError: it cannot be made or written to.

    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        check_out(folder / "checked")
    finally:
        for place in made:
            with suppress(OSError):  # it was not made
                place.rmdir()


def make_folder(folder: Path) -> None:
    """Make a folder and those that it is in, where they are not there.

    Raises:
        DiskError: it cannot be made.

    """
    with _named(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            file = next((place for place in (folder, *folder.parents) if place.is_file()), folder)
            raise DiskError(f"{folder} cannot be made: {file} is a file, not a folder") from None


def _target(path: Path) -> Path | None:
    """The file that a name leads to, in a folder that is there; None for what takes bytes and keeps none."""
    if "\0" in str(path):
        raise UsageError(f"{str(path)!r} is not the name of a file: it has a zero byte")
    make_folder(path.parent)
    try:
        there = path.stat()
    except FileNotFoundError:
        pass
    else:
        kind = NO_FILES.get(stat.S_IFMT(there.st_mode))
        if kind:
            raise UsageError(f"{path} is a {kind}; name a file")
        if not stat.S_ISREG(there.st_mode) or _is_output(there):
            return None
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    make_folder(target.parent)
    return target


def _mode(target: Path, aside: Path) -> int:
    """Who may read a file: as it was before, or by the umask. Some writers make files for their user alone."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mode = stat.S_IMODE(aside.stat().st_mode)
    if mode & 0o077:
        return mode
    probe = aside.with_name(f"{aside.name}.mode")  # os.umask tells it by changing it, for all threads
    with probe.open("x") as file:
        probe.unlink()
        return stat.S_IMODE(os.fstat(file.fileno()).st_mode)


def _is_output(there: os.stat_result) -> bool:
    """Whether that is standard output, which may be a file."""
    try:
        return os.path.samestat(there, os.fstat(STANDARD_OUTPUT))
    except OSError:
        return False


def _aside(target: Path | None) -> Path:
    """Where a file is written before it takes its place, beside it.

    Its writer makes it: a signal finds no file, or one that is removed.
    """
    import tempfile  # not above: most processes only read

    folder = target.parent if target else Path(tempfile.gettempdir())
    name = target.name if target else "out"
    return folder / f".{name[:MOST_LETTERS]}.{os.urandom(4).hex()}.part"


def _pour(aside: Path, path: Path) -> None:
    """Write what is in a file to a device, a pipe or standard output."""
    import shutil

    output = _is_output(path.stat())
    if output and sys.stdout:
        sys.stdout.flush()
    with aside.open("rb") as file, open(os.dup(STANDARD_OUTPUT) if output else path, "wb") as to:  # noqa: PTH123
        shutil.copyfileobj(file, to)


def json_text(value: Any, **options: Any) -> str:
    """JSON in which names of files are text, by the rule of `as_text`; options as of `json.dumps`."""
    return json.dumps(_as_text(value), **{"ensure_ascii": False, **options})


def _as_text(value: Any) -> Any:
    """The same with every word as text."""
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {_as_text(name): _as_text(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_text(item) for item in value]
    is_number = not isinstance(value, (int, float)) and isinstance(value, (Integral, Real))
    return value.item() if is_number and hasattr(value, "item") else value  # NumPy's and torch's


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole; numbers that are not finite are refused."""
    write_text(path, json_text(value, indent=2, allow_nan=False) + "\n")


def parse_json(content: bytes | str, *, finite: bool = True) -> Any:
    """Read JSON that anybody may have written; its words can be written anywhere, by the rule of `as_text`.

    Args:
        content: the text, or its bytes in UTF-8.
        finite: refuse NaN and Infinity, which Python reads and JSON has not.

    Raises:
        ValueError: it is not JSON, or nests too deeply.

    """
    text = content if isinstance(content, str) else content.decode("utf-8")
    try:
        value = json.loads(text, parse_constant=_refuse_constant if finite else None)
        return _as_text(value) if "\\ud" in text.lower() else value
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
        make_folder(path.parent)
        with _named(path):
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
def _named(path: Path, aside: Path | None = None) -> Iterator[None]:
    """Say which file or folder cannot be written, and why.

    Args:
        path: of the file.
        aside: where it is written; any other file that is not found is one that is read meanwhile.

    """
    try:
        yield
    except DiskError:
        raise
    except PermissionError as error:
        raise DeniedError(refusal(error.filename2 or error.filename or path, "written", error)) from None
    except OSError as error:
        if aside and isinstance(error, FileNotFoundError) and error.filename != str(aside):
            raise
        raise DiskError(refusal(path, "written", error)) from None
