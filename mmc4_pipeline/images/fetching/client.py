"""Makes single HTTP requests for images: to public addresses only, bounded in time, size and memory."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import SplitResult

from filters.short_cache import NAME_LENGTH, short_cache
from filters.web_url import parts_of, web_url
from mmc4_pipeline.images.fetching import robots
from mmc4_pipeline.images.fetching.content_coding import decoded
from mmc4_pipeline.images.fetching.curl_loop import CurlLoop
from mmc4_pipeline.images.fetching.interruptions import Interruptions
from mmc4_pipeline.images.fetching.names import Names
from mmc4_pipeline.images.fetching.origins import origin_of
from mmc4_pipeline.images.fetching.outcomes import Outcome, Target, failed, outcome_of, result_of
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.fetching.transfer import Body, Response, Transfer
from schemas.reasons import Drop, Reason

MAX_LARGE_BODIES = 64  # in memory at a time
_DRAIN_BYTES, _DRAIN_SECONDS = 64 << 10, 2.0  # at most this much of the body of an error or redirect is read
_ABANDONED_SECONDS = 1.0  # for which a slot stays taken after a response was not read to its end


class ImageClient:
    """Connections for images. Use `async with ImageClient.open(settings) as client`."""

    def __init__(self, loop: CurlLoop, names: Names, interruptions: Interruptions, settings: FetchSettings) -> None:
        """Use an open loop; see `open`."""
        self._loop, self._names, self._interruptions, self._settings = loop, names, interruptions, settings
        self._unused: list[Transfer] = []
        self._large = asyncio.Semaphore(MAX_LARGE_BODIES)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: FetchSettings) -> AsyncIterator["ImageClient"]:
        """Keep connections alive, and never connect to a private address (unless allowed)."""
        _raise_open_files_limit(2 * settings.max_open + 256)
        loop, names, interruptions = CurlLoop(max_idle=settings.max_open), Names(), Interruptions()
        try:
            yield cls(loop, names, interruptions, settings)
        finally:
            interruptions.close()
            loop.close()
            names.close()

    async def request(self, target: Target, url: str, stack: AsyncExitStack) -> Outcome:
        """Make one request. `stack` releases what must be held until the result has been used.

        A failure that is this machine's is excused, once its connection works again. Raises UserError if this machine
        can't open more connections.
        """
        started = asyncio.get_running_loop().time()
        outcome = await self._request(target, url, stack)
        if outcome.may_retry and await self._interruptions.excuse(started, target.deadline):
            return replace(outcome, is_excused=True)
        return outcome

    async def _request(self, target: Target, url: str, stack: AsyncExitStack) -> Outcome:
        address = web_url(target.route.address(url))
        if address is None:
            return failed(target, Reason.HTTP_ERROR, "no valid URL")
        try:
            addresses = await self._addresses(address)
        except TimeoutError:
            return failed(target, Reason.TIMEOUT, "no answer in time", may_retry=True)
        except OSError as error:
            return failed(target, Reason.HOST_UNAVAILABLE, f"{type(error).__name__}: {error}", may_retry=True)
        except ValueError:  # from Python's IDNA codec
            return failed(target, Reason.HTTP_ERROR, "no valid URL")
        with self._transfer() as transfer:
            transfer.set_url(address, addresses, target.route.pool_name(origin_of(url).host))
            transfer.set_fresh(self._interruptions.woken)
            response, refused = await self._read(transfer, target, stack)
            if transfer.has_wrong_length:  # browsers ignore it
                with transfer.until_closed():
                    response, refused = await self._read(transfer, target, stack)
            if response.status is not None:
                self._interruptions.note_answer(transfer.peer)
        if response.status is not None and not response.is_complete:
            stack.push_async_callback(asyncio.sleep, _ABANDONED_SECONDS)
        if refused is not None:
            return Outcome(replace(result_of(response, target), reason=refused.reason, filter=refused.filter))
        outcome = outcome_of(response, target, address, self._settings.max_bytes)
        codings = response.headers.get("content-encoding")
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

    @contextmanager
    def _transfer(self) -> Iterator[Transfer]:
        transfer = self._unused.pop() if self._unused else Transfer(self._loop, self._settings)
        try:
            yield transfer
        finally:
            transfer.stop()
            self._unused.append(transfer)

    async def _addresses(self, address: str) -> str | None:
        """Return libcurl's RESOLVE entry for the host of an address; None if it is an IP address."""
        host, port = _host_and_port(*parts_of(address)[:2])
        if ":" in host or host.rpartition(".")[2].isdecimal():  # an IP address
            return None
        found = self._names.known(host)
        if found is None:
            async with asyncio.timeout(self._settings.timeout):
                found = await self._names.look_up(host)
        return f"+{host}:{port}:{','.join(found)}"

    async def _read(self, transfer: Transfer, target: Target, stack: AsyncExitStack) -> tuple[Response, Drop | None]:
        refused: Drop | None = None

        def choose(response: Response) -> Body | None:
            nonlocal refused
            if response.status != HTTPStatus.OK:
                return Body(_DRAIN_BYTES, is_collected=False, seconds=_DRAIN_SECONDS)
            found = result_of(response, target)
            refused = target.handler.refuse(found.robots_tag or "", found.declarations or "")
            if refused is not None:
                return None
            return Body(robots.MAX_BYTES if target.is_host_file else self._settings.max_bytes, is_collected=True)

        transfer.start(choose)
        while await transfer.until_large():
            await stack.enter_async_context(self._large)
            transfer.go_on()
        return transfer.response, refused


@short_cache(65536, NAME_LENGTH)
def _host_and_port(scheme: str, authority: str) -> tuple[str, int]:
    parts = SplitResult(scheme, authority, "", "", "")
    return parts.hostname or "", parts.port or (443 if scheme == "https" else 80)


def _raise_open_files_limit(wanted: int) -> None:
    """Raise this process's limit of open files as far as is permitted; each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft not in (-1, resource.RLIM_INFINITY) and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
