"""Downloads robots.txt and other files of each host once, and applies them to the URLs of its images."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf

from msgspec.structs import replace

from mmc4_pipeline.images.fetching.declaration_files import READERS, DeclarationFile
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageHandler
from mmc4_pipeline.images.fetching.origins import origin_of
from mmc4_pipeline.images.fetching.outcomes import Target, is_server_failure
from mmc4_pipeline.images.fetching.rate_limits import SKIPPED_SECONDS, Hosts
from mmc4_pipeline.images.fetching.robots import Robots, robot_names
from mmc4_pipeline.images.fetching.settings import FetchSettings
from schemas.declarations import bounded
from schemas.reasons import Drop, Reason

ROBOTS_TXT = "/robots.txt"
_MAX_AGE = 24 * 3600.0  # seconds after which a file is read again (RFC 9309, 2.4)
_MAX_FILES, _MAX_BYTES = 20_000, 256 << 20  # in memory; a file of 500 KiB may have 40,000 rules, which take 16 MB


@dataclass(frozen=True, slots=True)
class _Unavailable:
    """Why a host's file could not be read, which is why its images are not requested (RFC 9309, 2.3.1.4)."""

    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class _FileHandler:
    """Receives a file; the handler of the image for which it is requested knows the denied URLs."""

    image: ImageHandler

    def denies(self, url: str) -> bool:
        return self.image.denies(url)

    def refuse(self, robots_tag: str, declarations: str) -> Drop | None:
        return None

    async def receive(self, result: FetchResult) -> str | None:
        return None


@dataclass(slots=True)
class _Download:
    """A file that is being read, or was: the deadline of its requests, when it must be read again, and its size."""

    task: asyncio.Task[DeclarationFile | _Unavailable]
    deadline: float
    expires: float = inf
    size: int = 0


class HostFiles:
    """The files of the hosts seen lately. `download` requests a target's URL and follows its redirects."""

    def __init__(
        self, settings: FetchSettings, hosts: Hosts, download: Callable[[Target, str], Awaitable[FetchResult]]
    ) -> None:
        self._names = robot_names(settings.user_agent)
        self._paths = (*([ROBOTS_TXT] if settings.robots_txt else []), *settings.host_files)
        self._hosts = hosts
        self._download = download
        self._files: OrderedDict[str, _Download] = OrderedDict()  # those used last are at the end
        self._size = 0

    async def judge(self, target: Target, url: str) -> FetchResult | tuple[str, ...]:
        """Return what the files of a URL's host declare about it, or the result if it must not be requested."""
        root = origin_of(url).root
        if root is None:  # not a URL of the web, as requesting it will show
            return ()
        declarations: list[str] = []
        for path in self._paths:
            found = await self._get(target, root, path)
            if isinstance(found, _Unavailable):
                return replace(target.empty_result, reason=found.reason, error=found.error)
            if isinstance(found, Robots) and not found.allows(url):
                return replace(target.empty_result, reason=Reason.ROBOTS, error=f"see {root}{path}")
            declarations += found.declarations(url)
        return tuple(bounded(declarations)) if declarations else ()

    async def _get(self, target: Target, root: str, path: str) -> DeclarationFile | _Unavailable:
        """Return a file. It is downloaded once, and again if another shard's deadline ended the download."""
        key, now = target.route.address(root + path), asyncio.get_running_loop().time
        while True:
            known = self._files.get(key)
            if known is None or (known.task.done() and now() >= known.expires):
                self._forget(key)
                known = self._files[key] = self._start(key, target, root, path)
                self._make_room()
            self._files.move_to_end(key)
            found = await known.task
            if not isinstance(found, _Unavailable):
                self._count(key, known, found.size)
                known.expires = min(known.expires, now() + _MAX_AGE)
                return found
            if found.reason != Reason.DEFERRED:
                known.expires = min(known.expires, now() + SKIPPED_SECONDS)
                return found
            if self._files.get(key) is known:
                self._forget(key)
            if target.deadline <= known.deadline:
                return found

    def _start(self, key: str, target: Target, root: str, path: str) -> _Download:
        file = Target(key, target.route, _FileHandler(target.handler), target.deadline, is_host_file=True)
        return _Download(asyncio.create_task(self._read(file, root, path)), target.deadline)

    def _count(self, key: str, known: _Download, size: int) -> None:
        if self._files.get(key) is known and not known.size:
            known.size = size
            self._size += size
            self._make_room()

    def _make_room(self) -> None:
        """Forget the files that were used longest ago, but none that is being read."""
        for _ in range(len(self._files)):
            if len(self._files) <= _MAX_FILES and self._size <= _MAX_BYTES:
                break
            key, oldest = next(iter(self._files.items()))
            if oldest.task.done():
                self._forget(key)
            else:
                self._files.move_to_end(key)

    def _forget(self, key: str) -> None:
        if (known := self._files.pop(key, None)) is not None:
            self._size -= known.size

    async def _read(self, target: Target, root: str, path: str) -> DeclarationFile | _Unavailable:
        """Download a file and read it, in another thread: that may take a while, and other hosts must not wait."""
        result = await self._download(target, root + path)
        if path == ROBOTS_TXT:
            return await self._robots(result, root)
        if result.reason == Reason.DEFERRED:
            return _Unavailable(Reason.DEFERRED, f"{path[1:]}: {result.error}")
        body = b"" if result.reason is not None else result.body
        return await asyncio.to_thread(READERS[path], body, self._names)

    async def _robots(self, result: FetchResult, root: str) -> Robots | _Unavailable:
        """Read a robots.txt as RFC 9309, 2.3.1, says.

        A 4xx response and endless redirects allow everything, an unreachable file allows nothing. As in Google's
        documentation, a response that is not HTTP, or that breaks off again and again, is as good as none.
        """
        error = f"robots.txt: {result.error}"
        if result.reason is None:
            found = await asyncio.to_thread(Robots.read, result.body, self._names)
            host = self._hosts.get(origin_of(root).host)
            host.crawl_delay = max(host.crawl_delay, found.delay)
            return found
        if result.reason == Reason.HTTP_ERROR and result.status is not None:
            return _Unavailable(Reason.HOST_UNAVAILABLE, error) if is_server_failure(result.status) else Robots()
        unreachable = result.reason in (Reason.DENIED, Reason.CORRUPT)
        return _Unavailable(Reason.HOST_UNAVAILABLE if unreachable else result.reason, error)
