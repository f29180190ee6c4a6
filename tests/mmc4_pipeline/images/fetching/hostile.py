"""Hostile files and responses, and the real stage fetching them in a separate process.

Run as a program, it reads what to fetch (JSON) from stdin and writes the rows and its peak memory to stdout.
"""

import gzip
import json
import subprocess
import sys
import zlib
from dataclasses import asdict
from pathlib import Path

from schemas.reasons import Reason
from tests.mmc4_pipeline.images.fetching.hostile_files import files, picture, pictures, png, saved, zipped_zeros
from tests.mmc4_pipeline.images.fetching.hostile_server import Case, Send, endless, ok, redirect, sending
from tests.pages import new_page

TIMEOUT = 2.0
ROOT = Path(__file__).parents[4]


def fetched(urls: list[str], tar: Path, *, allow_private_hosts: bool) -> dict:
    """Fetch the URLs with the real stage, as the links of one page, in a new process."""
    wanted = {"urls": urls, "tar": str(tar), "allow_private_hosts": allow_private_hosts}
    command = [sys.executable, "-m", "tests.mmc4_pipeline.images.fetching.hostile"]
    process = subprocess.run(
        command, input=json.dumps(wanted), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout)


def fetch() -> None:
    """Run in that process."""
    from mmc4_pipeline.images.fetching.settings import FetchSettings
    from mmc4_pipeline.recipe import load_recipe
    from schemas.page import ImageLink
    from tests.mmc4_pipeline.images.one_shard import fetch_shard

    wanted = json.load(sys.stdin)
    links = [ImageLink(position, url, "", None, None) for position, url in enumerate(wanted["urls"])]
    page = new_page(links=links)
    settings = FetchSettings(
        user_agent="tester (+mailto:tester@a.example)",
        timeout=TIMEOUT,
        allow_private_hosts=wanted["allow_private_hosts"],
    )
    shard = fetch_shard([page], load_recipe("mmc4"), settings, wanted["tar"])
    status = Path("/proc/self/status").read_text()  # not ru_maxrss, which starts with the parent's value
    peak = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"rows": [asdict(row) for row in shard.images], "peak": peak}))  # noqa: T201


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
        "gzip that is not gzip": (ok(body, more="Content-Encoding: gzip\r\n"), kept),
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
        "length below zero": (ok(body, length=-5), kept),
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
