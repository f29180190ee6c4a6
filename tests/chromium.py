"""Open a page in headless Chromium by its DevTools protocol, and record what it logs and requests."""

import asyncio
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.engines import install

SECONDS = 60  # time limit for anything that hangs
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
LISTENING = re.compile(r"DevTools listening on (ws://\S+)")
MESSAGES = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening")


@dataclass
class Look:
    """What a page did: messages on its console, URLs that it requested, and the value of the script."""

    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    result: Any = None


@contextmanager
def browsing() -> Iterator[str]:
    """Run Chromium with a profile of its own while the body runs; yield the address of its DevTools."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            str(install.program(install.CHROMIUM)),
            *FLAGS,
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        assert process.stderr is not None
        try:
            address = next((found[1] for line in process.stderr if (found := LISTENING.search(line))), None)
            assert address, "Chromium did not start"
            threading.Thread(target=process.stderr.read, daemon=True).start()  # or it would block on a full pipe
            yield address
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()


def look(address: str, page: Path, size: tuple[int, int], script: str) -> Look:
    """Open a page in a window of that size, in CSS pixels, and run a script in it."""
    return asyncio.run(asyncio.wait_for(_look(address, page.as_uri(), size, script), SECONDS))


async def _look(address: str, url: str, size: tuple[int, int], script: str) -> Look:
    seen = Look()
    async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
        tab = _Tab(socket, seen)
        target = await tab.call("Target.createTarget", url="about:blank")
        tab.session = (await tab.call("Target.attachToTarget", **target, flatten=True))["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await tab.call(f"{domain}.enable")
        width, height = size
        phone = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < height}
        await tab.call("Emulation.setDeviceMetricsOverride", **phone)
        await tab.call("Page.navigate", url=url)
        while not tab.loaded:
            await tab.receive()
        response = await tab.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in response, response
        seen.result = response["result"]["value"]
        tab.session = None
        await tab.call("Target.closeTarget", **target)
    return seen


class _Tab:
    """One tab: sends commands, and records the events that arrive before each response."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, seen: Look) -> None:
        self._socket, self._seen, self._sent = socket, seen, 0
        self.session: str | None = None
        self.loaded = False

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._sent += 1
        session = {"sessionId": self.session} if self.session else {}
        await self._socket.send_json({"id": self._sent, "method": method, "params": params, **session})
        while True:
            message = await self.receive()
            if message.get("id") == self._sent:
                assert "error" not in message, message
                return message["result"]

    async def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = await self._socket.receive_json()
        method = message.get("method")
        if method in MESSAGES:
            self._seen.console.append(str(message["params"]))
        elif method == "Network.requestWillBeSent":
            self._seen.requests.append(message["params"]["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded = True
        return message
