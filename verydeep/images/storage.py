"""A folder whose files are read by byte range: on this machine, or behind a URL that fsspec opens."""

from __future__ import annotations

import os
import re
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from verydeep import remote
from verydeep.errors import DataError, refusal, require
from verydeep.files import digest_of, write_whole

URLS = "a URL has to be that of a folder that `verydeep shard` made; download other images first"
"""What to say of another URL."""

MOST_OPEN = 256  # descriptors kept by a process: a thousand shards must not use up the usual limit of 1,024

_MOST_IN_REQUEST = (
    remote.MOST_MANIFEST_BYTES + 1
)  # bytes, of a file system that shows no progress within a request
_LEAST_SPEED = 100_000  # bytes a second, of such a one


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
    def on_disk(self, file: str, num_bytes: int, version: str, digest: str | None = None) -> Path:
        """Where a file is to be found on this machine; from a URL it is fetched once for each version.

        What is fetched has this SHA-256, if one is given.

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

    def on_disk(self, file: str, num_bytes: int, version: str, digest: str | None = None) -> Path:
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
        content = bytearray()
        too_long = f"{self.path(file)} has more than {remote.MOST_MANIFEST_BYTES:,} bytes; give the URL of shards"
        self._receive(file, 0, remote.MOST_MANIFEST_BYTES + 1, content.extend, too_long)
        if len(content) > remote.MOST_MANIFEST_BYTES:
            raise DataError(too_long)
        return bytes(content)

    def bytes_of(self, file: str, first: int, length: int) -> bytes:
        if length > remote.MOST_IMAGE_BYTES:
            raise DataError(f"{self.path(file)}: an image of {length:,} bytes is more than is read from a URL")
        content = bytearray()
        too_long = (
            f"{self.location}: its server ignores byte ranges and sends whole files; use a server that supports "
            "ranges, or copy the folder here"
        )
        try:
            self._receive(file, first, length, content.extend, too_long, least=length)
        except FileNotFoundError:
            raise DataError(f"{self.path(file)} is not there; upload it, or make the shards again") from None
        return bytes(content)

    def on_disk(self, file: str, num_bytes: int, version: str, digest: str | None = None) -> Path:
        if num_bytes > remote.MOST_INDEX_BYTES:
            raise DataError(f"{self.path(file)}: {num_bytes:,} bytes of an index are more than are fetched")
        name = sha256(f"{self.location} {version}".encode()).hexdigest()[:16]
        path = cache_folder() / name / Path(file).name
        too_long = (
            f"{self.path(file)} has more bytes than the {num_bytes:,} that are expected; make the shards again"
        )

        def write(aside: Path) -> None:
            with aside.open("wb") as target:
                self._receive(file, 0, num_bytes + 1, target.write, too_long, least=num_bytes)
            if digest is not None and digest_of(aside) != digest:
                raise DataError(
                    f"{self.path(file)} is not the file that {self.location} was packed with; upload all of the "
                    "folder anew, its shards.json last"
                )

        if not path.is_file() or path.stat().st_size != num_bytes:
            write_whole(path, write)
        return path

    def _receive(
        self,
        file: str,
        first: int,
        length: int,
        take: Callable[[bytes], object],
        too_long: str,
        *,
        least: int = 0,
    ) -> None:
        """Hand `length` bytes of a file to a function as they come, fewer where the file ends before.

        Where that breaks off, it goes on there; also where a server that does not say how long the file is ends
        before the `least` bytes that are there.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: it cannot be read; or with the sentence `too_long`, more bytes come.

        """
        present = 0

        def transfer() -> None:
            nonlocal present
            filesystem, root = self._filesystem()
            blocks = partial(_web_blocks, least=first + least) if "http" in filesystem.protocol else _blocks
            for start, block in blocks(filesystem, f"{root}/{file}", first + present, first + length):
                ahead = first + present - start  # bytes that we have already, as the server gives whole files
                if (first and ahead) or len(block) - ahead > length - present:
                    raise DataError(too_long)
                if len(block) > ahead:
                    take(block[ahead:])
                    present += len(block) - ahead

        try:
            remote.persist(transfer, lambda: present)
        except remote.BrokenError as error:
            attempts = len(remote.WAITS) + 1
            raise DataError(f"{self.path(file)} cannot be read, after {attempts} attempts: {error}") from None

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


def _blocks(filesystem: Any, path: str, first: int, end: int) -> Iterator[tuple[int, bytes]]:
    """A file's bytes from `first` to `end`, each block with its place, by a file system that shows no progress."""
    while first < end:
        count = min(end - first, _MOST_IN_REQUEST)
        read = partial(filesystem.cat_file, path, start=first, end=first + count)
        pace = remote.Pace(remote.SECONDS + count / _LEAST_SPEED)
        with _network(path, pace):
            block = remote.in_time(read, pace)
        yield first, block
        if len(block) < count:
            return
        first += len(block)


def _web_blocks(filesystem: Any, url: str, first: int, end: int, least: int) -> Iterator[tuple[int, bytes]]:
    """The same as it arrives from a web server; from the first byte on if that knows no ranges.

    A server may give less than it was asked for: the rest is asked for then. The file has `least` bytes.
    """
    while True:
        reached, goal = first, least
        for start, block, total in _web_answer(filesystem, url, first, end):
            yield start, block
            reached, goal = start + len(block), least if total is None else total
        goal = min(goal, end)
        if reached >= goal:
            return
        if reached <= first:
            raise remote.BrokenError(f"the server ended after {reached:,} of {goal:,} bytes")
        first = reached


def _web_answer(filesystem: Any, url: str, first: int, end: int) -> Iterator[tuple[int, bytes, int | None]]:
    """Blocks of one answer, each with its place and the length of the file, as far as the server tells it."""
    from aiohttp import ClientTimeout, RedirectClientError
    from fsspec.asyn import sync

    async def ask() -> Any:
        session = await filesystem.set_session()
        ranges = {"Range": f"bytes={first}-{end - 1}", "Accept-Encoding": "identity"}
        options = filesystem.kwargs | {"timeout": ClientTimeout(total=None)}
        options["headers"] = options.get("headers", {}) | ranges
        return await session.get(filesystem.encode_url(url), **options)

    pace = remote.Pace()
    with _network(url, pace):
        try:
            response = sync(filesystem.loop, ask, timeout=pace.seconds_left)
        except RedirectClientError as error:  # out of the web
            raise DataError(f"{url}: its server redirects to {error}, which is less secure") from None
    try:
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            yield first, b"", first  # where it ends
            return
        _check_answer(response, url)
        start, total = 0, response.content_length
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            told = response.headers.get("Content-Range", f"bytes {first}-*/*")
            known = re.fullmatch(rf"bytes {first}-[^/]*/(\d+|\*)", told.strip())
            if not known:
                raise remote.BrokenError("the server sent a wrong part of the file")
            start, total = first, int(known[1]) if known[1] != "*" else None
        while True:
            with _network(url, pace):
                block = sync(filesystem.loop, response.content.readany, timeout=pace.seconds_left)
            if not block:
                return
            pace.count(len(block))
            yield start, block, total
            start += len(block)
    finally:
        filesystem.loop.call_soon_threadsafe(response.close)


def _check_answer(response: Any, url: str) -> None:
    """Make sure that a web server gives the file, and no other server than may."""
    places = [str(answer.url) for answer in (*response.history, response)]
    for place, to in pairwise(places):
        if not remote.may_redirect(place, to):
            raise DataError(f"{url}: its server redirects to {to}, which is less secure")
    if response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise FileNotFoundError(url)
    if response.status >= HTTPStatus.BAD_REQUEST:
        reason = f"the server answered {response.status} {response.reason}"
        if response.status in remote.MAY_PASS:
            raise remote.BrokenError(reason)
        raise DataError(f"{url} cannot be read: {reason}")


@contextmanager
def _network(path: str, pace: remote.Pace) -> Iterator[None]:
    """Turn what a file system raises into what another attempt may mend, and what it may not."""
    try:
        yield
    except (FileNotFoundError, DataError, remote.BrokenError):
        raise
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    except TimeoutError:
        raise pace.too_slow() from None
    except Exception as error:  # each kind of file system raises what its library raises
        raise remote.BrokenError(" ".join(str(error).split()) or type(error).__name__) from None


def cache_folder() -> Path:
    """Where what was fetched is kept: `verydeep` in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "verydeep"
