"""How long the driver takes on an object store on which each request takes 30 ms: finishing a stage, and a takedown.

    python benchmarks/many_shards.py

A stage of 1,000 notes is finished, and one image's URL is taken down from planted datasets of 2,000, 4,000 and 8,000
tiny shards, each with a report. The store is a second process on the loopback interface (`object_store.py`). Each
measurement is a process of its own, as a command is. The last line is JSON: seconds of wall time and of CPU time of the
client, and requests.
"""

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from aiohttp import web
from object_store import BUCKET, ObjectStore, application, settings

from mmc4_pipeline import storage
from mmc4_pipeline.commands import takedown
from mmc4_pipeline.dataset.cut import cut_shard, ledger_rows
from mmc4_pipeline.dataset.statistics import statistics_of_documents
from mmc4_pipeline.dataset.write_shards import write_indexes, write_shard
from mmc4_pipeline.formats.registry import parse_formats
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.report.page import write_report
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.url_filter import url_filter, urls_of
from schemas.columns import CLIP_COLUMNS
from schemas.image import Image
from schemas.ledger import ledger_record
from schemas.manifest import CutInput, CutOptions, CutPlan, ShardNote
from schemas.page import ImageLink, Page
from schemas.reasons import Stage
from schemas.score import DocumentScores, ImageScore
from schemas.statistics import Counts

LATENCY = 0.03
_MOMENT = datetime(2019, 4, 25, tzinfo=UTC)
_FORMAT = "openflamingo"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notes", type=int, default=1000)
    parser.add_argument("--shards", type=int, nargs="+", default=[2000, 4000, 8000])
    parser.add_argument("--latency", type=float, default=LATENCY, help="seconds")
    parser.add_argument("--serve", help=argparse.SUPPRESS)  # the folder to serve
    parser.add_argument("--run", help=argparse.SUPPRESS)  # what to measure, in a process of its own
    arguments = parser.parse_args()
    if arguments.serve:
        serve(Path(arguments.serve), arguments.latency)
        return
    if arguments.run:
        print(json.dumps(run(arguments.run)))
        return
    result: dict[str, Any] = {"latency": arguments.latency}
    result["finish"] = {"notes": arguments.notes} | measured("finish", arguments.notes, arguments.latency)
    for shards in arguments.shards:
        result[f"takedown_{shards}"] = measured("takedown", shards, arguments.latency)
        print(shards, result[f"takedown_{shards}"], flush=True)
    print(json.dumps(result))


def measured(what: str, shards: int, latency: float) -> dict[str, Any]:
    """Plant a dataset, serve it, and measure a command on it in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = plant(root / "store" / "dataset", shards)
        if what == "finish":
            for done in ("manifest.json", "notes.parquet"):
                (root / "store" / "dataset" / done).unlink()
        else:
            write_indexes(folder, parse_formats([_FORMAT]).values())
            write_report(folder)
        (root / "list.txt").write_text(f"{image_url(shards // 2, 0)}\n")
        with serving(root / "store", latency) as port:
            command = [sys.executable, __file__, "--run", f"{what} {root / 'list.txt'}"]
            done_run = subprocess.run(
                command, capture_output=True, text=True, check=True, env={**os.environ, **settings(port)}
            )
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/requests") as answer:
                counted = json.load(answer)
    return {**json.loads(done_run.stdout.splitlines()[-1]), **counted}


def run(what: str) -> dict[str, float]:
    """Run one command and return its time."""
    kind, path = what.split()
    folder = StageFolder(f"s3://{BUCKET}/dataset", Stage.CUT)
    started, before = time.monotonic(), time.process_time()
    if kind == "finish":
        folder.finish()
    else:
        takedown.main([folder.path, "--list", path])
    return {"seconds": round(time.monotonic() - started, 2), "cpu_seconds": round(time.process_time() - before, 2)}


def plant(path: Path, shards: int) -> StageFolder:
    """Write a finished dataset of one page with two images per shard, as the cut stage does."""
    items, recipe = parse_formats([_FORMAT]), load_recipe("mmc4")
    folder = StageFolder(str(path), Stage.CUT)
    options = CutOptions(formats=[{"name": _FORMAT}], shard_bytes=1 << 30)
    plan = CutPlan(shards=shards, name="planted", recipe=recipe.to_json(), options=options, input=CutInput(), before={})
    folder.begin(plan, resume=False)
    jpeg = bytes(cv2.imencode(".jpg", np.zeros((160, 200, 3), np.uint8))[1])
    for shard in range(shards):
        page, images, scores = page_of(shard, jpeg)
        documents = list(cut_shard([page], images, [scores], recipe))
        files = write_shard(folder, items.values(), shard, shards, documents, lambda _: jpeg)
        rows = [row for document in documents for row in ledger_rows(document, files[0].name)]
        files.append(
            storage.write_records(folder.shard_file("ledger/ledger", shard, shards), rows, ledger_record(CLIP_COLUMNS))
        )
        counts = {"documents": Counts(1, 1), "links": Counts(2, 2)}
        note = ShardNote(
            shard=shard,
            files=files,
            counts=counts,
            documents_in_shard={shard: 1},
            statistics=statistics_of_documents(documents, shard).to_json(),
            urls=url_filter(urls_of([page])),
        )
        folder.finish_shard(note)
    folder.finish()
    return folder


def image_url(shard: int, position: int) -> str:
    """Return the URL of an image."""
    return f"https://images{shard % 7}.example/{shard}/{position}.jpg"


def page_of(shard: int, jpeg: bytes) -> tuple[Page, list[Image], DocumentScores]:
    """Return a shard's page with its images and scores."""
    key, site = hashlib.sha256(str(shard).encode()).hexdigest()[:32], f"site{shard}.example"
    links = [ImageLink(at, image_url(shard, at), "", None, None) for at in range(2)]
    page = Page(key, f"https://{site}/", site, _MOMENT, False, ["One sentence.", "Another sentence."], links)  # noqa: FBT003
    received: dict[str, Any] = {"sha256": hashlib.sha256(jpeg).hexdigest(), "byte_size": len(jpeg), "http_status": 200}
    size: dict[str, Any] = {"width": 200, "height": 160}
    images = [Image(key, link.position, link.url, phash=link.position, **size, **received) for link in links]
    scores = [ImageScore(at, {"similarity": [0.3 - 0.2 * at, 0.1 + 0.2 * at], "nsfw": 0.01}) for at in range(2)]
    return page, images, DocumentScores(key, scores)


def serve(folder: Path, latency: float) -> None:
    """Serve a folder until the process is ended; print the port first."""
    store = ObjectStore(latency)
    store.load(folder)

    async def requests(_: web.Request) -> web.Response:
        return web.json_response({"requests": dict(store.by_method()), "most_open": store.most_open})

    async def main() -> None:
        served = application(store)
        served.router.add_get("/requests", requests)
        runner = web.AppRunner(served, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


@contextmanager
def serving(folder: Path, latency: float) -> Iterator[int]:
    """Serve a folder from another process; yield the port."""
    command = [sys.executable, __file__, "--serve", str(folder), "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
