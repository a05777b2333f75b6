"""`verydeep serve` under load and attack: what is too much is refused at once, and the others are answered."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from damage import cut, flipped, gif_claiming, noise
from PIL import Image
from sample_images import save, smooth
from served import Client, of_application, serving

import verydeep
from verydeep.errors import UsageError
from verydeep.images import decode
from verydeep.serving import Limits, routes, server
from verydeep.serving.application import application
from verydeep.serving.limits import Refusal
from verydeep.serving.models import open_models
from verydeep.serving.routes import Answer
from verydeep.serving.service import Service

pytest.importorskip("verydeep._native")
pytest.importorskip("starlette")


NOTHING = Answer(b"")


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    return save(tmp_path_factory.mktemp("images") / "image.png", smooth(40, 36)).read_bytes()


@pytest.fixture
def slow(run, monkeypatch):
    """A service whose thread takes its time."""
    service = Service(
        open_models(run), Limits(queue=4, timeout=20, max_bytes=10_000, max_pixels=10_000, max_images=3)
    )
    submit = service.worker.submit

    def slowly(items, compute, key=None, *, pixels):
        def later(items):
            time.sleep(0.5)
            return compute(items)

        return submit(items, later, None, pixels=pixels)

    monkeypatch.setattr(service.worker, "submit", slowly)
    return service


def test_what_is_too_large_is_refused(slow, content):
    with of_application(application(slow)) as client:
        too_long = client.post("/predict", b"x" * 10_001)
        assert (too_long.status, "10,000 bytes" in too_long.error()) == (413, True)
        pieces = client.post("/predict", iter([b"x" * 9_000] * 2))
        assert (pieces.status, "10,000 bytes" in pieces.error()) == (413, True)
        file = io.BytesIO()
        Image.new("RGB", (101, 100)).save(file, "PNG")
        reply = client.post("/predict", file.getvalue())
        assert (reply.status, "101x100 is more than the 10,000 pixels" in reply.error()) == (413, True)
        image = base64.b64encode(content).decode()
        reply = client.post_json("/predict", {"images": [image] * 4})
        assert (reply.status, "4 images were sent; at most 3" in reply.error()) == (413, True)


def test_what_would_take_minutes_is_refused(run, content):
    with serving(run) as client:
        for address in (
            "/predict?scales=9000",
            "/predict?views=crops&scales=" + ",".join(str(side) for side in range(9000, 9100)),
            "/map?scale=9000",
            "/extract?layers=relu1_1&scale=9000",
            "/channels?layers=relu1_1&scale=9000",
        ):
            reply = client.post(address, content)
            assert reply.status == 413, address
            assert re.search("pixels would be shown|numbers would be computed", reply.error()), address
        reply = client.post("/extract?layers=relu1_1&pool=none&scale=3000", content)
        assert (reply.status, "the answer would have" in reply.error()) == (413, True)


def test_a_full_queue_answers_at_once(slow, content):
    with of_application(application(slow)) as client, ThreadPoolExecutor(12) as pool:

        def ask(_: int) -> tuple[int, float, dict[str, str]]:
            begun = time.monotonic()
            reply = client.post("/predict", content)
            return reply.status, time.monotonic() - begun, reply.headers

        replies = list(pool.map(ask, range(12)))
        accepted = [seconds for status, seconds, _ in replies if status == 200]
        refused = [(seconds, headers) for status, seconds, headers in replies if status == 503]
        assert len(accepted) + len(refused) == 12
        assert 3 <= len(accepted) <= 5
        assert all(seconds < 0.5 for seconds, _ in refused)
        assert all(1 <= int(headers["retry-after"]) <= 60 for _, headers in refused)
        assert client.post("/predict", content).status == 200


def test_what_takes_too_long_is_given_up(slow, content, monkeypatch):
    slow.limits = Limits(timeout=1)
    with of_application(application(slow)) as client, ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: client.post("/predict", content), range(4)))
        statuses = sorted(reply.status for reply in replies)
        assert statuses[0] == 200
        assert statuses[-1] == 503
        assert "no answer within 1 seconds" in next(one for one in replies if one.status == 503).error()
        assert slow.room.taken == 0


def test_bodies_that_do_not_arrive(run, content):
    with (
        serving(run, limits=Limits(timeout=1)) as client,
        socket.create_connection(("127.0.0.1", client.port)) as one,
    ):
        one.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nsome")
        assert one.recv(4096).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "beginning", [b"", b"GET / HTTP/1.1\r\nHost: loc", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /"]
)
def test_headers_that_do_not_arrive(run, content, monkeypatch, beginning):
    """A connection is closed that sends nothing, a part of its headers, or a part of its second request's."""
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(server, "KEEP_ALIVE_SECONDS", 1)
    with serving(run) as client, socket.create_connection(("127.0.0.1", client.port)) as one:
        one.settimeout(10)
        one.sendall(beginning)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := one.recv(4096):
                received += piece
        assert (b'"status": "ok"' in received) == beginning.startswith(b"GET /health")


@pytest.mark.parametrize("request_line", [b"GET /health", b"POST /nothing"])
def test_bodies_that_are_answered_already(run, monkeypatch, request_line):
    """What is left of them would hold the connection: the first byte of it ends the wait for the next request."""
    monkeypatch.setattr(server, "LEFT_SECONDS", 0.3)
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.1)
    with serving(run) as client, socket.create_connection(("127.0.0.1", client.port)) as one:
        one.settimeout(10)
        one.sendall(request_line + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        assert one.recv(4096).startswith(b"HTTP/1.1 ")
        one.sendall(b"x")
        with contextlib.suppress(ConnectionResetError):
            while one.recv(4096):
                pass


def test_answers_that_are_not_read(run, monkeypatch):
    """They are handed over piece by piece, and given up in the end."""
    monkeypatch.setattr(server, "LEFT_SECONDS", 0.3)
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.1)
    content = io.BytesIO()
    Image.fromarray(smooth(700, 600)).save(content, "PNG")
    head = b"POST /extract?layers=relu1_1&pool=none&scale=600&format=npz HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(content.getvalue())
    with serving(run, limits=Limits(timeout=1)) as client, socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", client.port))
        one.sendall(head + content.getvalue())
        end = time.monotonic() + 20
        while 'route="/extract",status="200"' not in client.get("/metrics").content.decode():
            assert time.monotonic() < end
            time.sleep(0.1)
        one.settimeout(10)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := one.recv(1 << 20):
                received += len(piece)
        assert received < 5_000_000  # of some 7 million: 4 channels of 700x600 places


def test_many_images_of_a_request_count_together(run, content):
    with serving(run) as client:
        image = base64.b64encode(content).decode()
        assert client.post("/predict?scales=1000", content).status == 200
        reply = client.post_json("/predict?scales=1000", {"images": [image] * 20})
        assert (reply.status, "pixels would be shown" in reply.error()) == (413, True)


def test_what_is_drawn_does_not_stop_others(run, content, monkeypatch):
    names = []

    def told(answer):
        def instead(*arguments):
            names.append(threading.current_thread().name)
            return answer

        return instead

    monkeypatch.setattr(routes, "map_as_data", told({}))
    monkeypatch.setattr(routes, "channels_as_data", told({}))
    monkeypatch.setattr(routes, "_archive", told(NOTHING))
    with serving(run) as client:
        for address in ("/map?format=json", "/channels?layers=relu1_1", "/extract?layers=relu1_1&format=npz"):
            assert client.post(address, content).status == 200
    assert len(names) == 3
    assert all(name.startswith("verydeep-decode") for name in names)


def test_a_request_that_failed_leaves_nothing_to_do(slow, content):
    """Neither images to be decoded nor, of several shapes, to be computed."""
    slow.limits = Limits(timeout=1, queue=20)
    slow.room.most = 20
    begun = []
    read = slow._read

    def slowly(image):
        begun.append(image)
        time.sleep(0.05)
        return read(image)

    slow._read = slowly
    slow._decoders = ThreadPoolExecutor(2)
    good = base64.b64encode(content).decode()
    shapes = []
    for width in range(40, 48):
        file = io.BytesIO()
        Image.fromarray(smooth(width, 36)).save(file, "PNG")
        shapes.append(base64.b64encode(file.getvalue()).decode())
    with of_application(application(slow)) as client:
        broken = base64.b64encode(content[: len(content) // 2]).decode()
        assert client.post_json("/predict", {"images": [broken, *[good] * 15]}).status == 400
        time.sleep(1)
        assert len(begun) < 16
        assert client.post_json("/predict", {"images": shapes}).status == 503
        time.sleep(0.7)
        assert not [one for one in slow.worker._tasks if not one.future.cancelled()]


def test_clients_that_have_gone_are_not_worked_for(slow, content):
    with of_application(application(slow)) as client:
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(content)
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", client.port)) as one:
                one.sendall(head + content)
        time.sleep(0.3)
        assert slow.room.taken == 0
        assert 'status="499"} 3' in client.get("/metrics").content.decode()


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_pixels_are_counted_before_they_are_decoded(run, kind, monkeypatch):
    """The size of a TIFF, and of a PNG with text at its end, is known when it is decoded."""
    from PIL import TiffImagePlugin

    file = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(file, kind, **({"compression": "tiff_deflate"} if kind == "TIFF" else {}))
    body = file.getvalue()
    if kind == "PNG":
        text = b"tEXta\0b"
        body = body[:-12] + struct.pack(">I", 3) + text + struct.pack(">I", zlib.crc32(text)) + body[-12:]
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with serving(run, limits=Limits(max_pixels=1_000_000)) as client:
        reply = client.post("/predict", body)
        assert (reply.status, "2000x2000" in reply.error()) == (413, True)


def test_comparisons_do_not_hold_all_layers_of_large_images(run, monkeypatch):
    monkeypatch.setattr("verydeep.serving.service.MOST_OUTPUTS", 100_000)
    file = io.BytesIO()
    Image.new("RGB", (300, 300)).save(file, "PNG")
    image = base64.b64encode(file.getvalue()).decode()
    with serving(run) as client:
        reply = client.post_json("/compare?metric=content&layers=relu1_1,relu2_1", {"images": [image] * 2})
        assert (reply.status, "numbers would be computed, more than 400,000" in reply.error()) == (413, True)


def test_work_for_clients_that_have_gone_is_not_kept(run):
    """Their images would be, until the thread has done what it is at."""
    service = Service(open_models(run), Limits())
    begun, goes_on = threading.Event(), threading.Event()

    def blocked(items):
        begun.set()
        goes_on.wait(10)
        return items

    async def many() -> int:
        first = service.worker.submit([0], blocked, pixels=1)
        while not begun.is_set():
            await asyncio.sleep(0.01)
        for number in range(50):
            service.worker.submit([number], blocked, pixels=1).cancel()
        await asyncio.sleep(0.01)
        waiting = len(service.worker._tasks)
        goes_on.set()
        await first
        return waiting

    assert asyncio.run(many()) == 0
    service.close()


def test_few_large_images_fill_the_queue_too(run, content, monkeypatch):
    """Rescaled images are held until their turn comes: 64 requests of the largest size would be 3 GB."""
    monkeypatch.setattr("verydeep.serving.work.MOST_WAITING", 20_000)
    service = Service(open_models(run), Limits())
    begun, goes_on = threading.Event(), threading.Event()

    def blocked(items):
        begun.set()
        goes_on.wait(10)
        return items

    async def many() -> list[object]:
        model = service.models.default
        first = service.worker.submit([0], blocked, pixels=10**9)  # alone, however large
        while not begun.is_set():
            await asyncio.sleep(0.01)
        asked = [
            asyncio.create_task(service.posteriors(model, [decode.Encoded("a.png", content)] * 2, "dense", (64,)))
            for _ in range(4)
        ]
        while sum(one.done() for one in asked) + len(service.worker._tasks) < len(asked):
            await asyncio.sleep(0.01)
        goes_on.set()
        await first
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(many())
    refused = [one for one in answers if isinstance(one, Refusal)]
    assert 0 < len(refused) < 4
    assert {one.status for one in refused} == {503} and all(one.retry_after for one in refused)
    assert all(len(one) == 2 for one in answers if not isinstance(one, Refusal))
    assert service.room.taken == 0 and not service.worker._tasks
    service.close()


@pytest.mark.parametrize("threads", [1, 3])
def test_as_many_threads_decode_as_are_asked_for(run, threads):
    service = Service(open_models(run), Limits(), threads)

    async def many() -> set[int]:
        works = [lambda: time.sleep(0.02) or threading.get_ident()] * 12
        return set(await service._all(works))

    assert len(asyncio.run(many())) == threads
    service.close()


def test_another_request_is_another_wait():
    """A connection that is used again and again is not dropped for being busy."""
    connection = object.__new__(server.Connection)
    times = iter(range(0, 1000, 50))

    class Loop:
        def time(self):
            return next(times)

        def call_later(self, seconds, call):
            return None

    class Cycle:
        response_complete = False

    class Transport:
        aborted = False

        def is_closing(self):
            return False

        def abort(self):
            self.aborted = True

    connection.loop, connection.transport = Loop(), Transport()
    connection.config = type("Config", (), {"timeout_graceful_shutdown": 10})()
    for _ in range(5):
        connection.cycle = Cycle()
        connection._look()
    assert not connection.transport.aborted
    connection._look()
    assert connection.transport.aborted  # the same for 50 seconds


def test_headers_and_lists_that_are_too_long(run, content):
    with serving(run) as client:
        reply = client.post("/extract?layers=" + ",".join(["a"] * 101), content)
        assert (reply.status, "has 101 words; it may have 100" in reply.error()) == (400, True)
        reply = client.post("/predict?" + "a" * 17_000, content)
        assert reply.status in (400, 431)
        reply = client.post_json("/predict", {"images": [0] * 2_000_001})
        assert reply.status == 413


def test_slow_clients_do_not_stop_others(run, content):
    with serving(run) as client:
        slow = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(200)]
        try:
            for number, one in enumerate(slow):
                head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
                one.sendall(head[:40] if number % 2 else head + b"\r\nx")
            for _ in range(20):
                assert client.post("/predict", content).status == 200
        finally:
            for one in slow:
                one.close()


def test_what_is_not_http(run):
    with serving(run) as client:
        for sent in (
            b"\x16\x03\x01 no HTTP\r\n\r\n",
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/9\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", client.port)) as one:
                one.sendall(sent)
                answer = b"".join(iter(lambda one=one: one.recv(4096), b""))
                assert answer.startswith(b"HTTP/1.1 400")
                assert b'"error": "this is no valid request' in answer
        assert client.get("/health").status == 200


def test_hosts(run, content):
    with serving(run, hosts=["photos.example"]) as client:
        for host in (
            "localhost",
            "localhost:80",
            "127.0.0.1:8000",
            "[::1]:8000",
            "Photos.Example",
            "192.168.1.7",
            socket.gethostname(),
        ):
            assert client.get("/health", Host=host).status == 200, host
        for host in ("evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example", "localhost:80:80"):
            reply = client.get("/health", Host=host)
            assert (reply.status, "is no name of this server" in reply.error()) == (421, True), host
    with serving(run, hosts=["*"]) as client:
        assert client.get("/health", Host="anything.example").status == 200


def test_pages_of_other_sites(run, content):
    own = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
    other = {"Host": "localhost:8000", "Origin": "https://photos.example"}
    with serving(run) as client:
        assert client.post("/predict", content, **own).status == 200
        for origin in ("https://photos.example", "null", "http://localhost:8001"):
            reply = client.post("/predict", content, Host="localhost:8000", Origin=origin)
            assert (reply.status, "start the server with `cors`" in reply.error()) == (403, True)
        assert "access-control-allow-origin" not in client.post("/predict", content).headers
    with serving(run, cors=["https://photos.example"]) as client:
        reply = client.post("/predict", content, **other)
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, "https://photos.example")
        asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}
        assert client.ask("OPTIONS", "/predict", None, **other, **asked).status == 200
        assert client.post("/predict", content, Host="localhost", Origin="https://evil.example").status == 403


def test_allowed_pages_can_read_what_is_refused(run, content, monkeypatch):
    """And an error of the server, which nothing has foreseen."""
    other = {"Host": "localhost:8000", "Origin": "https://photos.example"}

    def fails(*_):
        raise ZeroDivisionError

    with serving(run, cors=["https://photos.example"]) as client:
        replies = [client.post("/predict?" + "a" * 60_000, content, **other), client.get("/nowhere", **other)]
        monkeypatch.setattr(Service, "posteriors", fails)
        replies.append(client.post("/predict", content, **other))
        assert [reply.status for reply in replies] == [431, 404, 500]
        assert {reply.headers["access-control-allow-origin"] for reply in replies} == {"https://photos.example"}


def test_answers_that_are_not_read_count(run, content, monkeypatch):
    """Until they are, they are in memory."""
    monkeypatch.setattr("verydeep.serving.application.MOST_BODIES", len(content) + 1000)
    with serving(run) as client:
        assert client.post("/predict", content).status == 200
        reply = client.post("/extract?layers=conv1_1&format=npz&pool=none", content)
        assert (reply.status, "too much is on its way" in reply.error()) == (503, True)
        assert client.post("/predict", content).status == 200


def test_tokens(run, content):
    with serving(run, token="sesame") as client:
        assert client.get("/health").status == 200
        for address in ("/", "/models", "/metrics", "/openapi.json", "/v2", "/v2/health/live"):
            reply = client.get(address)
            assert (reply.status, "Bearer TOKEN" in reply.error()) == (401, True)
            assert reply.headers["www-authenticate"].startswith("Basic")
        basic = base64.b64encode(b"anyone:sesame").decode()
        for header in ("Bearer sesame", "bearer sesame", f"Basic {basic}"):
            assert client.post("/predict", content, Authorization=header).status == 200
        wrong = base64.b64encode(b"sesame:wrong").decode()
        for header in (
            "Bearer",
            "Bearer sesam",
            "Bearer sesame2",
            f"Basic {wrong}",
            "Basic ?",
            "sesame",
            "Bearer s\xe9same",
        ):
            assert client.post("/predict", content, Authorization=header).status == 401
        described = client.get("/openapi.json", Authorization="Bearer sesame").json()
        assert described["paths"]["/predict"]["post"]["security"] == [{"token": []}]
        assert "security" not in described["paths"]["/health"]["get"]


def test_headers_of_every_answer(run, content):
    with serving(run) as client:
        for reply in (
            client.get("/"),
            client.get("/nothing"),
            client.post("/predict", b""),
            client.post("/predict", content),
        ):
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["cache-control"] == "no-store"
            assert reply.headers["cross-origin-resource-policy"] == "same-origin"
            assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
            assert "server" not in reply.headers
        ids = {client.get("/health").headers["x-request-id"] for _ in range(5)}
        assert len(ids) == 5
        assert client.get("/health", X_Request_ID="mine-1").headers["x-request-id"] == "mine-1"
        assert client.get("/health", X_Request_ID="no<b>").headers["x-request-id"] != "no<b>"


def test_the_page_holds_all_that_it_needs(run):
    with serving(run) as client:
        page = client.get("/")
    text = page.content.decode()
    assert not re.findall(r'(?:src|href)="(?!data:,|openapi\.json)[^"]*"', text)
    assert not re.search(r"\son\w+=|\sstyle=", text), "the policy forbids what stands in attributes"
    policy = page.headers["content-security-policy"]
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy


def test_damaged_bodies(run):
    """Each is answered with a sentence, or is an image after all; `make check-serving` sends 2,000 of them."""
    random = np.random.default_rng(0)
    files = [io.BytesIO() for _ in range(4)]
    for file, kind in zip(files, ("JPEG", "PNG", "GIF", "WEBP"), strict=True):
        Image.fromarray(smooth(60, 50)).save(file, kind)
    bodies = [gif_claiming(files[2].getvalue(), 60_000), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]
    for number in range(100):
        whole = files[number % 4].getvalue()
        bodies.append([cut(whole, random), flipped(whole, random), noise(random, whole[:8])][number % 3])
    with serving(run) as client:
        for body in bodies:
            reply = client.post("/predict", body)
            assert reply.status in (200, 400, 413), reply
            if reply.status != 200:
                assert reply.error()
        assert client.get("/health").status == 200


def test_the_log(run, content, capfd):
    with serving(run, log="json") as client:
        client.post("/predict", content, X_Request_ID="mine-1")
        client.get("/no%0Athing")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(one["method"], one["path"], one["status"], one["images"]) for one in lines] == [
        ("POST", "/predict", 200, 1),
        ("GET", "/no\nthing", 404, 0),
    ]
    assert lines[0]["id"] == "mine-1"
    with serving(run, log="text") as client:
        client.post("/predict", content)
        client.get("/no%0Athing")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"127\.0\.0\.1 POST /predict 200 [\d.]+ ms 1 image \w{16}", lines[0])


def test_errors_of_the_server_are_told_in_its_log_only(slow, content, monkeypatch, capfd):
    monkeypatch.setattr(slow, "posteriors", lambda *arguments: 1 / 0)
    with of_application(application(slow)) as client:
        reply = client.post("/predict", content)
        assert reply.status == 500
        assert re.fullmatch(r"an error of the server; its log tells more under the request \w{16}", reply.error())
    assert "ZeroDivisionError" in capfd.readouterr().err


def start(*words: str) -> tuple[subprocess.Popen, Client]:
    process = subprocess.Popen(
        [sys.executable, "-m", "verydeep", "serve", *words, "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    line = process.stderr.readline()
    found = re.fullmatch(r"serving at http://127\.0\.0\.1:(\d+); Ctrl-C stops\n", line)
    assert found, line + process.stderr.read()
    return process, Client(int(found[1]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_all_is_answered(run, content, number):
    process, client = start(str(run))
    with ThreadPoolExecutor(8) as pool:
        big = io.BytesIO()
        Image.fromarray(smooth(1500, 1400)).save(big, "PNG")
        asked = [pool.submit(client.post, "/predict?scales=1400", big.getvalue()) for _ in range(4)]
        while "verydeep_queue_images 4" not in client.get("/metrics").content.decode():
            time.sleep(0.01)
        os.kill(process.pid, number)
        assert [one.result().status for one in asked] == [200] * 4
    log = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    assert "Traceback" not in log


def test_what_cannot_be_served(run, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match=r"port \d+ cannot be used: Address already in use"):
            verydeep.serve(run, port=taken.getsockname()[1])
    with pytest.raises(UsageError, match="`port` is 70000"):
        verydeep.serve(run, port=70_000)
    for host in ("a..b", "a" * 70):
        with pytest.raises(UsageError, match=f"`host` '{host}' cannot be used: it is no name of a host"):
            verydeep.serve(run, host=host)
    with pytest.raises(UsageError, match="`host` 'no such host' cannot be used"):
        verydeep.serve(run, host="no such host")
    for token in ("", " ", "two words", "se\u0301same", "end\n"):
        with pytest.raises(UsageError, match="`token` must be"):
            verydeep.serving.app(run, token=token)
    with pytest.raises(UsageError, match="`token` must be"):
        verydeep.serve(run, port=0, token="")


def test_behind_a_proxy_no_other_address_is_told(run):
    """A redirect would be of this server's own name, without the proxy's prefix; so would addresses of the API."""
    with serving(run) as client:
        assert client.get("/health/").status == 404
        assert client.get("/openapi.json").json()["servers"] == [{"url": "."}]


def test_the_inference_protocol_tells_what_it_takes(run):
    with serving([f"one={run}", f"other={run}"], ensemble=True) as client:
        for model, wanted in (("ensemble", ["image", "pixels"]), ("one", ["image", "pixels", "images"])):
            inputs = client.get(f"/v2/models/{model}").json()["inputs"]
            assert [one["name"] for one in inputs] == wanted
        tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 9 * 10**4000, 9 * 10**4000, 3], "data": []}
        reply = client.post_json("/v2/models/one/infer", {"inputs": [tensor], "parameters": None})
        assert (reply.status, "it must be [n, n, n, 3]" in reply.error()) == (400, True)
