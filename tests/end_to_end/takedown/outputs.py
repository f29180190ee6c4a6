"""What an output or a dataset holds, and a takedown of it."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq

from mmc4_pipeline.formats.registry import known_formats
from tests.end_to_end.running import mmc4, succeeded

ALL = sorted(known_formats(), key=lambda name: name != "openflamingo")  # whose files the ledger then names
SMALL = ("--formats", *ALL, "--shard_bytes", "300000")  # every format, in several shards


@dataclass(frozen=True)
class Removals:
    """A deny-list with every kind of entry, and what it names."""

    path: Path
    site: str
    image_host: str
    pages: set[str]
    images: set[str]

    def page(self, url: str) -> bool:
        """Return whether the list names a page."""
        return f".{host(url)}".endswith(f".{self.site}") or url in self.pages

    def link(self, row: dict[str, Any]) -> bool:
        """Return whether the list names an image link or its page."""
        url = row["image_url"]
        named = host(url) == self.image_host or f".{host(url)}".endswith(f".{self.site}") or url in self.images
        return named or self.page(row["page_url"])


def takedown(folder: Path, removals: Path, *more: str) -> list[str]:
    """Run a takedown and return the lines that it prints."""
    return succeeded(mmc4("takedown", str(folder), "--list", str(removals), *more)).stdout.splitlines()


def cut(output: Path, recipe: Path | str, *more: str) -> None:
    succeeded(mmc4("cut", "--output", str(output), "--recipe", str(recipe), *more))


def verified(dataset: Path, *more: str) -> None:
    """Assert that a dataset is what its manifest says."""
    succeeded(mmc4("verify", str(dataset), *more))


def rows(folder: Path, pattern: str = "ledger/*.parquet") -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob(pattern)) for row in pq.read_table(path).to_pylist()]


def documents(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the documents of a dataset as a format stores them."""
    item = known_formats()[name]()
    found = []
    for path in sorted(folder.glob(item.file_name(0, 1).replace("00000", "*"))):
        with path.open("rb") as stream:
            found += item.read_shard(stream, str(path))
    return found


def in_mmc4_form(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the documents of a dataset in a format that stores them in MMC4's form."""
    return [stored.get("json", stored) for stored in documents(folder, name)]


def everything_in(folder: Path) -> Iterator[bytes]:
    """Yield the content of all files below a folder, also unpacked, and the images that they hold as base64."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield data
        if path.suffix == ".gz":
            yield gzip.decompress(data)
        elif path.suffix == ".parquet":
            yield repr(pq.read_table(path).to_pylist()).encode()
        elif path.suffix == ".tar":
            for member in (tar := tarfile.open(fileobj=io.BytesIO(data))):  # noqa: SIM115 - in memory
                content = tar.extractfile(member).read()
                if member.name.endswith(".json"):
                    infos = json.loads(content)["image_info"]
                    yield from (base64.b64decode(info["image_base64"]) for info in infos if "image_base64" in info)


def notes(dataset: Path) -> list[dict[str, Any]]:
    """Return the notes of a dataset's shards."""
    return [json.loads(path.read_text()) for path in sorted((dataset / "done").iterdir())]


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def host(url: str) -> str:
    return urlsplit(url).hostname or ""


def sha256(url: str) -> str:
    return "sha256:" + hashlib.sha256(url.encode()).hexdigest()
