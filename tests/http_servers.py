"""HTTP servers for tests, on this machine: of files, with every way in which a server fails, and of a Hub."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """Serves one file at every path that ends with its name.

    Attributes:
        content: of the file.
        ranges: whether it gives parts of it.
        breaks: after how many bytes of its answer each of the next answers ends.
        length: what it says instead of the true length.
        statuses: of the next answers, before the file is given.
        pause: seconds before each block of its answer.
        moved_to: a URL that it sends everybody to.
        asked: the Range of each question.

    """

    content: bytes
    ranges: bool = True
    breaks: list[int] = field(default_factory=list)
    length: int | None = None
    statuses: list[int] = field(default_factory=list)
    pause: float = 0
    moved_to: str | None = None
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.headers.get("Range"))
        if self.moved_to:
            request.send_response(302)
            request.send_header("Location", self.moved_to)
            request.end_headers()
            return
        if self.statuses:
            request.send_error(self.statuses.pop(0))
            return
        first = int(self.asked[-1].split("=")[1].rstrip("-")) if self.ranges and self.asked[-1] else 0
        if first >= len(self.content) and first:
            request.send_error(416)
            return
        body = self.content[first:]
        request.send_response(206 if first else 200)
        if first:
            request.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{len(self.content)}")
        request.send_header("Content-Length", str(len(body) if self.length is None else self.length))
        request.end_headers()
        if self.breaks:
            body = body[: self.breaks.pop(0)]
        for start in range(0, len(body), 1 << 16):
            time.sleep(self.pause)
            request.wfile.write(body[start : start + (1 << 16)])
        request.close_connection = True


@dataclass
class Hub:
    """A Hub, as far as huggingface_hub asks for files and sends them; the files of repositories are kept here.

    Attributes:
        repositories: files by their names, of each repository.
        token: that opens it for writing.
        changed: whether what it serves is another file than it says.
        asked: method and path of each question.

    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    token: str = "hf_secret"
    changed: bool = False
    asked: list[str] = field(default_factory=list)
    url: str = ""
    commit = "0123456789abcdef0123456789abcdef01234567"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{request.command} {request.path}")
        size = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(size) if size else b""
        parts = request.path.split("?")[0].strip("/").split("/")
        if "resolve" in parts:
            self._file(request, "/".join(parts[:2]), "/".join(parts[4:]))
        elif request.headers.get("Authorization") != f"Bearer {self.token}":
            self._json(request, {"error": "Invalid username or password."}, 401)
        elif parts == ["api", "repos", "create"]:
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
            self.repositories.setdefault(name, {})
            self._json(request, {"url": f"{self.url}/{name}"})
        elif "preupload" in parts:
            files = json.loads(body)["files"]
            modes = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]
            self._json(request, {"files": modes})
        elif "commit" in parts:
            self._commit("/".join(parts[2:4]), body)
            self._json(
                request,
                {"commitUrl": f"{self.url}/{'/'.join(parts[2:4])}/commit/{self.commit}", "commitOid": self.commit},
            )
        else:
            name = "/".join(parts[2:4])
            siblings = [{"rfilename": file} for file in self.repositories.get(name, {})]
            self._json(request, {"id": name, "sha": self.commit, "siblings": siblings, "private": False})

    def _commit(self, name: str, body: bytes) -> None:
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                value = entry["value"]
                self.repositories[name][value["path"]] = base64.b64decode(value["content"])

    def _file(self, request: BaseHTTPRequestHandler, name: str, file: str) -> None:
        content = self.repositories.get(name, {}).get(file)
        if content is None:
            request.send_response(404)
            request.send_header("X-Error-Code", "EntryNotFound" if name in self.repositories else "RepoNotFound")
            request.send_header("X-Repo-Commit", self.commit)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("X-Repo-Commit", self.commit)
        if file.endswith(".json"):
            request.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        else:
            request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content[:-1] + b"\0" if self.changed else content)

    @staticmethod
    def _json(request: BaseHTTPRequestHandler, value: object, status: int = 200) -> None:
        content = json.dumps(value).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


@contextmanager
def serving(server: FileServer | Hub) -> Iterator[FileServer | Hub]:
    """Let it answer, at its `url`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                server.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *words: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
