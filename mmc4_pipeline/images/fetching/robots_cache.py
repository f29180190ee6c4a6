"""Downloads the robots.txt of each host once and applies it to the URLs of its images."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from math import inf

from mmc4_pipeline.images.fetching.interface import FetchResult, ImageHandler
from mmc4_pipeline.images.fetching.origins import origin_of
from mmc4_pipeline.images.fetching.outcomes import Target, is_server_failure
from mmc4_pipeline.images.fetching.rate_limits import SKIPPED_SECONDS, Hosts
from mmc4_pipeline.images.fetching.robots import Robots, robot_names
from schemas.reasons import Drop, Reason

_MAX_AGE = 24 * 3600.0  # seconds after which a robots.txt is read again (RFC 9309, 2.4)
_MAX_FILES = 20_000


@dataclass(frozen=True, slots=True)
class _Unavailable:
    """Why a host's robots.txt could not be read. Its images are not requested then (RFC 9309, 2.3.1.4)."""

    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class _RobotsHandler:
    """Receives a robots.txt; the handler of the image for which it is requested knows the denied URLs."""

    image: ImageHandler

    def denies(self, url: str) -> bool:
        return self.image.denies(url)

    def refuse(self, robots_tag: str) -> Drop | None:
        return None

    async def receive(self, result: FetchResult) -> str | None:
        return None


@dataclass(slots=True)
class _Download:
    """A robots.txt that is being read, or was: the deadline of its requests, and when it must be read again."""

    task: asyncio.Task[Robots | _Unavailable]
    deadline: float
    expires: float = inf


class RobotsCache:
    """The robots.txt of the hosts seen lately. `download` requests a target's URL and follows its redirects."""

    def __init__(
        self, user_agent: str, hosts: Hosts, download: Callable[[Target, str], Awaitable[FetchResult]]
    ) -> None:
        self._names = robot_names(user_agent)
        self._hosts = hosts
        self._download = download
        self._files: OrderedDict[str, _Download] = OrderedDict()  # those used last are at the end

    async def refusal(self, target: Target, url: str) -> FetchResult | None:
        """Return the result for a URL that its host's robots.txt forbids; None if the URL may be requested."""
        robots_url = origin_of(url).robots_url
        if robots_url is None:  # not a URL of the web, as requesting it will show
            return None
        found = await self._get(target, robots_url)
        if isinstance(found, _Unavailable):
            return replace(target.empty_result, reason=found.reason, error=found.error)
        if found.allows(url):
            return None
        return replace(target.empty_result, reason=Reason.ROBOTS, error=f"see {robots_url}")

    async def _get(self, target: Target, robots_url: str) -> Robots | _Unavailable:
        """Return a robots.txt. It is downloaded once, and again if another shard's deadline ended the download."""
        key, now = target.route.address(robots_url), asyncio.get_running_loop().time
        while True:
            known = self._files.get(key)
            if known is None or (known.task.done() and now() >= known.expires):
                known = self._files[key] = self._start(key, target, robots_url)
            self._files.move_to_end(key)
            found = await known.task
            if not isinstance(found, _Unavailable):
                known.expires = min(known.expires, now() + _MAX_AGE)
                return found
            if found.reason != Reason.DEFERRED:
                known.expires = min(known.expires, now() + SKIPPED_SECONDS)
                return found
            if self._files.get(key) is known:
                del self._files[key]
            if target.deadline <= known.deadline:
                return found

    def _start(self, key: str, target: Target, robots_url: str) -> _Download:
        while len(self._files) >= _MAX_FILES and next(iter(self._files.values())).task.done():
            self._files.popitem(last=False)
        robots = Target(key, target.route, _RobotsHandler(target.handler), target.deadline, is_robots_txt=True)
        return _Download(asyncio.create_task(self._read(robots, robots_url)), target.deadline)

    async def _read(self, target: Target, robots_url: str) -> Robots | _Unavailable:
        """Download and parse a robots.txt as RFC 9309, 2.3.1, says.

        A 4xx response and endless redirects allow everything, an unreachable file allows nothing.
        """
        result = await self._download(target, robots_url)
        error = f"robots.txt: {result.error}"
        if result.reason is None:
            try:
                found = Robots.read(result.body, self._names)
            except ValueError as problem:
                return _Unavailable(Reason.HOST_UNAVAILABLE, f"robots.txt: {problem}")
            host = self._hosts.get(origin_of(robots_url).host)
            host.crawl_delay = max(host.crawl_delay, found.delay)
            return found
        if result.reason == Reason.HTTP_ERROR and result.status is not None:
            return _Unavailable(Reason.HOST_UNAVAILABLE, error) if is_server_failure(result.status) else Robots()
        unreachable = result.reason in (Reason.DENIED, Reason.CORRUPT)
        return _Unavailable(Reason.HOST_UNAVAILABLE if unreachable else result.reason, error)
