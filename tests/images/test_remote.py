"""Servers that give without end, slowly, too little or something else, or send us away: a sentence, in bounds."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from http_servers import serving
from sample_images import class_folders

from verydeep import remote
from verydeep.api.shard import shard
from verydeep.errors import VerydeepError
from verydeep.images.shard_index import IMAGES, MANIFEST, NAMES
from verydeep.images.sources import open_data
from verydeep.weights.download import fetch
from verydeep.weights.published import Checksum

pytest.importorskip("aiohttp")

MOST = 200_000  # bytes, in these tests
CONTENT = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch, tmp_path):
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.01))
    monkeypatch.setattr(remote, "SECONDS", 0.3)
    monkeypatch.setattr(remote, "MOST_MANIFEST_BYTES", MOST)
    monkeypatch.setattr(remote, "MOST_INDEX_BYTES", MOST)
    monkeypatch.setattr(remote, "MOST_WEIGHTS_BYTES", 2 * MOST)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    data = class_folders(folder / "photos", {"cat": 5, "dog": 5})
    shard(data, out=folder / "shards")
    return folder / "shards"


class Hostile:
    """A web server of a folder that does wrong with one of its files.

    Attributes:
        how: answers for this file; gets the request, the content from its first byte on, and whether it is a part.
        sent: bytes of that file that it could send.

    """

    url = ""

    def __init__(self, root: Path, file: str, how: Callable[..., None]) -> None:
        self.root, self.file, self.how, self.sent, self.asked = root, file, how, 0, list[str | None]()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name, content = request.path.removeprefix("/"), b""
        if (self.root / name).is_file():
            content = (self.root / name).read_bytes()
        spoken = request.headers.get("Range")
        first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", spoken or "bytes=0-").groups()
        part = content[int(first) : int(last) + 1 if last else None]
        request.close_connection = True
        if name == self.file:
            self.asked.append(spoken)
            self.how(self, request, part, int(first))
        else:
            head(request, 206 if spoken else 200, len(part))
            request.wfile.write(part)

    def send(self, request: BaseHTTPRequestHandler, block: bytes) -> None:
        request.wfile.write(block)
        self.sent += len(block)


def head(request, status: int, length: int | None, **headers: object) -> None:
    request.send_response(status)
    if length is not None:
        request.send_header("Content-Length", str(length))
    for name, value in headers.items():
        request.send_header(name, str(value))
    request.end_headers()


def endless(server, request, part, first) -> None:
    head(request, 206 if first else 200, None)
    while True:
        server.send(request, bytes(1 << 16))


def endless_part(server, request, part, first) -> None:
    head(request, 206, None)
    while True:
        server.send(request, bytes(1 << 16))


def endless_length(server, request, part, first) -> None:
    head(request, 200, 10**15)
    while True:
        server.send(request, bytes(1 << 16))


def a_byte_now_and_then(server, request, part, first) -> None:
    head(request, 206 if first else 200, max(len(part), 1000))
    for place in range(200):
        server.send(request, part[place : place + 1] or b"x")
        time.sleep(0.05)


def a_header_byte_now_and_then(server, request, part, first) -> None:
    for letter in b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 300:
        request.wfile.write(bytes([letter]))
        time.sleep(0.05)


def silent(server, request, part, first) -> None:
    time.sleep(1.5)


def cut_off(server, request, part, first) -> None:
    head(request, 200, len(part) + 1000)
    server.send(request, part[:10])


def elsewhere(server, request, part, first) -> None:
    head(request, 302, 0, Location="file:///etc/hostname")


def busy(server, request, part, first) -> None:
    head(request, 503, 0)


def forbidden(server, request, part, first) -> None:
    head(request, 403, 0)


KINDS = {
    endless: "more than|has more bytes|bytes where|whole files|has more",
    endless_part: "more than|has more bytes|bytes where|whole files|has more|wrong part",
    endless_length: "more than|has more bytes|bytes where|whole files|has more",
    a_byte_now_and_then: "less than 1024 bytes came in 0.3 seconds",
    a_header_byte_now_and_then: "less than 1024 bytes came in 0.3 seconds",
    silent: "less than 1024 bytes came in 0.3 seconds|timed out",
    cut_off: "after 3 attempts: |stopped at|whole files",
    elsewhere: "redirects to file:///etc/hostname|server answered 302",
    busy: "the server answered 503",
    forbidden: "the server answered 403",
}


@contextmanager
def bounded(server: Hostile, told: str) -> Iterator[None]:
    start = time.monotonic()
    with pytest.raises(VerydeepError, match=told) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert server.url in str(caught.value)
    assert time.monotonic() - start < 5
    assert server.sent < 3e7  # what the buffers of the system hold


@pytest.mark.parametrize("how", KINDS, ids=lambda how: how.__name__)
@pytest.mark.parametrize("file", [MANIFEST, IMAGES, "train-000000.tar"])
def test_shards(file, how, shards):
    with serving(Hostile(shards, file, how)) as server, bounded(server, KINDS[how]):
        open_data(server.url).train.source.read(0)
    if how in (elsewhere, forbidden, endless, endless_part, endless_length):
        assert len(server.asked) == 1  # another attempt could not help


@pytest.mark.parametrize("how", KINDS, ids=lambda how: how.__name__)
def test_downloads(how, tmp_path):
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "file").write_bytes(CONTENT)
    checksum = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())
    with serving(Hostile(tmp_path / "server", "file", how)) as server, bounded(server, KINDS[how]):
        fetch(f"{server.url}/file", tmp_path / "here" / "file", checksum)
    assert not (tmp_path / "here" / "file").exists()


def breaking(server, request, part, first) -> None:
    """A server that gives a part of a file in each answer."""
    head(request, 206, len(part), **{"Content-Range": f"bytes {first}-{first + len(part) - 1}/*"})
    server.send(request, part[: len(part) // 2 + 20])
    time.sleep(0.03)  # aiohttp drops what comes together with the end of a connection


@pytest.mark.parametrize("file", [MANIFEST, IMAGES, "train-000000.tar"])
def test_what_breaks_off_goes_on(file, shards, monkeypatch):
    monkeypatch.setattr(remote, "WAITS", (0.0,) * 12)
    wanted = open_data(str(shards)).train.source.read(0).tobytes()
    with serving(Hostile(shards, file, breaking)) as server:
        assert open_data(server.url).train.source.read(0).tobytes() == wanted
    assert len(server.asked) > 2
    assert len(set(server.asked)) == len(server.asked)  # none is asked for twice


def a_little_at_a_time(server, request, part, first) -> None:
    """A server that gives 300 bytes at most, and says so."""
    total = (server.root / server.file).stat().st_size
    given = part[:300]
    head(request, 206, len(given), **{"Content-Range": f"bytes {first}-{first + len(given) - 1}/{total}"})
    server.send(request, given)


def without_a_length(server, request, part, first) -> None:
    """A server that closes the connection half way, where nobody can tell."""
    request.protocol_version = "HTTP/1.0"
    head(request, 206, None)
    server.send(request, part[: len(part) // 2 + 20])


@pytest.mark.parametrize(("how", "files"), [(a_little_at_a_time, 3), (without_a_length, 2)])
def test_a_server_that_gives_less_than_was_asked_for(how, files, shards):
    """The rest is asked for; of a manifest alone nobody knows how long it is."""
    wanted = open_data(str(shards)).train.source.read(0).tobytes()
    for file in ["train-000000.tar", IMAGES, MANIFEST][:files]:
        with serving(Hostile(shards, file, how)) as server:
            assert open_data(server.url).train.source.read(0).tobytes() == wanted
        assert len(server.asked) > 1


def whole_files_that_break(server, request, part, first) -> None:
    content = (server.root / server.file).read_bytes()
    head(request, 200, len(content))
    server.send(request, content if first else content[:100])
    time.sleep(0.03)


@pytest.mark.parametrize("file", [MANIFEST, IMAGES])
def test_what_breaks_off_without_ranges_begins_anew(file, shards):
    with serving(Hostile(shards, file, whole_files_that_break)) as server:
        assert len(open_data(server.url).train) == 8
    assert len(server.asked) == 2


@pytest.mark.parametrize("length", [10**15, 10**6])
def test_a_manifest_that_claims_a_large_index(length, shards, tmp_path):
    for path in shards.rglob("*.*"):
        copy = tmp_path / "server" / path.relative_to(shards)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    manifest = json.loads((shards / MANIFEST).read_text())
    manifest["index"][NAMES] = length
    (tmp_path / "server" / MANIFEST).write_text(json.dumps(manifest))
    with serving(Hostile(tmp_path / "server", NAMES, endless)) as server, bounded(server, "are more than are"):
        open_data(server.url)
    assert server.asked == []


def test_a_file_system_that_hangs(shards, monkeypatch):
    """Of any kind of URL, not the web's alone."""
    import fsspec

    from verydeep.images import storage

    filesystem = fsspec.filesystem("memory")
    monkeypatch.setattr(storage, "_LEAST_SPEED", 10**9)
    monkeypatch.setattr(filesystem, "cat_file", lambda *arguments, **options: time.sleep(2))
    with pytest.raises(VerydeepError, match=r"after 3 attempts: less than 1024 bytes came in 0\.3 s"):
        open_data("memory://hangs")


def test_redirects_stay_in_the_web():
    assert remote.may_redirect("http://a/x", "https://b/y")
    assert remote.may_redirect("http://a/x", "http://b/y")
    for url, to in (("https://a", "http://a"), ("http://a", "file:///etc"), ("https://a", "ftp://a")):
        assert not remote.may_redirect(url, to)
