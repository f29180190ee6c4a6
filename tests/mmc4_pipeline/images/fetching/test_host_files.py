"""The files of hosts that are kept in memory: bounded by their number and by their size."""

import asyncio
import json
import tracemalloc
from collections import Counter
from math import inf

import pytest

from mmc4_pipeline.images.fetching import host_files
from mmc4_pipeline.images.fetching.declaration_files import READERS
from mmc4_pipeline.images.fetching.host_files import HostFiles
from mmc4_pipeline.images.fetching.interface import FetchResult
from mmc4_pipeline.images.fetching.outcomes import Target
from mmc4_pipeline.images.fetching.rate_limits import Hosts, Limits
from mmc4_pipeline.images.fetching.robots import Robots
from mmc4_pipeline.images.fetching.routes import LIVE, Route
from mmc4_pipeline.images.fetching.settings import FetchSettings
from tests.mmc4_pipeline.images.web_server import Receiver

LIMITS = Limits(max_open=9, max_open_per_host=9, max_open_per_shared_host=9, delay_per_host=0.0, last_chance=False)
BEGINNING = b"User-agent: *\nDisallow: /private/\n"


def downloads(paths: list[str], files: dict[str, bytes], host_file_paths: tuple[str, ...] = ()) -> Counter[str]:
    """Judge URLs one after another, and return how often each file was downloaded. Other files are small."""
    asked: Counter[str] = Counter()

    async def download(target: Target, url: str) -> FetchResult:
        asked[url] += 1
        return FetchResult(target.url, LIVE, 200, body=files.get(url, BEGINNING))

    async def run() -> None:
        kept = HostFiles(FetchSettings(host_files=host_file_paths), Hosts(LIMITS), download)
        for path in paths:
            url = f"https://{path}"
            found = await kept.judge(Target(url, Route.of(LIVE), Receiver(), inf), url)
            assert isinstance(found, FetchResult) == ("/private/" in url)

    asyncio.run(run())
    return asked


def rules(number: int) -> bytes:
    return BEGINNING + b"".join(b"Disallow: /%d\n" % at for at in range(number))


def hosts(number: int) -> list[str]:
    return [f"host-{at}.example" for at in range(number)]


def test_large_files_are_forgotten_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_files, "_MAX_BYTES", 10 * Robots.read(rules(100), ()).size)
    names = hosts(15)
    files = {f"https://{name}/robots.txt": rules(100) for name in names}
    asked = downloads([f"{name}/private/a.jpg" for name in (*names, *names[5:], *names[:5], *names[10:])], files)
    assert [asked[url] for url in files] == [2] * 5 + [1] * 10


def test_files_with_the_declarations_of_hosts_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_files, "_MAX_BYTES", 10 * Robots.read(rules(100), ()).size)
    names = hosts(15)
    files = {f"https://{name}/ai.txt": rules(100) for name in names}
    asked = downloads([f"{name}/a.jpg" for name in (*names, *names)], files, ("/ai.txt",))
    assert [asked[url] for url in files] == [2] * 15


def test_small_files_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_files, "_MAX_BYTES", 10 * Robots.read(rules(100), ()).size)
    asked = downloads([f"{name}/a.jpg" for name in hosts(200) * 2], {})
    assert set(asked.values()) == {1}


def test_of_too_many_files_those_used_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_files, "_MAX_FILES", 10)
    names = hosts(12)
    asked = downloads([f"{name}/a.jpg" for name in (*names[:10], names[0], *names[10:], *names)], {})
    assert [asked[f"https://{name}/robots.txt"] for name in names[:2]] == [1, 2]


def test_a_file_that_is_being_read_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_files, "_MAX_FILES", 1)
    asked: Counter[str] = Counter()

    async def run() -> None:
        slow = asyncio.Event()

        async def download(target: Target, url: str) -> FetchResult:
            asked[url] += 1
            if "slow" in url:
                await slow.wait()
            return FetchResult(target.url, LIVE, 200, body=BEGINNING)

        kept = HostFiles(FetchSettings(), Hosts(LIMITS), download)

        async def judge(url: str) -> None:
            await kept.judge(Target(url, Route.of(LIVE), Receiver(), inf), url)

        waiting = [asyncio.create_task(judge(f"https://slow.example/{at}.jpg")) for at in range(2)]
        for name in hosts(5):
            await judge(f"https://{name}/a.jpg")
        waiting.append(asyncio.create_task(judge("https://slow.example/last.jpg")))
        await asyncio.sleep(0)
        slow.set()
        await asyncio.gather(*waiting)

    asyncio.run(run())
    assert asked["https://slow.example/robots.txt"] == 1


FILES = {
    "short rules": b"".join(b"Allow: /%d\n" % at for at in range(4000)),
    "short wildcards": b"".join(b"Allow: %d*\n" % at for at in range(4000)),
    "wildcards of many parts": b"".join(b"Allow: %d%b\n" % (at, b"*a" * 200) for at in range(100)),
    "long rules": b"".join(b"Allow: /%d%b\n" % (at, b"a" * 2000) for at in range(25)),
    "rules that are not ASCII": b"".join(b"Allow: /%d%b\n" % (at, "ü".encode() * 500) for at in range(50)),
    "rules for use": b"".join(b"Content-Usage: /%d ai\n" % at for at in range(3000)),
}
TDMREP = [{"location": f"{at}*", "tdm-reservation": 1} for at in range(2000)]
READ = {
    **{name: ("/robots.txt", b"User-agent: *\n" + text) for name, text in FILES.items()},
    "ai.txt": ("/ai.txt", b"User-agent: *\n" + FILES["short wildcards"]),
    "tdmrep.json": ("/.well-known/tdmrep.json", json.dumps(TDMREP).encode()),
}


@pytest.mark.parametrize(("path", "body"), READ.values(), ids=READ)
def test_the_size_is_what_the_file_takes_in_memory(path: str, body: bytes) -> None:
    read = {"/robots.txt": Robots.read, **READERS}[path]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        found = read(body, ())
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.9 * (after - before) < found.size < 6 * (after - before)
