"""libcurl in the event loop: it may be closed at any moment."""

import asyncio
from collections.abc import Callable
from typing import Any

import pycurl
import pytest

from mmc4_pipeline.images.fetching.curl_loop import CurlLoop


def nothing(_code: int, _message: str) -> None:
    pass


def closed_with_a_new_transfer(loop: CurlLoop, curl: pycurl.Curl) -> None:
    loop.start(curl, nothing)
    loop.close()


def closed_after_a_stop(loop: CurlLoop, curl: pycurl.Curl) -> None:
    loop.start(curl, nothing)
    loop.stop(curl)
    loop.close()


def closed_unused(loop: CurlLoop, _curl: pycurl.Curl) -> None:
    loop.close()


@pytest.mark.parametrize("use", [closed_with_a_new_transfer, closed_after_a_stop, closed_unused])
def test_nothing_is_called_after_the_end(use: Callable[[CurlLoop, pycurl.Curl], None]) -> None:
    failures: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, "http://127.0.0.1:1/")
        use(CurlLoop(max_idle=1), curl)
        await asyncio.sleep(0)  # the turn in which a call that was planned before would happen
        await asyncio.sleep(0)

    asyncio.run(main())
    assert failures == []
