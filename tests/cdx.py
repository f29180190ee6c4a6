"""Writes CDXJ indexes as Common Crawl has them."""

import gzip
import json
from pathlib import Path

from mmc4_pipeline.commoncrawl.cdx_index import key_of

CRAWL = "CC-MAIN-2019-18"
WARC = "crawl-data/x/segments/1/warc/a.warc.gz"


def line(url: str, timestamp: str = "20190420120000", **changed: str) -> bytes:
    row = {
        "url": url,
        "mime": "text/html",
        "status": "200",
        "digest": "X",
        "length": "5",
        "offset": "7",
        "filename": WARC,
    }
    return (key_of(url) or b"") + f" {timestamp} {json.dumps(row | changed)}\n".encode()


def write_index(root: Path, lines: list[bytes], of_block: int = 3, blocks_of_file: int = 4, crawl: str = CRAWL) -> None:
    """Write sorted lines as blocks, and cluster.idx."""
    folder = root / f"cc-index/collections/{crawl}/indexes"
    folder.mkdir(parents=True, exist_ok=True)
    cluster, files = b"", dict[str, bytes]()
    ordered = sorted(lines)
    for number, start in enumerate(range(0, len(ordered), of_block)):
        file = f"cdx-{number // blocks_of_file:05d}.gz"
        member = gzip.compress(b"".join(ordered[start : start + of_block]), 1)
        key = b" ".join(ordered[start].split(b" ")[:2])
        place = f"\t{file}\t{len(files.get(file, b''))}\t{len(member)}\t{number + 1}\n"
        cluster += key + place.encode()
        files[file] = files.get(file, b"") + member
    for file, content in files.items():
        (folder / file).write_bytes(content)
    (folder / "cluster.idx").write_bytes(cluster)
