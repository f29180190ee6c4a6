"""A loopback file server that honours Range, records its requests, and misbehaves on demand."""

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mmc4_pipeline.storage import HttpSettings, Inputs

# For clients of the server: impatient, so that tests of failures are short.
IMPATIENT = HttpSettings(
    requests_per_second=1000, tries=5, first_wait=0.001, first_wait_if_refused=0.001, longest_wait=0.01, timeout=0.3
)
INPUTS = Inputs(IMPATIENT)
LONGEST = 30.0  # seconds that a stalled response waits for its client to give up, if a test fails


@dataclass
class ReceivedRequest:
    """One request: its Range as (start, end), and its response. `sent` counts bytes of the body."""

    path: str
    start: int
    end: int | None
    user_agent: str
    time: float = field(default_factory=time.time)
    status: int = 0
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    """Responds from the server's files, in the next of the server's `ways`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are sent separately
    server: "FileServer"

    def do_GET(self) -> None:
        """Respond to a GET."""
        said = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, last = (int(said[1]), said[2]) if said else (0, "")
        self.received = ReceivedRequest(self.path, start, int(last) + 1 if last else None, self.headers["User-Agent"])
        with self.server.changed:
            self.server.requests.append(self.received)
            self.server.under_way += 1
            way = self.server.ways.popleft() if self.server.ways else self.server.usual
        body = self.server.files.get(self.path)
        try:
            if body is None:
                self.answer(404, b"nothing here", {})
            else:
                way(self, body)
        finally:
            with self.server.changed:
                self.server.under_way -= 1
                self.server.changed.notify_all()

    def answer(self, status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
        """Send a response; `length` is the declared length, if that is not the true one."""
        self.received.status = status
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body) if length is None else length)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.send(body)

    def send(self, body: bytes) -> None:
        """Send bytes and count them."""
        self.wfile.write(body)
        self.wfile.flush()
        self.received.sent += len(body)

    def part(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers of a correct response."""
        tag = {"ETag": self.server.etag}
        if self.headers.get("Range") is None:
            return 200, body, tag
        start, end = self.received.start, min(len(body), self.received.end or len(body))
        if start >= len(body):
            return 416, b"", {"Content-Range": f"bytes */{len(body)}"}
        return 206, body[start:end], {**tag, "Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}

    def log_message(self, *_: object) -> None:
        """Log nothing."""


Way = Callable[[Handler, bytes], None]


def well(handler: Handler, body: bytes) -> None:
    """Respond correctly."""
    handler.answer(*handler.part(body))


def without_range(handler: Handler, body: bytes) -> None:
    """Send the whole file, whatever was requested."""
    handler.answer(200, body, {})


def without_length(handler: Handler, body: bytes) -> None:
    """Send the whole file and close the connection at its end, like HTTP/1.0."""
    handler.received.status = 200
    handler.close_connection = True
    handler.send_response(200)
    handler.end_headers()
    handler.send(body)


def status(code: int, **headers: str) -> Way:
    """Respond with only a status; `retry_after="3"` is a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: handler.answer(code, b"", named)


def cut(after: int) -> Way:
    """Close the connection after some bytes of the body."""

    def way(handler: Handler, body: bytes) -> None:
        code, part, headers = handler.part(body)
        handler.answer(code, part[:after], headers, length=len(part))
        handler.close_connection = True

    return way


def stalled(after: int) -> Way:
    """Send some bytes of the body, then none until the client hangs up."""

    def way(handler: Handler, body: bytes) -> None:
        code, part, headers = handler.part(body)
        handler.answer(code, part[:after], headers, length=len(part))
        handler.connection.settimeout(LONGEST)
        handler.rfile.read(1)
        handler.close_connection = True

    return way


def slow(pieces: int, pause: float) -> Way:
    """Send the body in pieces with a pause before each."""

    def way(handler: Handler, body: bytes) -> None:
        code, part, headers = handler.part(body)
        handler.answer(code, b"", headers, length=len(part))
        size = max(1, -(-len(part) // pieces))
        for start in range(0, len(part), size):
            handler.server.stopping.wait(pause)
            handler.send(part[start : start + size])

    return way


def claiming(content_range: str, shift: int = 0) -> Way:
    """Send other bytes than the requested ones, with this Content-Range."""

    def way(handler: Handler, body: bytes) -> None:
        _, part, headers = handler.part(body[shift:] + body[:shift])
        handler.answer(206, part, {**headers, "Content-Range": content_range})

    return way


class FileServer(ThreadingHTTPServer):
    """Serves `files` (path to content). `ways` are used for the next requests in turn, and then `usual`."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.etag = '"1"'
        self.usual: Way = well
        self.ways: deque[Way] = deque()
        self.requests: list[ReceivedRequest] = []
        self.under_way = 0
        self.changed = threading.Condition()
        self.stopping = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        """The URL of its root."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Log nothing: clients hang up on purpose."""

    def finished(self) -> list[ReceivedRequest]:
        """Return the requests once each of them has ended: a client receives its bytes before they are counted."""
        with self.changed:
            assert self.changed.wait_for(lambda: not self.under_way, LONGEST)
        return self.requests

    def spans(self) -> list[tuple[int, int]]:
        """Return start and end of what was sent of the file, for each request for which anything was sent."""
        requests = self.finished()
        begun = [(one.start if one.status == 206 else 0, one) for one in requests if one.status in (200, 206)]
        return [(start, start + one.sent) for start, one in begun if one.sent]


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[FileServer]:
    """Serve files on loopback for a while."""
    with FileServer(files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()
