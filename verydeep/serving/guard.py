"""What stands before every address: the host's name, other sites, request ids, headers, counts and the log."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import sys
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from verydeep.errors import escaped, printable
from verydeep.files import json_text
from verydeep.serving.limits import MOST_HEADERS, Refusal
from verydeep.serving.metrics import Metrics

ROUTE = "verydeep.route"  # of the scope: the address of the table, for counts
IMAGES = "verydeep.images"  # likewise: how many were sent
ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
PIECE = 1 << 18  # bytes of an answer that are handed to the connection at once
GONE = 499  # a client that has gone before its answer, as nginx counts it

HEADERS: Sequence[tuple[bytes, bytes]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
STRICTEST = b"default-src 'none'; frame-ancestors 'none'"

Log = Callable[[dict[str, Any]], None]


class Guard:
    """The application, guarded.

    A web page of another site can send requests to a server on the reader's own machine. By a name of its own for
    the machine's address (DNS rebinding) it could read the answers. So the host has to be named by an address,
    `localhost`, the machine's name or one of `hosts`, and requests of pages from elsewhere are refused.

    Args:
        app: what answers.
        metrics: counts of the server.
        hosts: further names of the host; `*` for any.
        origins: of pages from elsewhere that may ask; `*` for any.
        log: takes a line's fields.
        seconds: that a request may take in all, until its answer has been read.

    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        hosts: Collection[str],
        origins: Collection[str],
        log: Log | None,
        seconds: float,
    ) -> None:
        self.origins = origins
        self.app = self._shared(app)
        self.metrics = metrics
        self.seconds = seconds
        self.hosts = {"localhost", socket.gethostname().lower(), *(name.lower() for name in hosts)}
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        request_id = given if ID.fullmatch(given) else secrets.token_hex(8)
        begun, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                there = {name for name, _ in message["headers"]}
                more = [*HEADERS, (b"x-request-id", request_id.encode())]
                more += [] if b"content-security-policy" in there else [(b"content-security-policy", STRICTEST)]
                more += [] if self.origins else [(b"cross-origin-resource-policy", b"same-origin")]
                message = {**message, "headers": [*message["headers"], *more]}
            body = memoryview(message.get("body", b""))
            while len(body) > PIECE:  # else all of it would be in memory twice until the client has read it
                await send({"type": "http.response.body", "body": bytes(body[:PIECE]), "more_body": True})
                body = body[PIECE:]
            await send({**message, "body": bytes(body)} if "body" in message else message)

        try:
            length = len(scope.get("raw_path") or b"") + len(scope["query_string"])
            length += sum(len(name) + len(value) for name, value in scope["headers"])
            if length > MOST_HEADERS:
                raise Refusal(431, f"address and headers have {length:,} bytes, more than {MOST_HEADERS:,}")
            self._check(headers)
            async with asyncio.timeout(self.seconds):
                await self.app(scope, receive, send_with_headers)
        except Refusal as refusal:
            await self._shared(refusal_response(refusal))(scope, receive, send_with_headers)
        except (ConnectionError, TimeoutError):  # the client has gone, or does not read its answer
            status = status or GONE
        except Exception:
            print(escaped(traceback.format_exc()), file=sys.stderr, flush=True)
            if not status:
                sentence = f"an error of the server; its log tells more under the request {request_id}"
                answer = refusal_response(Refusal(500, sentence))
                await self._shared(answer)(scope, receive, send_with_headers)
        seconds = time.perf_counter() - begun
        self.metrics.answered(scope.get(ROUTE, "other"), status or GONE, seconds)
        if self.log:
            self.log(
                {
                    "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "id": request_id,
                    "client": (scope.get("client") or ("", 0))[0],
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status or GONE,
                    "milliseconds": round(1000 * seconds, 1),
                    "images": scope.get(IMAGES, 0),
                }
            )

    def _shared(self, app: ASGIApp) -> ASGIApp:
        """The same with the headers by which a browser lets pages of the allowed origins read what it answers."""
        if not self.origins:
            return app
        return CORSMiddleware(
            app,
            allow_origins=self.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Inference-Header-Content-Length", "X-Request-ID"],
            expose_headers=["Inference-Header-Content-Length", "Retry-After", "X-Request-ID"],
        )

    def _check(self, headers: dict[str, str]) -> None:
        """Refuse headers that are too long, other names of the host, and pages of other sites."""
        host = headers.get("host", "")
        if "*" not in self.hosts and not self._is_ours(host):
            raise Refusal(
                421,
                f"{printable(repr(host), 80)} is no name of this server; if it is, start the server with `hosts`",
            )
        origin = headers.get("origin")
        if origin is None or "*" in self.origins or origin in self.origins:
            return
        if origin.partition("://")[2] != host:
            raise Refusal(
                403,
                f"a page of {printable(repr(origin), 80)} sent this; to allow it, start the server with `cors`",
            )

    def _is_ours(self, host: str) -> bool:
        name = re.sub(r":\d{1,5}$", "", host).lower().rstrip(".")
        try:
            ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return name in self.hosts or name.endswith(".localhost")
        return True


def refusal_response(refusal: Refusal) -> Response:
    """The answer that a refusal is."""
    headers = {}
    if refusal.retry_after is not None:
        headers["retry-after"] = str(refusal.retry_after)
    if refusal.status == 401:
        headers["www-authenticate"] = 'Basic realm="verydeep"'  # beside another, Chromium would not ask for it
    body = json_text({"error": refusal.reason}).encode()
    return Response(body, refusal.status, headers, media_type="application/json")


def log_line(fields: dict[str, Any]) -> None:
    """Write a line of the log for people."""
    images = f" {fields['images']} image{'s' * (fields['images'] != 1)}" if fields["images"] else ""
    line = "{client} {method} {path} {status} {milliseconds} ms".format(**fields)
    print(f"{escaped(line)}{images} {fields['id']}", file=sys.stderr, flush=True)


def log_json(fields: dict[str, Any]) -> None:
    """Write a line of the log for programs."""
    print(json_text(fields), file=sys.stderr, flush=True)
