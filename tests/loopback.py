"""What the servers on 127.0.0.1 share that stand in for services: answers, faults, and what was asked of them."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Fault:
    """What goes wrong with the next requests of a kind.

    Attributes:
        request: regular expression of "METHOD /path".
        status: of the answer, in place of the true one; None for none.
        headers: of that answer.
        cut: closes the connection after reading so many bytes of the request; None for not.
        lost: does what was asked, and closes the connection without an answer.
        damaged: what arrives has another first byte.
        times: how often it happens.
    """

    request: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=lambda: {"message": "a fault"})
    cut: int | None = None
    lost: bool = False
    damaged: bool = False
    times: int = 1


class Service:
    """The state of a server: what it was asked, and its faults.

    Attributes:
        token: that it accepts.
        asked: "METHOD /path" of every request, in order.
        faults: that are still to come.
    """

    def __init__(self, token: str) -> None:
        self.token, self.url = token, ""
        self.asked: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()

    def fault(self, request: str) -> Fault | None:
        """Return the fault of a request, which is used up."""
        found = next((f for f in self.faults if f.times and re.fullmatch(f.request, request)), None)
        if found:
            found.times -= 1
        return found

    def count(self, pattern: str) -> int:
        """Return how many requests there were of a kind."""
        return sum(bool(re.fullmatch(pattern, request)) for request in self.asked)


class Handler(BaseHTTPRequestHandler):
    """Reads a request, applies its fault, and leaves the rest to `answer`."""

    protocol_version = "HTTP/1.1"
    service: Service

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return status and content (JSON, or bytes) of the answer."""
        raise NotImplementedError

    def handle_request(self) -> None:
        """Answer one request, or fail as the fault says."""
        path = self.path.split("?")[0]
        with self.service.lock:
            self.service.asked.append(f"{self.command} {path}")
            fault = self.service.fault(f"{self.command} {path}")
        if fault and fault.cut is not None:
            self.rfile.read(fault.cut)
            return self.hang_up()
        body = self.read_body()
        if fault and fault.status:
            return self.send(fault.status, fault.body, fault.headers)
        if fault and fault.damaged:
            body = bytes([body[0] ^ 1]) + body[1:]
        with self.service.lock:
            status, content = self.answer(self.command, path, body)
        if fault and fault.lost:
            return self.hang_up()
        return self.send(status, content, getattr(self, "extra", {}))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request

    def read_body(self) -> bytes:
        """Return the body of the request, sent whole or in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def hang_up(self) -> None:
        """Close the connection without an answer."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def send(self, status: int, content: Any, headers: dict[str, str]) -> None:
        """Send an answer."""
        raw = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def authorized(self) -> bool:
        """Return whether the request has the service's token."""
        return self.headers.get("Authorization") == f"Bearer {self.service.token}"

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""


@contextmanager
def running(service: Service, handler: type[Handler]) -> Iterator[Service]:
    """Run a server on a free port of 127.0.0.1 while the block runs; `service.url` is its address."""
    own = type("OwnHandler", (handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), own)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
