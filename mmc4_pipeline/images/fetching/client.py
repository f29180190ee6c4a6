"""Makes single HTTP requests for images: to public addresses only, bounded in time, size and memory."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import SplitResult

from msgspec.structs import replace

from filters.short_cache import NAME_LENGTH, short_cache
from filters.web_url import parts_of
from mmc4_pipeline.images.fetching import robots
from mmc4_pipeline.images.fetching.content_coding import decoded
from mmc4_pipeline.images.fetching.curl_loop import CurlLoop
from mmc4_pipeline.images.fetching.interruptions import Interruptions
from mmc4_pipeline.images.fetching.lenient import LenientRequest
from mmc4_pipeline.images.fetching.messages import ENCODING, Body, Response, has_content
from mmc4_pipeline.images.fetching.names import Names
from mmc4_pipeline.images.fetching.origins import normal_url, origin_of
from mmc4_pipeline.images.fetching.outcomes import REFUSED, Outcome, Target, failed, outcome_of, result_of
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.fetching.transfer import Transfer
from mmc4_pipeline.naming import registered_domain
from schemas.reasons import Drop, Reason

MAX_LARGE_BODIES = 64  # in memory at a time
_DRAIN_BYTES, _DRAIN_SECONDS = 64 << 10, 2.0  # at most this much of the body of an error or redirect is read
_ABANDONED_SECONDS = 1.0  # for which a slot stays taken after a response was not read to its end
_DRAIN = Body(_DRAIN_BYTES, is_collected=False, seconds=_DRAIN_SECONDS)


class Held:
    """What a request must hold until its result has been used; `release` must be called then."""

    __slots__ = ("_large", "is_abandoned")

    def __init__(self) -> None:
        """Hold nothing."""
        self._large: asyncio.Semaphore | None = None
        self.is_abandoned = False  # a response was not read to its end: the server may still be sending it

    async def hold(self, large: asyncio.Semaphore) -> None:
        """Wait for the room for a large body, and hold it."""
        await large.acquire()
        self._large = large

    async def release(self) -> None:
        """Release all, after some time if the response was abandoned."""
        try:
            if self.is_abandoned:
                await asyncio.sleep(_ABANDONED_SECONDS)
        finally:
            if self._large is not None:
                self._large.release()


class _Receiver:
    """Decides what to do with a body once the header is there; `refused` is why it must not be read."""

    __slots__ = ("_body", "refused", "target")

    def __init__(self, target: Target, body: Body) -> None:
        self.target, self._body = target, body
        self.refused: Drop | None = None

    def choose(self, response: Response) -> Body | None:
        if response.status is None or not has_content(response.status, may_be_part=self.target.is_host_file):
            return _DRAIN
        found = result_of(response, self.target)
        self.refused = self.target.handler.refuse(found.robots_tag or "", found.declarations or "")
        return self._body if self.refused is None else None


class ImageClient:
    """Connections for images. Use `async with ImageClient.open(settings) as client`."""

    def __init__(self, loop: CurlLoop, names: Names, interruptions: Interruptions, settings: FetchSettings) -> None:
        """Use an open loop; see `open`."""
        self._loop, self._names, self._interruptions, self._settings = loop, names, interruptions, settings
        self._unused: list[Transfer] = []
        self._time = asyncio.get_running_loop().time
        self._large = asyncio.Semaphore(MAX_LARGE_BODIES)
        self._image = Body(settings.max_bytes, is_collected=True)
        self._host_file = Body(robots.MAX_BYTES, is_collected=True)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: FetchSettings) -> AsyncIterator["ImageClient"]:
        """Keep connections alive, and never connect to a private address (unless allowed)."""
        _raise_open_files_limit(2 * settings.max_open + 256)
        loop, names = CurlLoop(max_idle=settings.max_open), Names()
        interruptions = Interruptions(names, allow_private_hosts=settings.allow_private_hosts)
        try:
            yield cls(loop, names, interruptions, settings)
        finally:
            interruptions.close()
            loop.close()
            names.close()

    async def request(self, target: Target, url: str, held: Held, unread: Outcome | None = None) -> Outcome:
        """Make one request. `held` gets what must be held until the result has been used.

        `unread` is the outcome before if libcurl could not read the response; this request is then made without it, and
        the outcome remains if that fails too.

        A failure that is this machine's is excused, once its connection works again. Raises UserError if this machine
        can't open more connections.
        """
        started = self._time()
        address = normal_url(target.route.address(url))
        if address is None:
            return failed(target, Reason.HTTP_ERROR, "no valid URL")
        if unread is not None and unread.unread_from is not None:
            outcome = await self._request_leniently(target, address, held, unread, unread.unread_from)
        else:
            outcome = await self._request(target, address, origin_of(url).host, held)
        if outcome.may_retry and await self._interruptions.excuse(registered_domain(address), started, target.deadline):
            return replace(outcome, is_excused=True)
        return outcome

    async def _request(self, target: Target, address: str, host: str, held: Held) -> Outcome:
        try:
            addresses = await self._addresses(address)
        except TimeoutError:
            return failed(target, Reason.TIMEOUT, "no response in time", may_retry=True)
        except OSError as error:
            return failed(target, Reason.HOST_UNAVAILABLE, f"{type(error).__name__}: {error}", may_retry=True)
        except ValueError:  # from Python's IDNA codec
            return failed(target, Reason.HTTP_ERROR, "no valid URL")
        transfer = self._unused.pop() if self._unused else Transfer(self._loop, self._settings)
        receiver = _Receiver(target, self._host_file if target.is_host_file else self._image)
        try:
            transfer.set_url(address, addresses, target.route.pool_name(host) if target.route.is_replay else None)
            transfer.set_fresh(self._interruptions.woken)
            transfer.start(receiver.choose)
            while await transfer.until_large():
                await held.hold(self._large)
                transfer.go_on()
            response, peer = transfer.response, transfer.peer
            if response.status is not None:
                self._interruptions.note_response(peer)
        finally:
            transfer.stop()
            self._unused.append(transfer)
        outcome = await self._outcome(response, receiver, address, held)
        return replace(outcome, unread_from=peer) if response.status is None and response.code in REFUSED else outcome

    async def _request_leniently(
        self, target: Target, address: str, held: Held, unread: Outcome, peer: tuple[str, int]
    ) -> Outcome:
        request = LenientRequest(address, peer, self._settings)
        receiver = _Receiver(target, self._host_file if target.is_host_file else self._image)
        await request.run(receiver.choose, partial(held.hold, self._large))
        outcome = await self._outcome(request.response, receiver, address, held)
        return replace(unread, unread_from=None) if request.response.status is None else outcome

    async def _outcome(self, response: Response, receiver: "_Receiver", address: str, held: Held) -> Outcome:
        """Return what a response means, with its body decoded."""
        target, refused = receiver.target, receiver.refused
        held.is_abandoned = response.status is not None and not response.is_complete
        if refused is not None:
            return Outcome(replace(result_of(response, target), reason=refused.reason, filter=refused.filter))
        outcome = outcome_of(response, target, address, self._settings.max_bytes)
        codings = response.headers.get(ENCODING)
        return await self._decoded(outcome, target, codings) if codings and outcome.result.body else outcome

    async def _decoded(self, outcome: Outcome, target: Target, codings: list[str]) -> Outcome:
        """Return the outcome with its body decoded."""
        try:
            body = await asyncio.to_thread(decoded, outcome.result.body, codings)
        except ValueError as error:
            if target.is_host_file:  # the lines that can be read count (RFC 9309, 2.3.1.5)
                return outcome
            return failed(target, Reason.CORRUPT, str(error))
        max_bytes = self._settings.max_bytes
        if len(body) > max_bytes and not target.is_host_file:
            result = replace(outcome.result, body=b"", reason=Reason.TOO_LARGE, error=f"more than {max_bytes} bytes")
            return replace(outcome, result=result)
        return replace(outcome, result=replace(outcome.result, body=body))

    async def _addresses(self, address: str) -> str | None:
        """Return libcurl's RESOLVE entry for the host of an address; None if it is an IP address."""
        scheme, authority, _ = parts_of(address)
        host, port = _name_and_port(scheme, authority)
        if host is None:
            return None
        found = self._names.known(host)
        if found is None:
            async with asyncio.timeout(self._settings.timeout):
                found = await self._names.look_up(host)
        return f"+{host}:{port}:{','.join(found)}"


@short_cache(65536, NAME_LENGTH)
def _name_and_port(scheme: str, authority: str) -> tuple[str | None, int]:
    """Return the host, None if it is an IP address, and the port."""
    parts = SplitResult(scheme, authority, "", "", "")
    host = parts.hostname or ""
    is_address = ":" in host or host.rpartition(".")[2].isdecimal()
    return None if is_address else host, parts.port or (443 if scheme == "https" else 80)


def _raise_open_files_limit(wanted: int) -> None:
    """Raise this process's limit of open files as far as is permitted; each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft not in (-1, resource.RLIM_INFINITY) and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
