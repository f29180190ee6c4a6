"""Published files on a web server and on the Hub: few requests, only the bytes that are needed, resumed when broken."""

import io
import json
import random
import zipfile
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline.published.files import LAYOUTS, find_published, read_published
from mmc4_pipeline.published.layout import PublishedDocument
from tests.mmc4_pipeline.file_server import INPUTS, FileServer, cut, serving
from tests.mmc4_pipeline.hub import FOLDER, sent
from tests.mmc4_pipeline.published.published_rows import MMC4, OBELICS, URL

_RANDOM = random.Random(5)
LINES = b"".join(
    json.dumps(MMC4 | {"url": f"{URL}{number}", "text_list": [_RANDOM.randbytes(2000).hex()] * 3}).encode() + b"\n"
    for number in range(300)
)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("docs_no_face_shard_0_v3.jsonl", LINES)
    return buffer.getvalue()


def urls(path: str, layout: str, first: int | None = None) -> list[str]:
    found = list(read_published(INPUTS, path, LAYOUTS[layout], first))
    return [document.url for document in found if isinstance(document, PublishedDocument)]


EVERY_URL = [f"{URL}{number}" for number in range(300)]


def test_a_zip_on_a_web_server_is_read_in_few_requests_and_where_it_broke() -> None:
    content = zipped()
    with serving({"/a.jsonl.zip": content}) as server:
        path = f"{server.address}/a.jsonl.zip"
        assert find_published(INPUTS, [path]).layout == "mmc4"
        before = len(server.finished())
        server.ways.extend([cut(1000)] * 2)
        assert urls(path, "mmc4") == EVERY_URL
        assert len(server.finished()) - before <= 20


def test_the_first_documents_of_the_hub_cost_no_more_than_they_need(
    hub: Callable[[dict[str, bytes]], FileServer],
) -> None:
    out = pa.BufferOutputStream()
    rows = [OBELICS | {"texts": [None, _RANDOM.randbytes(2000).hex(), None, "End."]} for _ in range(1000)]
    pq.write_table(pa.Table.from_pylist(rows), out, row_group_size=100)
    files = {"a.jsonl": LINES, "b.parquet": out.getvalue().to_pybytes()}
    server = hub(files)
    chosen = find_published(INPUTS, [f"{FOLDER}/a.jsonl"], limit=5)
    assert chosen.first == {f"{FOLDER}/a.jsonl": 5}
    assert urls(f"{FOLDER}/a.jsonl", "mmc4", 5) == EVERY_URL[:5]
    assert sent(server, "a.jsonl") < len(LINES) / 2
    assert len(urls(f"{FOLDER}/b.parquet", "obelics", 5)) == 5
    assert sent(server, "b.parquet") < len(files["b.parquet"]) / 2
