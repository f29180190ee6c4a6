"""The fetch session of a process: one event loop for everything in it that fetches with the same settings.

Beam may run several threads in a worker process. They share the session, so that rate limits hold for all of them.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from os import cpu_count
from typing import Any, TypeVar

from mmc4_pipeline.images.fetching.fetch_loop import FetchLoop
from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.settings import FetchSettings

Result = TypeVar("Result")
_FILE_THREADS = 4  # read pages and write tars


@dataclass(frozen=True)
class FetchSession:
    """What all shards in flight share: the event loop with its queues, and threads that decode or use files."""

    event_loop: asyncio.AbstractEventLoop
    fetch_loop: FetchLoop
    decoders: ThreadPoolExecutor
    files: ThreadPoolExecutor

    async def in_file_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run something that uses files in another thread, from within the event loop."""
        return await self.event_loop.run_in_executor(self.files, function, *arguments)

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the session's event loop, from another thread, and return its result."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.event_loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


@asynccontextmanager
async def _open(settings: FetchSettings) -> AsyncIterator[FetchSession]:
    # Not the event loop's own threads: these look up names, which may take half a minute each.
    with ThreadPoolExecutor(cpu_count(), "decode") as decoders, ThreadPoolExecutor(_FILE_THREADS, "files") as files:
        async with Fetcher.open(settings) as fetcher:
            yield FetchSession(asyncio.get_running_loop(), FetchLoop(fetcher), decoders, files)


@dataclass
class _Running:
    """A session that runs in a thread, and how many use it."""

    settings: FetchSettings
    users: int = 0
    started: Future[FetchSession] = field(default_factory=Future)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self.started.done():
                raise
            self.started.set_exception(error)

    async def _serve(self) -> None:
        async with _open(self.settings) as session:
            self.started.set_result(session)
            await self.stop.wait()


_lock = threading.Lock()
_running: dict[FetchSettings, tuple[_Running, threading.Thread]] = {}


@contextmanager
def shared_session(settings: FetchSettings) -> Iterator[FetchSession]:
    """Use the process's session with these settings; it is opened by its first user and closed by its last."""
    with _lock:
        if settings not in _running:
            new = _Running(settings)
            _running[settings] = (new, threading.Thread(target=new.main, name="fetch", daemon=True))
            _running[settings][1].start()
        running, thread = _running[settings]
        running.users += 1
    try:
        yield running.started.result()
    finally:
        with _lock:
            running.users -= 1
            last = not running.users
            if last:
                del _running[settings]
        if last:
            if running.started.done() and not running.started.exception():
                running.started.result().event_loop.call_soon_threadsafe(running.stop.set)
            thread.join()
