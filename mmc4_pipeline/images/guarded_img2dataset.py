"""Runs img2dataset, in a Python that has it, with a guard on its connections.

    python guarded_img2dataset.py SETTINGS.json

A program of its own that needs nothing but img2dataset and addresses.py beside it. img2dataset asks by urllib, which
opens whatever a URL says: local files, private addresses, bodies without end. So urllib gets an opener that does not;
in each process, as multiprocessing's new ones read this file too.
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
sys.path[:] = [path for path in sys.path if path != str(_HERE)]  # its names are no packages
_SETTINGS = json.loads(Path(sys.argv[1]).read_text())
_public_socket = runpy.run_path(str(_HERE / "addresses.py"))["public_socket"]
_CONTEXT = ssl.create_default_context()  # one for all connections: reading the certificates takes long
_OK = 200
_CHUNK = 1 << 16


class Response(http.client.HTTPResponse):
    """An answer whose body is bounded in size and time."""

    def read(self, amt: int | None = None) -> bytes:
        """Read the whole body; raises ValueError where it is too large, TimeoutError, IncompleteRead."""
        if amt is not None:
            return super().read(amt)
        chunks, size, end = [], 0, time.monotonic() + _SETTINGS["timeout"]
        while chunk := self.read1(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > _SETTINGS["max_bytes"]:
                message = f"body of more than {_SETTINGS['max_bytes']} bytes"
                raise ValueError(message)
            if time.monotonic() > end:
                message = "timed out"
                raise TimeoutError(message)
        if self.length:
            raise http.client.IncompleteRead(b"".join(chunks), self.length)
        return b"".join(chunks)


def _connected(address: tuple[str, int], timeout: float | None = None, *_: object) -> socket.socket:
    """Connect as socket.create_connection does, but to no address that is not public. Raises OSError."""
    problem: OSError = OSError(f"{address[0]} has no address")
    for info in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        made = None
        try:
            made = socket.socket(*info[:3]) if _SETTINGS["allow_private_hosts"] else _public_socket(info)
            made.settimeout(timeout)
            made.connect(info[4])
        except OSError as error:
            problem = error
            if made is not None:
                made.close()
        else:
            return made
    raise problem


class Connection(http.client.HTTPConnection):
    """A guarded connection."""

    response_class = Response

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._create_connection = _connected


class SecureConnection(http.client.HTTPSConnection):
    """A guarded connection with TLS."""

    response_class = Response

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._create_connection = _connected


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
    """Follows as many redirects as our own fetcher does."""

    max_redirections = _SETTINGS["redirects"]


class Only200(urllib.request.HTTPErrorProcessor):
    """Takes no other answer for an image."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        """Let 200 pass."""
        if response.status == _OK:
            return response
        return self.parent.error("http", request, response, response.status, response.reason, response.headers)

    https_response = http_response


class Agent(urllib.request.BaseHandler):
    """Says who asks: the user, not img2dataset's browser."""

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Set the header."""
        request.add_header("User-Agent", _SETTINGS["user_agent"])
        return request

    https_request = http_request


def _install() -> None:
    """Make urllib open http and https URLs only, without proxies."""
    opener = urllib.request.OpenerDirector()
    unknown, refused = urllib.request.UnknownHandler(), urllib.request.HTTPDefaultErrorHandler()
    for handler in (Agent(), Http(), Https(), Redirects(), Only200(), refused, unknown):
        opener.add_handler(handler)
    urllib.request.install_opener(opener)


def _end_with_parent() -> None:
    """End this process and those that it started once nobody is there any more who wants what they do."""
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


_install()
if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from img2dataset import download

    download(**_SETTINGS["download"])
