"""Runs img2dataset with a guard on its connections, in a Python that has img2dataset.

    python guarded_img2dataset.py SETTINGS.json

This is a separate program that needs only img2dataset and ../fetching/addresses.py. img2dataset makes requests with
urllib, which opens whatever a URL names: local files, private addresses, endless bodies. Therefore urllib gets an
opener that refuses these. It is installed in every process, because multiprocessing's new processes run this file too.
"""

import http.client
import json
import os
import runpy
import signal
import socket
import ssl
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
sys.path[:] = [path for path in sys.path if path != str(_HERE)]  # the files in this folder are not top-level modules
_SETTINGS = json.loads(Path(sys.argv[1]).read_text())
_public_socket = runpy.run_path(str(_HERE.parent / "fetching" / "addresses.py"))["public_socket"]
_CONTEXT = ssl.create_default_context()  # shared by all connections: reading the certificates is slow
_CHUNK = 1 << 16


class Response(http.client.HTTPResponse):
    """A response whose body is bounded in size and time."""

    def read(self, amt: int | None = None) -> bytes:
        """Read the whole body; raises ValueError if it is too large, TimeoutError or IncompleteRead."""
        if amt is not None:
            return super().read(amt)
        chunks, size, end = [], 0, time.monotonic() + _SETTINGS["timeout"]
        while chunk := self.read1(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > _SETTINGS["max_bytes"]:
                raise ValueError(f"body of more than {_SETTINGS['max_bytes']} bytes")
            if time.monotonic() > end:
                raise TimeoutError("timed out")
        if self.length:
            raise http.client.IncompleteRead(b"".join(chunks), self.length)
        return b"".join(chunks)


def _connect(address: tuple[str, int], timeout: float | None = None, *_: object) -> socket.socket:
    """Connect like socket.create_connection, but only to public addresses. Raises OSError."""
    problem: OSError = OSError(f"{address[0]} has no address")
    for info in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        connection = None
        try:
            connection = socket.socket(*info[:3]) if _SETTINGS["allow_private_hosts"] else _public_socket(info)
            connection.settimeout(timeout)
            connection.connect(info[4])
        except OSError as error:
            problem = error
            if connection is not None:
                connection.close()
        else:
            return connection
    raise problem


class Connection(http.client.HTTPConnection):
    """A guarded connection."""

    response_class = Response

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._create_connection = _connect


class SecureConnection(http.client.HTTPSConnection):
    """A guarded connection with TLS."""

    response_class = Response

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._create_connection = _connect


class Http(urllib.request.HTTPHandler):
    """Opens http URLs."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open over a guarded connection."""
        return self.do_open(Connection, req)


class Https(urllib.request.HTTPSHandler):
    """Opens https URLs."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open over a guarded connection."""
        return self.do_open(SecureConnection, req, context=_CONTEXT)


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows as many redirects as our own fetcher."""

    max_redirections = _SETTINGS["redirects"]


class Only200(urllib.request.HTTPErrorProcessor):
    """Treats every other status as an error."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        """Let a response with status 200 pass."""
        if response.status == http.HTTPStatus.OK:
            return response
        return self.parent.error("http", request, response, response.status, response.reason, response.headers)

    https_response = http_response


class UserAgent(urllib.request.BaseHandler):
    """Sends the user's User-Agent instead of img2dataset's, which is a browser's."""

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Set the header."""
        request.add_header("User-Agent", _SETTINGS["user_agent"])
        return request

    https_request = http_request


def _install() -> None:
    """Make urllib open only http and https URLs, without proxies."""
    opener = urllib.request.OpenerDirector()
    unknown, refused = urllib.request.UnknownHandler(), urllib.request.HTTPDefaultErrorHandler()
    for handler in (UserAgent(), Http(), Https(), Redirects(), Only200(), refused, unknown):
        opener.add_handler(handler)
    urllib.request.install_opener(opener)


def _exit_with_parent() -> None:
    """Kill this process group when the parent has exited (stdin reaches EOF)."""
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


_install()
if __name__ == "__main__":
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    from img2dataset import download

    download(**_SETTINGS["download"])
