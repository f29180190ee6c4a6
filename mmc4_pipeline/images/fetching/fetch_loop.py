"""Fetches the images of many shards at once, in one event loop with one set of rate limits.

Images wait in a queue for each host. A host gets only as many tasks as it has slots, so that waiting images are cheap:
most images of a shard wait for a few slow hosts most of the time.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import ImageRequest
from mmc4_pipeline.images.fetching.rate_limits import Host

_TASKS_PER_SLOT = 2  # some of them follow a redirect to another host, or wait before a retry


class FetchJob(Protocol):
    """An image to fetch: the request, and the site of the page that shows it."""

    request: ImageRequest
    site: str

    async def fetch(self, fetcher: Fetcher, deadline: float) -> None:
        """Fetch the image and keep the result; no request begins after the deadline (in the event loop's time)."""


@dataclass(slots=True)
class _Batch:
    """Jobs that somebody waits for together."""

    deadline: float
    remaining: int
    finished: asyncio.Future[None]

    def finish_one(self) -> None:
        self.remaining -= 1
        if self.remaining == 0 and not self.finished.done():
            self.finished.set_result(None)

    def fail(self, error: BaseException) -> None:
        if not self.finished.done():
            self.finished.set_exception(error)


class FetchLoop:
    """Queues for the hosts of all images that are waiting."""

    def __init__(self, fetcher: Fetcher) -> None:
        """Fetch with an open fetcher."""
        self._fetcher = fetcher
        self._queues: dict[str, deque[tuple[FetchJob, _Batch]]] = {}
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}

    async def fetch_all(self, jobs: Sequence[FetchJob], seconds: float) -> None:
        """Fetch all images of a shard. No request begins later than `seconds` from now."""
        if not jobs:
            return
        loop = asyncio.get_running_loop()
        batch = _Batch(loop.time() + seconds, len(jobs), loop.create_future())
        hosts: dict[str, Host] = {}
        for job in jobs:
            host = self._fetcher.first_host(job.request)
            hosts[host.name] = host
            host.sites[job.site] += 1
            self._queues.setdefault(host.name, deque()).append((job, batch))
        for host in hosts.values():
            self._add_tasks(host)
        await batch.finished

    def _add_tasks(self, host: Host) -> None:
        """Start a task for each waiting image of a host, up to what its slots can use; a running task is never idle."""
        queue, tasks = self._queues[host.name], self._tasks.setdefault(host.name, set())
        most = int(_TASKS_PER_SLOT * host.limits.max_open_per_host * host.share)
        for _ in range(min(len(queue), most - len(tasks))):
            task = asyncio.create_task(self._work(host))
            tasks.add(task)
            task.add_done_callback(partial(self._remove_task, host))

    def _remove_task(self, host: Host, task: asyncio.Task[None]) -> None:
        self._tasks[host.name].discard(task)
        if self._queues[host.name]:  # images came after the task had seen none
            self._add_tasks(host)
        elif not self._tasks[host.name]:
            del self._tasks[host.name], self._queues[host.name]

    async def _work(self, host: Host) -> None:
        """Fetch images of a host until none is waiting."""
        queue = self._queues[host.name]
        while queue:
            job, batch = queue.popleft()
            try:
                if not batch.finished.done():  # otherwise it has failed
                    await job.fetch(self._fetcher, batch.deadline)
            except Exception as error:  # noqa: BLE001 - it is raised where the batch is waited for
                batch.fail(error)
            finally:
                _remove_site(host, job.site)
                batch.finish_one()


def _remove_site(host: Host, site: str) -> None:
    host.sites[site] -= 1
    if not host.sites[site]:
        del host.sites[site]
