"""A web server on the loopback that serves files with ranges, and breaks connections where it is told to."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class HttpFiles:
    """What the server has, what it does wrong, and what it was asked.

    Attributes:
        files: Content by path, such as `/a.zip`.
        cut_after: For the first requests, one each: after how many bytes the connection ends; None lets it through.
        takes_ranges: Whether it knows Range.
        status: An answer to give instead, or None.
        redirect: Where files that are not there are said to be, or None.
        content_range: What is said of parts instead of the truth, or None.
        asked: The path and the Range header of each request.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int | None] = field(default_factory=list)
    takes_ranges: bool = True
    says_length: bool = True
    status: int | None = None
    redirect: str | None = None
    content_range: str | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return self.address + path


@contextmanager
def http_files() -> Iterator[HttpFiles]:
    """Serve while the block runs."""
    state = HttpFiles()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            if state.redirect is not None and self.path not in state.files:
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.end_headers()
                return
            if state.status is not None or self.path not in state.files:
                self.send_error(state.status or 404)
                return
            content = state.files[self.path]
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and state.takes_ranges else 0
            if start >= len(content) > 0 and start:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if wanted and state.takes_ranges else 200)
            if wanted and state.takes_ranges:
                said = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self.send_header("Content-Range", state.content_range or said)
            if state.says_length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            cut = state.cut_after.pop(0) if state.cut_after else None
            with suppress(ConnectionError):  # whoever asked may have heard enough
                self.wfile.write(content[start:][:cut])

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
