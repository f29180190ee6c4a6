"""An object store with S3's protocol on the loopback interface, as slow as a real one, which counts its requests."""

import asyncio
import os
import re
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch
from urllib.parse import unquote
from xml.sax.saxutils import escape, unescape

import fsspec
from aiohttp import web

from mmc4_pipeline.storage import paths

BUCKET = "runs"
_TIME = "2026-01-01T00:00:00.000Z"
_MAX_BODY = 1 << 30
_PAGE = 1000  # keys in a listing, as in S3


class ObjectStore:
    """The objects by key, and the requests so far: by method and key, and the most that were open at once."""

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.open = self.most_open = 0

    def load(self, folder: Path) -> None:
        """Add all files of a folder, by their paths below it."""
        self.objects |= {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }

    def forget_requests(self) -> None:
        """Count from zero."""
        self.requests, self.most_open = [], 0

    def by_method(self) -> Counter[str]:
        """Return the number of requests by method; a listing is called LIST."""
        return Counter(method for method, _ in self.requests)

    def keys(self, *methods: str) -> set[str]:
        """Return the keys that were requested with one of the methods."""
        return {key for method, key in self.requests if method in methods}

    async def handle(self, request: web.Request) -> web.Response:
        """Respond after the latency."""
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(self.latency)
            return await self._respond(request)
        finally:
            self.open -= 1

    async def _respond(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        method = request.method
        if not key and method in ("GET", "HEAD"):
            self.requests.append(("LIST", request.query.get("prefix", "")))
            return self._list(request)
        if method == "POST":
            return self._delete_many(await request.read())
        self.requests.append((method, key))
        if method == "PUT":
            return self._put(key, request, await request.read())
        if method == "DELETE":
            self.objects.pop(key, None)
            return web.Response(status=204)
        if key not in self.objects:
            return _xml("<Error><Code>NoSuchKey</Code><Message>none</Message></Error>", 404)
        return _content(self.objects[key], request)

    def _put(self, key: str, request: web.Request, body: bytes) -> web.Response:
        source = request.headers.get("x-amz-copy-source")
        if source:
            self.objects[key] = self.objects[unquote(source).lstrip("/").partition("/")[2]]
            return _xml(f'<CopyObjectResult><ETag>"e"</ETag><LastModified>{_TIME}</LastModified></CopyObjectResult>')
        self.objects[key] = _unchunked(body) if "aws-chunked" in request.headers.get("Content-Encoding", "") else body
        return web.Response(headers={"ETag": '"e"'})

    def _delete_many(self, body: bytes) -> web.Response:
        keys = [unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", body.decode())]
        for key in keys:
            self.requests.append(("DELETE", key))
            self.objects.pop(key, None)
        return _xml(
            "<DeleteResult>"
            + "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            + "</DeleteResult>"
        )

    def _list(self, request: web.Request) -> web.Response:
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
        after, most = request.query.get("continuation-token", ""), int(request.query.get("max-keys", _PAGE))
        keys = sorted(self.objects)
        found: dict[str, bool] = {}  # a key or a common prefix, and which of the two
        for key in keys[bisect_left(keys, max(prefix, after)) :]:
            if not key.startswith(prefix):
                break
            head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            name = prefix + head + cut if cut else key
            if name > after:
                found[name] = bool(cut)
            if len(found) > most:
                break
        names = list(found)[:most]
        parts = [
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
            if found[name]
            else f"<Contents><Key>{escape(name)}</Key><LastModified>{_TIME}</LastModified>"
            f'<ETag>"e"</ETag><Size>{len(self.objects[name])}</Size></Contents>'
            for name in names
        ]
        more = len(found) > most
        token = f"<NextContinuationToken>{escape(names[-1])}</NextContinuationToken>" if more else ""
        return _xml(
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{len(names)}</KeyCount><IsTruncated>{str(more).lower()}"
            f"</IsTruncated>{token}{''.join(parts)}</ListBucketResult>"
        )


def _xml(text: str, status: int = 200) -> web.Response:
    return web.Response(text=f'<?xml version="1.0"?>{text}', status=status, content_type="application/xml")


def _content(body: bytes, request: web.Request) -> web.Response:
    headers = {"ETag": '"e"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "Accept-Ranges": "bytes"}
    if "Range" not in request.headers:
        return web.Response(body=body, headers=headers)
    part = request.http_range
    start, stop, _ = part.indices(len(body))
    if start >= len(body):
        return _xml("<Error><Code>InvalidRange</Code><Message>none</Message></Error>", 416)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
    return web.Response(status=206, body=body[start:stop], headers=headers)


def _unchunked(body: bytes) -> bytes:
    data, at = b"", 0
    while at < len(body):
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        if not size:
            break
        data += body[end + 2 : end + 2 + size]
        at = end + 4 + size
    return data


def application(store: ObjectStore) -> web.Application:
    """Return a web application that serves the objects of one bucket."""
    served = web.Application(client_max_size=_MAX_BODY)
    served.router.add_route("*", f"/{BUCKET}{{slash:/?}}{{key:.*}}", store.handle)
    return served


@contextmanager
def running(store: ObjectStore) -> Iterator[str]:
    """Serve a store in a thread; yield its URL. Within the body, s3:// leads to it."""
    started, stop, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    ports: list[int] = []

    async def serve() -> None:
        runner = web.AppRunner(application(store), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ports.append(runner.addresses[0][1])
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        with patch.dict(os.environ, settings(ports[0])):
            _forget_clients()
            yield f"s3://{BUCKET}"
    finally:
        _forget_clients()
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


def _forget_clients() -> None:
    """Forget the clients of this process, which keep the address of their store."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    paths._filesystem.cache_clear()  # noqa: SLF001 - nothing else has a reason to


def settings(port: int) -> dict[str, str]:
    """Return the environment variables with which s3:// leads to a store at this port."""
    return {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
