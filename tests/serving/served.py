"""A server in a thread of the tests, and a client for it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from verydeep.serving import app
from verydeep.serving.server import bind, server_of


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.content)

    def error(self) -> str:
        sentence = self.json()["error"]
        assert isinstance(sentence, str)
        assert sentence
        return sentence


@dataclass
class Client:
    port: int

    def ask(self, method: str, path: str, body: Any = None, /, **headers: str) -> Reply:
        """Ask on a connection of its own; names of headers have _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, None, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        return self.ask("POST", path, body, **headers)

    def post_json(self, path: str, value: Any, **headers: str) -> Reply:
        return self.post(path, json.dumps(value), content_type="application/json", **headers)


@contextmanager
def serving(models: Any, **options: Any) -> Iterator[Client]:
    """A server of models; options as of `verydeep.serving.app`."""
    with of_application(app(models, **options)) as client:
        yield client


@contextmanager
def of_application(application: Any) -> Iterator[Client]:
    started = threading.Event()
    with bind("127.0.0.1", 0) as bound:
        server = server_of(application, 20, started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            assert started.wait(30)
            yield Client(bound.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()
