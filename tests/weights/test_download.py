"""A file from servers that fail in every way that they do: it is there whole, or there is a sentence."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os

import numpy as np
import pytest
from http_servers import FileServer, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep import remote
from verydeep.errors import VerydeepError
from verydeep.weights import download
from verydeep.weights.download import Checksum, fetch

CONTENT = np.random.default_rng(0).bytes(3_500_000)
SHA = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest()[:8])


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.01, 0.01))
    monkeypatch.setattr(remote, "SECONDS", 0.5)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with serving(FileServer(CONTENT)) as server:
        yield server


def left(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "checksum", [SHA, Checksum("md5", hashlib.md5(CONTENT).hexdigest())], ids=lambda one: one.algorithm
)
def test_a_file_comes_whole_and_once(server, tmp_path, checksum):
    told = []
    path = tmp_path / "deep" / "file"
    for _ in range(2):
        assert fetch(f"{server.url}/file", path, checksum, lambda *seen: told.append(seen)) == path
    assert path.read_bytes() == CONTENT
    assert left(path.parent) == ["file"]
    assert len(server.asked) == 1
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_it_goes_on_where_it_broke_off(server, tmp_path):
    server.breaks = [2_000_000, 300_000, 1]
    fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=2000000-", "bytes=2300000-", "bytes=2300001-"]


def test_the_next_command_goes_on_too(server, tmp_path):
    server.breaks = [2_000_000, 0, 0, 0]
    with pytest.raises(VerydeepError, match=r"stopped at 2\.0 MB: the connection was closed; another attempt"):
        fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert left(tmp_path) == ["file.part"]
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:2_000_000]
    fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=2000000-"
    assert left(tmp_path) == ["file"]


def test_what_was_complete_but_not_named_is_not_fetched_again(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_a_server_without_ranges_gives_it_from_the_first_byte(server, tmp_path):
    server.ranges, server.breaks = False, [1_500_000]
    fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("present", [b"", CONTENT[:1000]], ids=["afresh", "resumed"])
def test_a_changed_file_is_refused_and_deleted(server, tmp_path, present):
    (tmp_path / "file.part").write_bytes(present)
    server.content = CONTENT[:-1] + b"\0"
    with pytest.raises(VerydeepError, match=r"gave another file than the published one: its sha256 is .* deleted"):
        fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert left(tmp_path) == []


def test_a_file_that_changed_between_two_attempts_is_fetched_from_its_first_byte(server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"of an older file" * 1000)
    fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == ["bytes=16000-", None]


def test_a_length_that_is_too_short_is_found_out(server, tmp_path):
    server.length = 1_000_000
    with pytest.raises(VerydeepError, match="gave another file than the published one"):
        fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert left(tmp_path) == []


def test_a_length_that_is_too_long_does_not_matter_if_all_is_there(server, tmp_path):
    server.length, server.ranges = len(CONTENT) + 12345, False
    fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_redirect_is_followed(server, tmp_path):
    with serving(FileServer(b"", moved_to=f"{server.url}/elsewhere")) as door:
        fetch(f"{door.url}/file", tmp_path / "file", SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/file", "file:///etc/hostname"])
def test_a_redirect_out_of_the_web_is_not(server, tmp_path, place):
    server.moved_to = place
    with pytest.raises(VerydeepError, match=r"the server answered 302|which is less secure"):
        fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert left(tmp_path) == []


def test_a_redirect_to_an_open_connection_is_not(tmp_path):
    request = download.urllib.request.Request("https://publisher.example/file")
    with pytest.raises(VerydeepError, match="is less secure"):
        download._Redirects().redirect_request(request, io.BytesIO(), 302, "", {}, "http://publisher.example/file")


def test_a_server_that_is_busy_is_asked_again(server, tmp_path):
    server.statuses = [503, 429]
    fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "questions"), [(404, 1), (403, 1), (500, 4)])
def test_what_the_server_says_is_told(server, tmp_path, status, questions):
    server.statuses = [status] * 10
    with pytest.raises(VerydeepError, match=f"cannot be fetched: the server answered {status} "):
        fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert len(server.asked) == questions
    assert left(tmp_path) == []


def test_a_server_that_falls_silent_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "WAITS", ())
    monkeypatch.setattr(remote, "SECONDS", 0.1)
    server.pause = 0.5
    with pytest.raises(VerydeepError, match=r"cannot be fetched: .*timed out"):
        fetch(f"{server.url}/file", tmp_path / "file", SHA)


def test_a_slow_server_is_waited_for(server, tmp_path):
    server.pause = 0.005
    fetch(f"{server.url}/file", tmp_path / "file", SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_no_server_at_all(tmp_path):
    with pytest.raises(
        VerydeepError, match=r"cannot be fetched: .*refused; check the network connection, or the proxy"
    ):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", SHA)
    assert left(tmp_path) == []


def test_a_proxy_is_asked(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    fetch("http://publisher.example/file", tmp_path / "file", SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT


def _fetch(url, path):
    remote.SECONDS = 5
    fetch(url, path, SHA)
    os._exit(0 if path.read_bytes() == CONTENT else 1)


def test_of_several_processes_one_fetches(server, tmp_path):
    server.pause = 0.005
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fetch, args=(f"{server.url}/file", tmp_path / "file")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(server.asked) == 1
    assert left(tmp_path) == ["file"]


@settings(max_examples=40)
@given(
    breaks=st.lists(st.integers(0, 3000), max_size=6),
    present=st.binary(max_size=5000),
    own=st.booleans(),
    ranges=st.booleans(),
    length=st.none() | st.integers(0, 6000),
)
def test_it_is_whole_or_not_there(tmp_path_factory, breaks, present, own, ranges, length):
    content, fails = CONTENT[:4000], bool(breaks) or length is not None
    checksum = Checksum("sha256", hashlib.sha256(content).hexdigest())
    path = tmp_path_factory.mktemp("any") / "file"
    path.with_name("file.part").write_bytes(content[: len(present)] if own else present)
    server = FileServer(content, ranges=ranges, breaks=breaks, length=length)
    with serving(server):
        try:
            fetch(f"{server.url}/file", path, checksum)
        except VerydeepError:
            assert not path.exists()
            assert fails
        else:
            assert path.read_bytes() == content
            assert not path.with_name("file.part").exists()
