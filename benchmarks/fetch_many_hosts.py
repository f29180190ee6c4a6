"""How many requests are open when fetching from 300 hosts that respond after a second and allow two at a time.

    python benchmarks/fetch_many_hosts.py

The hosts are loopback addresses (127.0.1.1 to 127.0.2.150), served by a second process, including robots.txt. The
benchmark runs twice, the second time with one host fifty times as slow. The last line is JSON: `open_share` is the mean
number of open requests divided by 600, from the start of the first image request to the start of the last one;
`all_share` is the least possible time for all requests divided by the actual time, including robots.txt. Both exclude
the slow host.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime

from aiohttp import web

from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.fetching.settings import FetchSettings
from schemas.reasons import Drop

PER_HOST = 2
SLOWER = 50
BODY = b"\xff\xd8" + bytes(10_000)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=300)
    parser.add_argument("--images", type=int, default=20, help="per host")
    parser.add_argument("--latency", type=float, default=1.0, help="seconds")
    parser.add_argument("--serve", choices=["even", "one_slow"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.hosts, arguments.latency, one_slow=arguments.serve == "one_slow"))
        return
    result: dict[str, object] = {"hosts": arguments.hosts, "per_host": PER_HOST, "images_per_host": arguments.images}
    for kind in ("even", "one_slow"):
        print(f"{kind} …", flush=True)
        result[kind] = measure(kind, arguments)
    print(json.dumps(result))


def measure(kind: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Fetch from a server in a separate process; return the shares, and the most requests open to one host."""
    words = ["--hosts", str(arguments.hosts), "--latency", str(arguments.latency), "--serve", kind]
    command = [sys.executable, __file__, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        seconds = asyncio.run(fetch(port, arguments, skipped=1 if kind == "one_slow" else 0))
        output, _ = server.communicate(b"\n", timeout=60)
    stats = json.loads(output)
    hosts = arguments.hosts - (kind == "one_slow")
    least = hosts * arguments.images * arguments.latency / (hosts * PER_HOST)
    return {
        "open_share": round(stats["mean_open"] / (hosts * PER_HOST), 3),
        "all_share": round(least / seconds, 3),
        "seconds": round(seconds, 1),
        "most_open_to_a_host": stats["most_open"],
    }


class _KeepAll:
    """Accepts every image."""

    def denies(self, _url: str) -> bool:
        return False

    def refuse(self, _robots_tag: str, _declarations: str) -> Drop | None:
        return None

    async def receive(self, _result: FetchResult) -> str | None:
        return None


async def fetch(port: int, arguments: argparse.Namespace, skipped: int) -> float:
    """Fetch all images of all hosts; return the seconds until all but the first `skipped` hosts were finished."""
    settings = FetchSettings(max_open_per_host=PER_HOST, timeout=600, allow_private_hosts=True)
    moment = datetime.now(UTC)
    async with Fetcher.open(settings) as fetcher:
        started = time.perf_counter()
        tasks = [
            [
                asyncio.create_task(
                    fetcher.fetch(ImageRequest(f"http://{address(host)}:{port}/{number}", moment), _KeepAll())
                )
                for number in range(arguments.images)
            ]
            for host in range(arguments.hosts)
        ]
        results = await asyncio.gather(*(task for of_host in tasks[skipped:] for task in of_host))
        seconds = time.perf_counter() - started
        for task in (task for of_host in tasks[:skipped] for task in of_host):
            task.cancel()
    failed = [result for result in results if result.body != BODY]
    if failed:
        sys.exit(f"{len(failed)} of {len(results)} images were not fetched: {failed[0]}")
    return seconds


def address(host: int) -> str:
    """Return the loopback address of a host by its number."""
    return f"127.0.{1 + host // 150}.{1 + host % 150}"


async def serve(hosts: int, latency: float, *, one_slow: bool) -> None:
    """Serve until a line is read; print the port first and the statistics last."""
    requests = OpenRequests()
    slow = address(0) if one_slow else ""

    async def respond(request: web.Request) -> web.Response:
        host = request.host.partition(":")[0]
        counted = host != slow
        requests.begin(host, is_image=counted and request.path != "/robots.txt")
        try:
            await asyncio.sleep(latency if counted else latency * SLOWER)
        finally:
            requests.end(host, is_image=counted and request.path != "/robots.txt")
        return web.Response(status=404) if request.path == "/robots.txt" else web.Response(body=BODY)

    app = web.Application()
    app.router.add_get("/{path:.*}", respond)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, address(0), 0, backlog=64).start()
    port = runner.addresses[0][1]
    for host in range(1, hosts):
        await web.TCPSite(runner, address(host), port, backlog=64).start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps({"mean_open": requests.mean_open(), "most_open": max(requests.most.values())}), flush=True)
    await runner.cleanup()


class OpenRequests:
    """Counts open requests over time."""

    def __init__(self) -> None:
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.images_open = 0
        self.area = self.area_at_last_start = 0.0  # requests times seconds
        self.first = self.last = self.changed = 0.0

    def begin(self, host: str, *, is_image: bool) -> None:
        """Record the start of a request."""
        self.now[host] = self.now.get(host, 0) + 1
        self.most[host] = max(self.most.get(host, 0), self.now[host])
        if is_image:
            self._change(1)
            self.first = self.first or self.changed
            self.last, self.area_at_last_start = self.changed, self.area

    def end(self, host: str, *, is_image: bool) -> None:
        """Record the end of a request."""
        self.now[host] -= 1
        if is_image:
            self._change(-1)

    def _change(self, by: int) -> None:
        now = time.perf_counter()
        self.area += self.images_open * (now - self.changed) if self.changed else 0
        self.images_open += by
        self.changed = now

    def mean_open(self) -> float:
        """Return the mean number of open image requests, from the start of the first to the start of the last."""
        return self.area_at_last_start / (self.last - self.first)


if __name__ == "__main__":
    main()
