"""Writes image shards in the layout that img2dataset documents (output_format=webdataset)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import webdataset


@dataclass(frozen=True)
class Row:
    """One URL; it failed if it has no body."""

    url: str
    body: bytes | None = None
    status: str = "success"
    error_message: str | None = None
    original_width: int | None = None
    original_height: int | None = None
    sha256: str | None = None


def write_shard(folder: Path, number: int, rows: Sequence[Row]) -> Path:
    """Write `00003.tar`, `00003.parquet` and `00003_stats.json`; return the path of the tar."""
    folder.mkdir(parents=True, exist_ok=True)
    tar = folder / f"{number:05d}.tar"
    table = []
    with webdataset.TarWriter(str(tar)) as writer:
        for position, row in enumerate(rows):
            meta = {name: value for name, value in asdict(row).items() if name != "body"}
            meta["key"] = f"{number:05d}{position:04d}"
            table.append(meta)
            if row.body is not None:
                text = json.dumps(meta, indent=4)
                writer.write({"__key__": meta["key"], "jpg": row.body, "txt": "caption", "json": text})
    numbers = ("original_width", "original_height")
    texts = ("url", "key", "status", "error_message", "sha256")
    schema = pa.schema([*((name, pa.string()) for name in texts), *((name, pa.int32()) for name in numbers)])
    pq.write_table(pa.Table.from_pylist(table, schema=schema), tar.with_suffix(".parquet"))
    (folder / f"{number:05d}_stats.json").write_text(json.dumps({"count": len(rows)}))
    return tar
