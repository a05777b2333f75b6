"""`verydeep.serve`: models -> a page and an HTTP API on a port."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from os import PathLike

from verydeep.arguments import checked
from verydeep.errors import UsageError, require
from verydeep.inference import EngineName, PrecisionName
from verydeep.notes import note, say

TOKEN = "VERYDEEP_TOKEN"


@checked
def serve(
    models: str | PathLike[str] | Iterable[str | PathLike[str]] = ("cifar10",),
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    ensemble: bool = False,
    token: str | None = None,
    hosts: Sequence[str] = (),
    cors: Sequence[str] = (),
    queue: int = 64,
    max_bytes: int = 32_000_000,
    max_pixels: int = 50_000_000,
    max_images: int = 64,
    timeout: int = 60,
    log_json: bool = False,
    network: bool = False,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Serve models: a web page for people and an HTTP API for programs.

    The page classifies images that are dropped on it, shows where a class is seen, and compares images. The API is
    described at /openapi.json. It also speaks the Open Inference Protocol, version 2.

    Images are not stored. Ctrl-C or SIGTERM stops the server; requests that have been received are answered first.

    Args:
        models: models to serve, each a run folder or weights in one; a bundled one, `cifar10` or `tiny-imagenet`;
            or another library's weights; NAME=MODEL gives one a name in addresses. The first is the default.
        host: address to listen at; 0.0.0.0 for all of this machine's.
        port: port to listen at; 0 chooses a free one.
        ensemble: average all models; the result is the default model, called ensemble.
        token: secret that requests must carry, except to /health (default: that of the environment variable
            VERYDEEP_TOKEN).
        hosts: names of this server, besides addresses and localhost; requests that name another host are refused,
            unless * is given.
        cors: other sites whose pages may send requests, such as https://example.com; * for any.
        queue: images in work or waiting, at most; more are answered with 503.
        max_bytes: bytes of a request, at most.
        max_pixels: pixels of an image, at most.
        max_images: images of a request, at most.
        timeout: seconds for a request, at most.
        log_json: log each request as JSON.
        network: answer by the networks' own classes, even if classifiers lie beside the models.
        engine: what computes: native runs on the CPU without torch; auto takes torch where there is a GPU, else
            native.
        precision: precision of matrix products: auto is float32; int16 needs the native engine.
        device: where to compute: auto, cpu, cuda or mps.
        threads: CPU threads of each process (default: one for each core that it may use).

    Raises:
        UsageError: an argument does not fit, or the port cannot be used.
        ModelError: a model cannot be opened.
        VerydeepError: Starlette or uvicorn is not installed.

    """
    for module in ("starlette", "uvicorn"):
        require(module, "serve", "serving models")
    from verydeep.serving import Limits, app  # not above: it needs both
    from verydeep.serving.server import address_of, bind, is_local, run

    if not 0 <= port <= 65535:
        raise UsageError(f"`port` is {port}; it must be from 0 to 65535")
    token = token if token is not None else os.environ.get(TOKEN)
    limits = Limits(queue, max_bytes, max_pixels, max_images, timeout)
    with bind(host, port) as bound:
        application = app(
            models,
            ensemble=ensemble,
            limits=limits,
            token=token,
            hosts=hosts,
            cors=cors,
            log="json" if log_json else "text",
            network=network,
            engine=engine,
            precision=precision,
            device=device,
            threads=threads,
        )
        if token is None and not is_local(bound):
            note("everybody who can reach this machine can use the server; `token` restricts it")
        run(application, bound, timeout, lambda: say(f"serving at {address_of(bound)}; Ctrl-C stops"))
