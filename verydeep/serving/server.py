"""The ASGI application behind a port: uvicorn, and connections that are not held for nothing."""

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
from verydeep.serving.limits import MOST_HEADERS

HEADER_SECONDS = 10.0  # until the headers of a request are there
LEFT_SECONDS = 5.0  # for the rest of a body that is answered already, or of an answer when all is over
LOOK_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15
MOST_CONNECTIONS = 1000
BACKLOG = 512


class Connection(H11Protocol):
    """A connection that is not held for nothing.

    uvicorn waits for ever for headers, for what is left of a body whose request is answered already, and for
    clients that do not read their answer.
    """

    _state: tuple[tuple[str, object], float] | None = None  # what it waits for, and since when
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take it, or close it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

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

    def _look(self) -> None:
        """Drop the connection if it has waited for the same for too long."""
        now, waits_for = self.loop.time(), self._waits_for()
        state = waits_for, self.cycle  # another request is another wait
        if self._state is None or self._state[0] != state:
            self._state = state, now
        elif now - self._state[1] > self._patience(waits_for):
            self.transport.abort()
            return
        self._watch = self.loop.call_later(LOOK_SECONDS, self._look)

    def _waits_for(self) -> str:
        if self.transport.is_closing():
            return "reading"
        if self.cycle is not None and not self.cycle.response_complete:
            return "answer"
        if self.conn.their_state is h11.SEND_BODY:
            return "body"
        begun = self.cycle is None or bool(self.conn.trailing_data[0])
        return "headers" if self.conn.their_state is h11.IDLE and begun else "request"

    def _patience(self, waits_for: str) -> float:
        """Seconds; the application has limits of its own, and uvicorn closes what has no request."""
        whole = 4.0 * (self.config.timeout_graceful_shutdown or 60)
        return {"headers": HEADER_SECONDS, "body": LEFT_SECONDS, "reading": LEFT_SECONDS}.get(waits_for, whole)


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
    except UnicodeError:  # a part of the name is empty or too long
        raise UsageError(f"`host` {host!r} cannot be used: it is no name of a host") from None
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
        h11_max_incomplete_event_size=MOST_HEADERS,
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
