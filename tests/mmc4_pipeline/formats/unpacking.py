"""Unpack shards of conversations, as their users do."""

import json
import tarfile
from pathlib import Path
from typing import Any


def unpacked(path: Path, folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Unpack a shard; return the folder and the lines."""
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")
    return folder, [json.loads(line) for line in (folder / f"{path.stem}.jsonl").read_text().rstrip("\n").split("\n")]
