"""The ASGI application behind a port: uvicorn, with a limit on headers that do not arrive."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from verydeep.errors import UsageError
from verydeep.files import json_text
from verydeep.interrupts import stopped_by_signals

HEADER_SECONDS = 10.0  # until the headers of a request are there
KEEP_ALIVE_SECONDS = 15
MOST_HEADER_BYTES = 16_384
MOST_CONNECTIONS = 1000
BACKLOG = 512


class Connection(H11Protocol):
    """A connection whose headers have to arrive in time: uvicorn waits for them for ever."""

    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take it, or close it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came; if the headers of a request are still missing, wait for them for a while."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait_for_headers()
        else:
            self._stop_waiting()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in JSON as everything else."""
        body = json_text({"error": "this is no valid request of HTTP/1.1, or its headers are too long"}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        try:
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # an answer is under way already
            pass
        self.transport.close()

    def _wait_for_headers(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


def bind(host: str, port: int) -> socket.socket:
    """Take a port; nobody is answered yet.

    Raises:
        UsageError: it is taken, not allowed, or there is no such host.

    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        taken = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"`host` {host!r} cannot be used: {error.strerror or error}") from None
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
    except OSError as error:
        taken.close()
        raise UsageError(f"port {port} cannot be used: {error.strerror}; choose another `port`") from None
    return taken


def is_local(bound: socket.socket) -> bool:
    """Whether only this machine can reach a bound port."""
    return ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


def address_of(bound: socket.socket) -> str:
    """The address of a page behind a bound port."""
    host, port = bound.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def server_of(application: ASGIApp, timeout: int, started: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """A server that is not running yet; `should_exit` ends it, after what is at work is answered.

    Args:
        application: what answers.
        timeout: seconds that what is at work has at the end.
        started: is called when requests are answered.

    """
    config = uvicorn.Config(
        application,
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=timeout,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
    )
    return _Server(config, started)


def run(application: ASGIApp, bound: socket.socket, timeout: int, started: Callable[[], None]) -> None:
    """Answer on a bound port until Ctrl-C or SIGTERM; other arguments as of `server_of`."""
    server = server_of(application, timeout, started)

    def stop() -> None:
        server.should_exit = True

    with stopped_by_signals(stop):  # uvicorn sends itself the signals again when it has stopped
        server.run(sockets=[bound])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and tell it."""
        await super().startup(sockets)
        self._tell()
