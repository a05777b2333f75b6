"""`verydeep.serving.app`: models -> an ASGI application, to run or to mount in another."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from os import PathLike
from typing import Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as Address
from starlette.types import Receive, Scope, Send

from verydeep.arguments import checked
from verydeep.errors import ImageError, ModelError, UsageError
from verydeep.inference import EngineName, PrecisionName
from verydeep.model import Model
from verydeep.serving import openapi
from verydeep.serving.guard import IMAGES, ROUTE, Guard, Log, log_json, log_line, refusal_response
from verydeep.serving.limits import Limits, Refusal
from verydeep.serving.models import open_models
from verydeep.serving.requests import Call, read_query
from verydeep.serving.routes import ROUTES, Answer, Route, as_json
from verydeep.serving.service import Service

MOST_BODIES = 512_000_000  # bytes of all bodies that are in memory at once, of requests and of answers
DESCRIPTION = "/openapi.json"


@checked
def app(
    models: str | PathLike[str] | Model | Iterable[str | PathLike[str] | Model] = "cifar10",
    *,
    ensemble: bool = False,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Sequence[str] = (),
    cors: Sequence[str] = (),
    log: Literal["", "text", "json"] = "",
    network: bool = False,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Starlette:
    """Make an ASGI application around models: the page and the API of `verydeep serve`.

        app = verydeep.serving.app("cifar10")                       # uvicorn module:app
        other.mount("/vgg", verydeep.serving.app("runs/mine"))      # within an application of Starlette or FastAPI

    Args:
        models: one or several, each as `verydeep.load` takes it, or opened by it; `NAME=MODEL` gives it a name.
        ensemble: average all models; the result answers under the name `ensemble`, and by default.
        limits: what it takes at most.
        token: secret that requests must carry, except to `/health`; None for none.
        hosts: names of this server, besides addresses and `localhost`; requests that name another host are
            refused, unless `*` is given.
        cors: other sites whose pages may send requests, such as https://example.com; `*` for any.
        log: whether each request is a line of standard error, for people or as JSON.
        network: answer by the networks' own classes, even if classifiers lie beside the models.
        engine: what computes: native runs on the CPU without torch; auto takes torch where there is a GPU, else
            native.
        precision: precision of matrix products: auto is float32; int16 needs the native engine.
        device: where to compute: auto, cpu, cuda or mps.
        threads: CPU threads of each process (default: one for each core that it may use).

    Raises:
        UsageError: an argument does not fit.
        ModelError: a model cannot be opened.

    """
    options = {"engine": engine, "precision": precision, "device": device, "threads": threads}
    opened = open_models(models, ensemble=ensemble, network=network, **options)
    service = Service(opened, limits or Limits(), threads)
    return application(
        service, token=token, hosts=hosts, cors=cors, log={"text": log_line, "json": log_json}.get(log)
    )


def application(
    service: Service,
    *,
    token: str | None = None,
    hosts: Sequence[str] = (),
    cors: Sequence[str] = (),
    log: Log | None = None,
) -> Starlette:
    """Make the ASGI application of a service; arguments as of `app`."""
    if token is not None and not re.fullmatch("[!-~]+", token):
        raise UsageError("`token` must be letters, digits or signs of ASCII without spaces; or leave it out")
    bodies = Bodies(MOST_BODIES)
    described = openapi.describe(service.models, service.limits, token=token is not None)

    async def description(call: Call) -> Answer:
        return as_json(described)

    routes = (*ROUTES, Route("GET", DESCRIPTION, description, "This description"))
    addresses = [
        Address(route.path, Endpoint(service, route, token, bodies), methods=[route.method]) for route in routes
    ]
    guard = Middleware(Guard, service.metrics, hosts, cors, log, 3 * service.limits.timeout)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    application = Starlette(
        routes=addresses,
        middleware=[guard],
        exception_handlers={HTTPException: _of_starlette, Refusal: _refused},
        lifespan=lifespan,
    )
    application.router.redirect_slashes = False  # behind a proxy it would send clients to another address
    return application


class Bodies:
    """How many bytes of bodies are in memory.

    Args:
        most: bytes.

    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    @contextmanager
    def counted(self) -> Iterator[Callable[[int], None]]:
        """Give the function that counts a piece of a body; what it counted is free at the end.

        The function raises `Refusal`: all bodies together are too large.
        """
        own = 0

        def count(length: int) -> None:
            nonlocal own
            if self.taken + length > self.most:
                raise Refusal(503, "the server is busy: too much is on its way at once; try again later", 1)
            self.taken += length
            own += length

        try:
            yield count
        finally:
            self.taken -= own


class Endpoint:
    """What answers at an address.

    It is an ASGI application, not a function that gives a response: an answer counts until its client has read it.

    Args:
        service: that is asked.
        route: of the table.
        token: that requests must carry; None for none.
        bodies: of all requests.

    """

    def __init__(self, service: Service, route: Route, token: str | None, bodies: Bodies) -> None:
        self.service = service
        self.route = route
        self.token = token
        self.bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive)
        scope[ROUTE] = self.route.path
        headers = {name.lower(): value for name, value in request.headers.items()}
        with self.bodies.counted() as count:
            try:
                if self.token is not None and not self.route.is_open:
                    _check_token(headers.get("authorization", ""), self.token)
                answer = await _answer(self.service, self.route, request, headers, count)
            except ClientDisconnect:
                raise ConnectionAbortedError from None
            except (UsageError, ImageError) as error:
                raise Refusal(400, str(error)) from None
            except ModelError as error:
                raise Refusal(500, str(error)) from None
            except TimeoutError:
                reason = f"no answer within {self.service.limits.timeout} seconds; try again later"
                raise Refusal(503, reason, 1) from None
            count(len(answer.body))
            await Response(answer.body, headers=answer.headers)(scope, receive, send)


async def _answer(
    service: Service, route: Route, request: Request, headers: dict[str, str], count: Callable[[int], None]
) -> Answer:
    body = b""
    if route.body:
        service.room.check()
        body = await _body(request, service.limits, count)
    query = read_query(request.scope["query_string"], route.query) if route.method == "POST" else {}
    call = Call(service, query, request.path_params, body, headers)
    try:
        async with asyncio.timeout(service.limits.timeout):
            return await _unless_gone(request, route.handler(call))
    finally:
        request.scope[IMAGES] = call.num_images  # also of what is refused


async def _unless_gone(request: Request, answering: Awaitable[Answer]) -> Answer:
    """The answer; where the client goes before, the work is dropped."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, watch = asyncio.ensure_future(answering), asyncio.create_task(gone())
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        for task in (work, watch):
            task.cancel()
        await asyncio.gather(work, watch, return_exceptions=True)


async def _body(request: Request, limits: Limits, count: Callable[[int], None]) -> bytes:
    """The body of a request, that is not too large and arrives in time."""
    too_large = Refusal(413, f"the body has more than {limits.max_bytes:,} bytes, the most that is taken")
    length = request.headers.get("content-length", "")
    if length.isdigit() and (len(length) > 15 or int(length) > limits.max_bytes):
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.timeout):
            async for piece in request.stream():
                if len(body) + len(piece) > limits.max_bytes:
                    raise too_large
                count(len(piece))
                body += piece
    except TimeoutError:
        raise Refusal(408, f"the body has not arrived within {limits.timeout} seconds") from None
    return bytes(body)


def _check_token(given: str, token: str) -> None:
    """Make sure that a request has the token: as a bearer's, or as the password of a browser."""
    kind, _, word = given.partition(" ")
    if kind.lower() == "basic":
        try:
            word = base64.b64decode(word, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            word = ""
    if not hmac.compare_digest(word.encode(), token.encode()):
        raise Refusal(401, "the token is missing or wrong; send the header Authorization: Bearer TOKEN")


async def _of_starlette(request: Request, error: Exception) -> Response:
    """An address that is not there, or a method that it does not take."""
    assert isinstance(error, HTTPException)
    reason = {
        404: f"there is no such address; {DESCRIPTION} lists them",
        405: f"the method {request.method} is not taken here; {DESCRIPTION} lists what is",
    }.get(error.status_code, str(error.detail))
    response = refusal_response(Refusal(error.status_code, reason))
    response.headers.update(error.headers or {})
    return response


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refusal_response(error)
