"""A folder whose files are read by byte range: on this machine, or behind a URL that fsspec opens."""

from __future__ import annotations

import os
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from verydeep.errors import DataError, refusal, require
from verydeep.files import write_whole

MOST_OPEN = 256  # descriptors kept by a process: a thousand shards must not use up the usual limit of 1,024
WAITS = (0.5, 2.0, 8.0)  # seconds between attempts to read from a URL

Outcome = TypeVar("Outcome")


class Folder(ABC):
    """Files by their names in a folder.

    Attributes:
        location: the path or URL that opens the folder again.

    """

    is_local: bool

    def __init__(self, location: str) -> None:
        self.location = location

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        return type(self), (self.location,)  # another process opens descriptors and connections of its own

    def path(self, file: str) -> str:
        """A file's name for messages."""
        return f"{self.location}/{file}"

    @abstractmethod
    def whole(self, file: str) -> bytes:
        """All bytes of a file.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: it cannot be read.

        """

    @abstractmethod
    def bytes_of(self, file: str, first: int, length: int) -> bytes:
        """`length` bytes of a file from `first` on; fewer where the file ends before.

        Raises:
            DataError: it cannot be read.

        """

    @abstractmethod
    def on_disk(self, file: str, num_bytes: int, version: str) -> Path:
        """Where a file is to be found on this machine; from a URL it is fetched once for each version.

        Raises:
            FileNotFoundError: there is no such file behind the URL.
            DataError: it cannot be read.

        """


def open_folder(location: str) -> Folder:
    """Open a folder by its path or URL.

    Raises:
        VerydeepError: it is a URL, and fsspec is not there or knows no such kind of URL.

    """
    return _LocalFolder(str(local_path(location))) if is_local(location) else _RemoteFolder(location.rstrip("/"))


def is_local(location: str) -> bool:
    """Whether it is a path, or the URL of one."""
    return "://" not in location or location.startswith("file://")


def local_path(location: str) -> Path:
    """The path that a path or a `file://` URL means."""
    if not location.startswith("file://"):
        return Path(location)
    from urllib.request import url2pathname  # not above: it brings http, mail and ssl

    return Path(url2pathname(urlsplit(location).path))


class _LocalFolder(Folder):
    """A folder on this machine.

    Files are read by `pread`, which leaves no trace in a descriptor: threads and forked processes may share it.
    """

    is_local = True

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._descriptors: dict[str, int] = {}
        weakref.finalize(self, _close, self._descriptors)

    def whole(self, file: str) -> bytes:
        return Path(self.path(file)).read_bytes()

    def bytes_of(self, file: str, first: int, length: int) -> bytes:
        """Read them, by a descriptor that is kept open as long as there are not too many."""
        try:
            descriptor = self._descriptors.get(file)
            if descriptor is not None:
                return os.pread(descriptor, length, first)
            descriptor = os.open(self.path(file), os.O_RDONLY)
            # Without a lock, which a fork could leave locked for ever. None is closed before the folder itself is:
            # another thread might be reading from it.
            kept = None
            if len(self._descriptors) < MOST_OPEN:
                kept = self._descriptors.setdefault(file, descriptor)
            try:
                return os.pread(descriptor, length, first)
            finally:
                if kept != descriptor:
                    os.close(descriptor)
        except OSError as error:
            raise DataError(refusal(self.path(file), "read", error)) from None

    def on_disk(self, file: str, num_bytes: int, version: str) -> Path:
        return Path(self.path(file))


def _close(descriptors: dict[str, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)


class _RemoteFolder(Folder):
    """A folder behind a URL, such as `s3://bucket/folder`."""

    is_local = False

    def __init__(self, location: str) -> None:
        require("fsspec", "remote", f"reading from {location}")
        super().__init__(location)
        self._opened: tuple[int, Any, str] | None = None
        self._filesystem()

    def whole(self, file: str) -> bytes:
        return bytes(self._attempt(file, lambda filesystem, path: filesystem.cat_file(path)))

    def bytes_of(self, file: str, first: int, length: int) -> bytes:
        end = first + length
        try:
            content = self._attempt(file, lambda filesystem, path: filesystem.cat_file(path, start=first, end=end))
        except FileNotFoundError:
            raise DataError(f"{self.path(file)} is not there; upload it, or make the shards anew") from None
        if len(content) > length:
            raise DataError(
                f"{self.location}: its server gives whole files where a range of bytes is asked for; use one that "
                "serves ranges, or copy the folder here"
            )
        return bytes(content)

    def on_disk(self, file: str, num_bytes: int, version: str) -> Path:
        name = sha256(f"{self.location} {version}".encode()).hexdigest()[:16]
        path = cache_folder() / name / Path(file).name
        if not path.is_file() or path.stat().st_size != num_bytes:
            write_whole(
                path,
                lambda aside: self._attempt(
                    file, lambda filesystem, there: filesystem.get_file(there, str(aside))
                ),
            )
        return path

    def _attempt(self, file: str, read: Callable[[Any, str], Outcome]) -> Outcome:
        """Read, again after a while where it fails: over a network it does now and then."""
        for attempt in count():
            filesystem, root = self._filesystem()
            try:
                return read(filesystem, f"{root}/{file}")
            except FileNotFoundError:
                raise
            except PermissionError as error:
                raise DataError(f"{self.path(file)} may not be read: {error}") from None
            except Exception as error:  # each kind of file system raises what its library raises
                if attempt == len(WAITS):
                    reason = " ".join(str(error).split()) or type(error).__name__
                    raise DataError(
                        f"{self.path(file)} cannot be read, after {attempt + 1} attempts: {reason}"
                    ) from None
                time.sleep(WAITS[attempt])
        raise AssertionError

    def _filesystem(self) -> tuple[Any, str]:
        """Open the file system, anew after a fork: its connections and threads are the other process's."""
        process = os.getpid()
        if self._opened is None or self._opened[0] != process:
            import fsspec

            try:
                self._opened = process, *fsspec.core.url_to_fs(self.location)
            except (ImportError, ValueError) as error:
                raise DataError(f"{self.location} cannot be opened: {error}") from None
        return self._opened[1:]


def cache_folder() -> Path:
    """Where what was fetched is kept: `verydeep` in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "verydeep"
