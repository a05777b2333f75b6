"""`verydeep serve` under load, on this machine's loopback.

    python benchmarks/serving.py load MODEL IMAGES [--query 'views=centre&scales=256'] [--clients 32]
    python benchmarks/serving.py memory MODEL IMAGES [--requests 10000]
    python benchmarks/serving.py peers MODEL WEIGHTS IMAGES --python PEERS/bin/python

IMAGES is a folder; its first 100 files are sent. Clients are coroutines of this process, each on a connection of
its own that is kept open. The server is a process of its own. All share the machine's cores.

`load` measures decoding + engine without HTTP in the same run, before and after: files in memory, decoded ahead,
in batches, as `verydeep predict` does it. Beside it stand the images a second of clients that ask again at once;
the latencies at 50 % and 90 % of that, requests arriving at random; and an overload of three times that, by
requests that do not wait for each other. Then 200 slow clients hold connections with a request each that never
ends.

`memory` tells the server's memory after 1,000, 5,000 and 10,000 requests.

`peers` puts the same weights behind FastAPI and LitServe with torchvision, one after the other, each as its manual
has it; `serving_peers.py` has them. MODEL is D at full width. WEIGHTS are the same weights, as
`verydeep export MODEL --to torchvision` writes them. PEERS is an environment with
`pip install fastapi uvicorn python-multipart litserve torchvision`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import verydeep
from verydeep.evaluation.evaluate import Member, evaluate
from verydeep.evaluation.protocols import protocols_of
from verydeep.images.given import given_images

NUM_IMAGES = 100
SLOW = 200
HERE = Path(__file__).parent


@dataclass
class Seen:
    """What clients saw."""

    seconds: float = 0
    latencies: dict[int, list[float]] = field(default_factory=dict)  # by status

    def add(self, status: int, latency: float) -> None:
        """Add an answer."""
        self.latencies.setdefault(status, []).append(latency)

    @property
    def per_second(self) -> float:
        """Images that were answered."""
        return len(self.latencies.get(200, ())) / self.seconds

    def percentile(self, share: float, status: int = 200) -> float:
        """Seconds within which a share of the answers came."""
        values = self.latencies.get(status)
        return float(np.percentile(values, share)) if values else float("nan")

    def counts(self) -> str:
        """How many answers had which status."""
        return ", ".join(f"{len(values)} x {status}" for status, values in sorted(self.latencies.items()))


class Connection:
    """A connection that is kept open."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> int:
        """Send a request: the status of its answer."""
        kept = self.streams is not None
        try:
            return await self._ask(request)
        except (asyncio.IncompleteReadError, ConnectionError):
            if not kept:
                raise
        self.close()  # it was idle for so long that the server closed it
        return await self._ask(request)

    async def _ask(self, request: bytes) -> int:
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.I)
        await reader.readexactly(int(length[1]))
        if b"connection: close" in head.lower():
            self.close()
        return int(head[9:12])

    def close(self) -> None:
        """Close it."""
        if self.streams:
            self.streams[1].close()
            self.streams = None


def request(path: str, content: bytes, kind: str = "image/jpeg") -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: image/jpeg",
        f"Content-Length: {len(content)}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


async def closed_loop(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Seen:
    """Clients that ask again as soon as they are answered."""
    seen, begun = Seen(), time.perf_counter()
    end = begun + seconds

    async def client(number: int) -> None:
        connection = Connection(port)
        while time.perf_counter() < end:
            sent = time.perf_counter()
            status = await connection.ask(requests[number % len(requests)])
            seen.add(status, time.perf_counter() - sent)
            number += clients
        connection.close()

    await asyncio.gather(*map(client, range(clients)))
    seen.seconds = time.perf_counter() - begun
    return seen


async def open_loop(port: int, requests: Sequence[bytes], rate: float, seconds: float, seed: int = 0) -> Seen:
    """Requests that arrive at random, whether others are answered or not."""
    random = np.random.default_rng(seed)
    seen, begun = Seen(), time.perf_counter()
    free: list[Connection] = []
    asked = []

    async def ask(number: int, due: float) -> None:
        connection = free.pop() if free else Connection(port)
        status = await connection.ask(requests[number % len(requests)])
        seen.add(status, time.perf_counter() - due)
        free.append(connection)

    due, number = begun, 0
    while (due := due + random.exponential(1 / rate)) < begun + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asked.append(asyncio.create_task(ask(number, due)))
        number += 1
    await asyncio.gather(*asked)
    seen.seconds = time.perf_counter() - begun
    for connection in free:
        connection.close()
    return seen


@contextmanager
def server(words: Sequence[str], pattern: str) -> Iterator[tuple[int, subprocess.Popen[str], float]]:
    """A server in a process of its own: its port, the process, and seconds until it answered."""
    begun = time.perf_counter()
    log = HERE.parent / "build" / "serving.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as file:
        process = subprocess.Popen(words, stderr=file, stdout=file, text=True, start_new_session=True)
    try:
        while not (found := re.search(pattern, log.read_text())):
            if process.poll() is not None or time.perf_counter() - begun > 120:
                raise RuntimeError(log.read_text())
            time.sleep(0.02)
        yield int(found[1]), process, time.perf_counter() - begun
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers that are left


def ours(model: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "verydeep", "serve", f"model={model}", "--port", "0", *words]


SERVING = r"serving at http://127\.0\.0\.1:(\d+)"


def memory_of(process: subprocess.Popen[str]) -> int:
    """Resident memory of a process and its children, in MB."""
    pids = [process.pid]
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pids += map(int, children)
    found = [re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in pids]
    return sum(int(one[1]) for one in found if one) // 1024  # a process that has ended has no memory


def files_of(folder: str) -> list[bytes]:
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())[:NUM_IMAGES]
    return [path.read_bytes() for path in paths]


def without_http(model: verydeep.Model, contents: Sequence[bytes], query: dict[str, str], seconds: float) -> float:
    """Images a second of decoding + engine."""
    scales = tuple(map(int, query.get("scales", "").split(","))) if query.get("scales") else model.protocol.scales
    protocols = protocols_of(query.get("views", "dense"), scales, model.protocol.mirror)
    member = Member(model.engine, protocols)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() < begun + seconds:
        count += len(evaluate([member], given_images(list(contents)), batch_size=32))
    return count / (time.perf_counter() - begun)


async def with_slow_clients(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Seen:
    """The closed loop, while others hold connections with half of their headers or a body that never comes."""
    held = []
    for number in range(SLOW):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        writer.write(head[:40] if number % 2 else head + b"\r\nx")
        held.append(writer)
    seen = await closed_loop(port, requests, clients, seconds)
    for writer in held:
        writer.close()
    return seen


def load(given: argparse.Namespace) -> None:
    contents = files_of(given.images)
    path = "/predict" + (f"?{given.query}" if given.query else "")
    requests = [request(path, content) for content in contents]
    query = dict(part.split("=") for part in given.query.split("&")) if given.query else {}
    model = verydeep.load(given.model)
    without_http(model, contents, query, 0)  # warm
    before = without_http(model, contents, query, given.seconds / 2)
    with server(ours(given.model), SERVING) as (port, process, started):
        asyncio.run(closed_loop(port, requests, given.clients, 2))
        one = asyncio.run(closed_loop(port, requests, 1, given.seconds / 2))
        full = asyncio.run(closed_loop(port, requests, given.clients, given.seconds))
        after = without_http(model, contents, query, given.seconds / 2)
        base = statistics.mean([before, after])
        print(f"decoding + engine without HTTP: {before:.1f} before, {after:.1f} images/s after")
        print(f"started in {started:.1f} s; {memory_of(process)} MB; {batches(port)}")
        tell("1 client", one, base)
        tell(f"{given.clients} clients", full, base)
        for share in (0.5, 0.9):
            rate = share * full.per_second
            tell(f"{share:.0%} of that", asyncio.run(open_loop(port, requests, rate, given.seconds)), base)
        over = asyncio.run(open_loop(port, requests, 3 * full.per_second, given.seconds))
        tell("overload, three times that", over, base)
        refused = 1000 * over.percentile(50, 503), 1000 * over.percentile(99, 503)
        print(f"    refused: p50 {refused[0]:.1f} ms, p99 {refused[1]:.1f} ms")
        slow = asyncio.run(with_slow_clients(port, requests, given.clients, given.seconds / 2))
        tell(f"{given.clients} clients beside {SLOW} slow ones", slow, base)
        print(f"{memory_of(process)} MB at the end")


def batches(port: int) -> str:
    import urllib.request

    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    count = float(re.search(r"verydeep_batch_images_count (\d+)", text)[1])
    total = float(re.search(r"verydeep_batch_images_sum (\d+)", text)[1])
    return f"{total / count:.1f} images a call in the mean"


def tell(what: str, seen: Seen, base: float) -> None:
    p50, p99 = (1000 * seen.percentile(share) for share in (50, 99))
    print(
        f"{what}: {seen.per_second:.1f} images/s, {seen.per_second / base:.0%} of the base; "
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms ({seen.counts()})",
        flush=True,
    )


def memory(given: argparse.Namespace) -> None:
    requests = [request("/predict", content) for content in files_of(given.images)]
    with server(ours(given.model), SERVING) as (port, process, _):
        print(f"at the start: {memory_of(process)} MB")
        done = 0
        for goal in (given.requests // 10, given.requests // 2, given.requests):

            async def some(count: int) -> Counter[int]:
                statuses: Counter[int] = Counter()

                async def client(number: int) -> None:
                    connection = Connection(port)
                    for each in range(number, count, given.clients):
                        statuses[await connection.ask(requests[each % len(requests)])] += 1
                    connection.close()

                await asyncio.gather(*map(client, range(given.clients)))
                return statuses

            statuses = asyncio.run(some(goal - done))
            done = goal
            print(f"after {done:,} requests: {memory_of(process)} MB ({dict(statuses)})", flush=True)


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def peers(given: argparse.Namespace) -> None:
    contents = files_of(given.images)
    query = "/predict?views=centre&scales=256&top=5"
    script = str(HERE / "serving_peers.py")
    cases = {
        "verydeep": (ours(given.model), SERVING, query),
        "FastAPI": ([given.python, script, "fastapi", given.weights, free_port()], r"ready (\d+)", "/predict"),
        "LitServe": ([given.python, script, "litserve", given.weights, free_port()], r"ready (\d+)", "/predict"),
    }
    print(f"{given.clients} clients, {given.seconds:g} s each, centre crops of 224 pixels")
    for name, (words, pattern, path) in cases.items():
        requests = [request(path, content) for content in contents]
        if name == "LitServe":  # it takes JSON
            bodies = [json.dumps({"image": base64.b64encode(one).decode()}).encode() for one in contents]
            requests = [request(path, body, "application/json") for body in bodies]
        with server(words, pattern) as (port, process, started):
            asyncio.run(closed_loop(port, requests, given.clients, 3))
            one = asyncio.run(closed_loop(port, requests, 1, given.seconds / 2))
            seen = asyncio.run(closed_loop(port, requests, given.clients, given.seconds))
            print(
                f"{name}: {seen.per_second:.2f} images/s, p99 {seen.percentile(99):.2f} s; one client "
                f"{one.per_second:.2f} images/s, p50 {1000 * one.percentile(50):.0f} ms; started in "
                f"{started:.1f} s; {memory_of(process)} MB ({seen.counts()})",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("load", "memory", "peers"))
    parser.add_argument("model")
    parser.add_argument("images", nargs="+", help="of `peers`: WEIGHTS IMAGES")
    parser.add_argument("--query", default="")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--python", default=sys.executable)
    given = parser.parse_args()
    given.weights, given.images = given.images[0], given.images[-1]
    {"load": load, "memory": memory, "peers": peers}[given.what](given)


if __name__ == "__main__":
    main()
