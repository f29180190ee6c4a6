"""Names are looked up in threads, for whoever waits for them."""

import asyncio
import gc
import threading
from typing import Any

import pytest

from mmc4_pipeline.images.fetching import names
from mmc4_pipeline.images.fetching.names import Names


def test_a_lookup_that_fails_after_everybody_has_given_up_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()

    def fail(_name: str) -> list[str]:
        given_up.wait(60)
        raise OSError("no such name")

    async def run() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        looking = Names()
        waiting = asyncio.create_task(looking.look_up("host.invalid"))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        given_up.set()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        del waiting
        gc.collect()
        await asyncio.sleep(0)
        assert not reported
        looking.close()

    monkeypatch.setattr(names, "_addresses", fail)
    asyncio.run(run())
