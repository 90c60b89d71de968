"""A server of files on this machine, which fails as it is told to."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Fault:
    """What one answer does in place of sending the file.

    Attributes:
        status: of the answer; 200 to send the file.
        headers: of the answer.
        cut: bytes after which the connection is closed; None to send all.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass
class FileServer:
    """Files by path, what happens to the next requests, and the requests so far.

    Attributes:
        faults: of the next answers, the first first; then all is well.
        etag: how files are told apart: "strong", "weak", or "" for not at all.
        ranges: whether parts of a file are sent.
        authorization: the header that is asked for, "" for none.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    etag: str = "strong"
    ranges: bool = True
    authorization: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def answered(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of an answer."""
        self.requests.append({"path": handler.path, **{k.lower(): v for k, v in handler.headers.items()}})
        content = self.files.get(handler.path.partition("?")[0])
        if self.authorization and handler.headers.get("Authorization") != self.authorization:
            return 401, {}, b""
        if content is None:
            return 404, {}, b""
        headers = {"ETag": etag} if (etag := self._etag(content)) else {}
        start = self._start(handler, content)
        if start is None:
            return 200, headers, content
        if start >= len(content):
            return 416, headers | {"Content-Range": f"bytes */{len(content)}"}, b""
        extent = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return 206, headers | {"Content-Range": extent}, content[start:]

    def _etag(self, content: bytes) -> str:
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        return {"strong": tag, "weak": f"W/{tag}"}.get(self.etag, "")

    def _start(self, handler: BaseHTTPRequestHandler, content: bytes) -> int | None:
        """Return the position that is asked for; None for the whole file."""
        asked, wanted = handler.headers.get("Range"), handler.headers.get("If-Range")
        if not self.ranges or not asked or (wanted and wanted != self._etag(content)):
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))


@contextmanager
def file_server(**files: bytes) -> Iterator[FileServer]:
    """Yield a running server; `files` are names, with __ for every dot."""
    state = FileServer({f"/{name.replace('__', '.')}": content for name, content in files.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fault = state.faults.pop(0) if state.faults else Fault()
            status, headers, body = state.answered(self)
            if fault.status != 200:
                status, headers, body = fault.status, {}, b""
            self.send_response(status)
            for name, value in {**headers, **fault.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: fault.cut])
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
