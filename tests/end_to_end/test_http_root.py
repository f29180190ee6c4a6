"""Common Crawl over HTTP, as most users reach it: index files by its list, pages by ranges."""

import asyncio
import gzip
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web as http

from tests.end_to_end.running import Web, contents, mmc4, succeeded


@pytest.fixture
def mirror(web: Web, tmp_path: Path) -> Iterator[str]:
    """Serve the web's Common Crawl with the list of index files that Common Crawl publishes."""
    root = tmp_path / "mirror"
    shutil.copytree(web.folder / "commoncrawl", root)
    listing = root / "crawl-data/CC-MAIN-2019-18/cc-index-table.paths.gz"
    parts = sorted(str(path.relative_to(root)) for path in root.glob("cc-index/**/*.parquet"))
    others = [path.replace("subset=warc", "subset=robotstxt") for path in parts]
    listing.write_bytes(gzip.compress("\n".join(parts + others).encode()))
    loop, address = asyncio.new_event_loop(), []

    async def start() -> http.AppRunner:
        app = http.Application()
        app.router.add_static("/", root)
        runner = http.AppRunner(app)
        await runner.setup()
        site = http.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address.append(runner.addresses[0][1])
        return runner

    thread = threading.Thread(target=loop.run_forever)
    runner = loop.run_until_complete(start())
    thread.start()
    try:
        yield f"http://127.0.0.1:{address[0]}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@pytest.mark.parametrize("source", ["warc", "wat"])
def test_pages_over_http_are_those_of_the_folder(
    web: Web, built: Path, mirror: str, tmp_path: Path, source: str
) -> None:
    output = str(tmp_path / "out")
    succeeded(mmc4("locate", "--c4", str(web.folder / "c4/*.json.gz"), "--cc_root", mirror, "--output", output))
    pages = ("--page_source", source, "--documents_per_shard", "30")
    succeeded(mmc4("pages", "--output", output, *pages))
    assert contents(tmp_path / "out", "locations/*.parquet") == contents(built, "locations/*.parquet")
    if source == "warc":
        assert contents(tmp_path / "out", "pages/*.parquet") == contents(built, "pages/*.parquet")
