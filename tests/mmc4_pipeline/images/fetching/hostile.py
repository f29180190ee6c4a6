"""Hostile files and responses, the server that sends them, and the real stage fetching them in a separate process.

Run as a program, it reads what to fetch (JSON) from stdin and writes the rows and its peak memory to stdout.
"""

import asyncio
import gzip
import io
import json
import struct
import subprocess
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
from PIL import Image as PillowImage

from schemas.reasons import Reason

MOMENT = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)
TIMEOUT = 2.0
Send = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """The bytes that are sent, and the reasons for which the image may be dropped (None: it is kept)."""

    name: str
    send: Send
    allowed: tuple[Reason | None, ...]


@dataclass
class Hostile:
    """A server on all addresses of this machine; each case has its own host."""

    cases: list[Case]
    port: int = 0
    requested: Counter[str] = field(default_factory=Counter)  # by address and path

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to the one request of a connection."""
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split(b" ")[1].decode()
            self.requested[f"{writer.get_extra_info('sockname')[0]}{path}"] += 1
            number = urlsplit(path).path.strip("/")
            if number.isdecimal() and int(number) < len(self.cases):
                await self.cases[int(number)].send(writer)
            else:
                await sending(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")(writer)
        writer.close()


@contextmanager
def serving(cases: list[Case]) -> Iterator[Hostile]:
    """Serve in a thread until the block ends."""
    hostile, loop = Hostile(cases), asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(hostile.respond, "0.0.0.0", 0))
    hostile.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield hostile
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def stop(server: asyncio.Server) -> None:
    """Stop listening, and cancel the responses that are still being sent."""
    server.close()
    sending_tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in sending_tasks:
        task.cancel()
    await asyncio.gather(*sending_tasks, return_exceptions=True)


def fetched(urls: list[str], tar: Path, *, allow_private_hosts: bool) -> dict:
    """Fetch the URLs with the real stage, as the links of one page, in a new process."""
    wanted = {"urls": urls, "tar": str(tar), "allow_private_hosts": allow_private_hosts}
    process = subprocess.run(
        [sys.executable, __file__], input=json.dumps(wanted), capture_output=True, text=True, timeout=300, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout)


def fetch() -> None:
    """Run in that process."""
    from mmc4_pipeline.images.fetching.settings import FetchSettings
    from mmc4_pipeline.images.process_shard import fetch_shard
    from mmc4_pipeline.recipe import load_recipe
    from schemas.page import ImageLink, Page

    wanted = json.load(sys.stdin)
    links = [ImageLink(position, url, "", None, None) for position, url in enumerate(wanted["urls"])]
    page = Page("k", "https://a.example/", "a.example", MOMENT, False, ["One."], links)
    settings = FetchSettings(
        user_agent="tester (+mailto:tester@a.example)",
        timeout=TIMEOUT,
        allow_private_hosts=wanted["allow_private_hosts"],
    )
    shard = fetch_shard([page], load_recipe("mmc4"), settings, wanted["tar"])
    status = Path("/proc/self/status").read_text()  # not ru_maxrss, which starts with the parent's value
    peak = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"rows": [asdict(row) for row in shard.images], "peak": peak}))  # noqa: T201


# Responses.


def sending(*parts: bytes, every: float = 0) -> Send:
    """Send some bytes, one part after another."""

    async def send(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every)

    return send


def endless(start: bytes, part: bytes, every: float = 0) -> Send:
    """Send a start, then the same part forever."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every)

    return send


def ok(
    body: bytes, kind: str = "image/jpeg", *, length: int | None = None, status: str = "200 OK", more: str = ""
) -> Send:
    """Send a response that is well formed, except if `length` is not the length of the body."""
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\nConnection: close\r\n{more}\r\n"
    return sending(head.encode() + body)


def redirect(location: str) -> Send:
    """Redirect to another URL."""
    return ok(b"", status="302 Found", more=f"Location: {location}\r\n")


# Files.


def picture(width: int = 300, height: int = 200) -> PillowImage.Image:
    """Return a smooth picture that no filter drops."""
    coarse = np.random.default_rng(5).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return PillowImage.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def saved(image: PillowImage.Image, kind: str, **options: object) -> bytes:
    """Return the bytes of the saved image."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *before: bytes, depth: int = 8, rows: int = 0) -> bytes:
    """Return a transparent PNG that claims a size, with `rows` rows of zeros."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 6, 0, 0, 0))
    packer = zlib.compressobj(1)
    row = bytes(1 + width * depth // 2)
    data = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg_that_claims(width: int, height: int) -> bytes:
    """Return a complete JPEG of 16 x 16 pixels whose header claims another size."""
    body = bytearray(saved(PillowImage.new("RGB", (16, 16), (9, 9, 9)), "JPEG"))
    start = body.index(b"\xff\xc0")
    body[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(body)


def jpeg_of_scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated."""
    body = saved(picture(), "JPEG", progressive=True)
    last = body.rindex(b"\xff\xda")
    return body[:last] + body[last:-2] * count + b"\xff\xd9"


def gif_screen(width: int, height: int) -> bytes:
    """Return a GIF of one pixel on a large screen."""
    body = bytearray(saved(PillowImage.new("P", (1, 1)), "GIF"))
    body[6:10] = struct.pack("<HH", width, height)
    return bytes(body)


def webp_that_claims(width: int, height: int) -> bytes:
    """Return a lossless WebP whose header claims another size."""
    body = bytearray(saved(picture(16, 16), "WEBP", lossless=True))
    body[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14 | (body[24] & 0xF0) << 24)
    return bytes(body)


def zipped_zeros(mebibytes: int, start: bytes = b"") -> bytes:
    """Return a gzip file of this many mebibytes of zeros after a start."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as file:
        file.write(start)
        for _ in range(mebibytes):
            file.write(bytes(1 << 20))
    return out.getvalue()


def pictures() -> dict[str, bytes]:
    """Return pictures of all kinds that must be kept."""
    image, other = picture(), picture().rotate(180)
    transparent = image.copy()
    transparent.putalpha(128)
    turned = PillowImage.Exif()
    turned[0x0112] = 6
    both = {"save_all": True, "append_images": [other], "duration": 100}
    deep = cv2.imencode(".png", np.asarray(image).astype(np.uint16) * 257)[1].tobytes()
    return {
        "jpeg": saved(image, "JPEG"),
        "progressive jpeg": saved(image, "JPEG", progressive=True),
        "grey jpeg": saved(image.convert("L"), "JPEG"),
        "cmyk jpeg": saved(image.convert("CMYK"), "JPEG"),
        "turned jpeg": saved(image, "JPEG", exif=turned),
        "mpo": saved(image, "MPO", **both),
        "png": saved(image, "PNG"),
        "16-bit png": deep,
        "palette png": saved(image.quantize(64), "PNG", transparency=3),
        "transparent png": saved(transparent, "PNG"),
        "apng": saved(image, "PNG", **both),
        "webp": saved(image, "WEBP"),
        "lossless transparent webp": saved(transparent, "WEBP", lossless=True),
        "animated webp": saved(image, "WEBP", **both),
        "gif": saved(image, "GIF"),
        "animated gif": saved(image, "GIF", **both),
    }


def files() -> dict[str, tuple[bytes, tuple[Reason | None, ...]]]:
    """Return files that must be dropped, with their reasons."""
    image, whole = picture(), pictures()
    others = {
        "html": b"<!DOCTYPE html><html><body>Not found</body></html>",
        "json": b'{"error": "not found"}',
        "empty": b"",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"/>',
        "svgz": gzip.compress(b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"/>'),
        "ico": saved(image, "ICO"),
        "tiff": saved(image, "TIFF"),
        "bmp": saved(image, "BMP"),
        "psd": b"8BPS\x00\x01" + bytes(6) + struct.pack(">HIIHH", 3, 200, 300, 8, 3) + bytes(500),
        "avif": saved(image, "AVIF"),
        "pdf": saved(image, "PDF"),
        "mp4": struct.pack(">I", 24) + b"ftypisom\x00\x00\x02\x00isomiso2" + bytes(500),
        "jpeg's first bytes": b"\xff\xd8",
    }
    bombs = {
        "png of 60000 x 60000": png(60_000, 60_000),
        "png of 2^31": png(2**31 - 1, 2**31 - 1),
        "png of 9000 x 9000, transparent": png(9_000, 9_000),
        "png of 7000 x 7000, 16 bit": png(7_000, 7_000, depth=16),
        "gif on a screen of 65535 x 65535": gif_screen(65_535, 65_535),
        "webp of 16383 x 16383": webp_that_claims(16_383, 16_383),
        "jpeg of 65500 x 65500": jpeg_that_claims(65_500, 65_500),
        "jpeg of 200 scans": jpeg_of_scans(200),
    }
    lies = {
        "jpeg that lies": jpeg_that_claims(9_000, 9_000),
        "png that lies": png(5_000, 5_000, rows=10),
        "webp that lies": webp_that_claims(5_000, 5_000),
        "png with a text bomb": png(
            300, 200, chunk(b"zTXt", b"k\x00\x00" + zlib.compress(bytes(32 << 20), 1)), rows=200
        ),
    }
    reasons = Reason.NOT_AN_IMAGE, Reason.TOO_LARGE, Reason.CORRUPT
    given: dict[str, tuple[bytes, tuple[Reason | None, ...]]] = {
        name: (body, (reason,))
        for kind, reason in zip((others, bombs, lies), reasons, strict=True)
        for name, body in kind.items()
    }
    for kind in ("jpeg", "progressive jpeg", "png", "webp", "animated webp", "gif"):
        for tenth in range(1, 10):
            body = whole[kind]
            start = body[: len(body) * tenth // 10]
            given[f"{tenth}/10 of a {kind}"] = (start, (Reason.CORRUPT, Reason.NOT_AN_IMAGE))
    return given


def responses() -> dict[str, tuple[Send, tuple[Reason | None, ...]]]:
    """Return faulty responses, with the reasons in which they may end."""
    body = saved(picture(), "JPEG")
    error, broken = (Reason.HTTP_ERROR,), (Reason.CORRUPT, Reason.HTTP_ERROR, Reason.HOST_UNAVAILABLE)
    timeout, large, kept = (Reason.TIMEOUT,), (Reason.TOO_LARGE,), (None,)
    either = *large, *timeout  # whichever a busy machine reaches first
    stream = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
    chunked = stream + b"Transfer-Encoding: chunked\r\n\r\n"
    bomb = zipped_zeros(160, body)
    mebibyte = b"%x\r\n" % (1 << 20) + bytes(1 << 20) + b"\r\n"
    return {
        "jpeg as text/html": (ok(body, "text/html"), kept),
        "html page with status 200": (ok(b"<html>gone</html>", "text/html"), (Reason.NOT_AN_IMAGE,)),
        "204": (ok(b"", status="204 No Content"), error),
        "206": (ok(body[:500], status="206 Partial Content", more="Content-Range: bytes 0-499/9999\r\n"), error),
        "304": (ok(b"", status="304 Not Modified"), error),
        "404": (ok(body, status="404 Not Found"), error),
        "500": (ok(body, status="500 Oh"), error),
        "gzip": (ok(gzip.compress(body), more="Content-Encoding: gzip\r\n"), (None, *broken)),
        "gzip bomb": (ok(bomb, more="Content-Encoding: gzip\r\n"), (*large, *broken)),
        "deflate bomb": (
            ok(zlib.compress(bytes(100 << 20), 1), more="Content-Encoding: deflate\r\n"),
            (*large, *broken),
        ),
        "gzip within gzip": (
            ok(gzip.compress(bomb), more="Content-Encoding: gzip, gzip\r\n"),
            (Reason.NOT_AN_IMAGE, *large, *broken),  # decompressed once, it is a gzip file
        ),
        "gzip that is not gzip": (ok(body, more="Content-Encoding: gzip\r\n"), broken),
        "br that is not brotli": (ok(body, more="Content-Encoding: br\r\n"), (None, *broken)),
        "zstd that is not zstd": (ok(body, more="Content-Encoding: zstd\r\n"), (None, *broken)),
        "endless body": (endless(stream + b"\r\n", bytes(1 << 20)), either),
        "endless chunks": (endless(chunked, mebibyte), either),
        "endless jpeg": (endless(stream + b"\r\n" + body[:-2], bytes(1 << 20)), either),
        "length of a terabyte": (endless(stream + b"Content-Length: 1099511627776\r\n\r\n", bytes(1 << 20)), either),
        "body drop by drop": (endless(stream + b"\r\n\xff\xd8", b"\x00", every=0.1), timeout),
        "header drop by drop": (endless(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", every=0.1), timeout),
        "no response": (sending(b"", every=3600), timeout),
        "endless headers": (endless(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1000), broken),
        "header of a megabyte": (
            sending(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * (1 << 20) + b"\r\nContent-Length: 0\r\n\r\n"),
            broken,
        ),
        "not HTTP": (sending(b"SSH-2.0-OpenSSH_9.6\r\n"), broken),
        "nothing": (sending(b""), broken),
        "length too small": (ok(body, length=len(body) // 2), broken),
        "length too large": (ok(body, length=len(body) + 100), (Reason.CORRUPT,)),
        "length below zero": (ok(body, length=-5), broken),
        "chunks of no size": (sending(chunked + b"zz\r\nabc\r\n0\r\n\r\n"), broken),
        "truncated chunk": (sending(chunked + b"ffff\r\n" + body), broken),
        "redirect to itself": (redirect("?again"), error),
        "redirect to a file": (redirect("file:///etc/passwd"), error),
        "redirect to data": (redirect("data:image/png;base64,AAAA"), error),
        "redirect to nowhere": (redirect("http://"), error),
        "redirect to ftp": (redirect("ftp://127.0.0.1/a.jpg"), error),
    }


def all_cases() -> list[Case]:
    """Return everything that the server sends."""
    kept = [Case(name, ok(body), (None,)) for name, body in pictures().items()]
    dropped = [Case(name, ok(body), reasons) for name, (body, reasons) in files().items()]
    largest = png(6_100, 6_100, rows=6_100)  # the largest that are still decoded, several at a time
    deep = png(4_600, 4_600, depth=16, rows=4_600)
    several = [Case(f"large png {number}", ok(body), (None,)) for number, body in enumerate((largest, deep, largest))]
    return [*several, *kept, *dropped, *(Case(name, *rest) for name, rest in responses().items())]


if __name__ == "__main__":
    fetch()
