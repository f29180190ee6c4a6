"""Megatron-Energon: the tars of `webdataset`, with the index that Energon's loader needs in `.nv-meta/`.

`dataset.yaml` gives Energon's SimilarityInterleavedSample: images, texts (the sentences), similarity matrix and matched
sentences. `crude.yaml` gives the same samples as dictionaries for cookers (`dataset_config: crude.yaml`). `split.yaml`
has all shards in `train`. `index.sqlite` is written by Energon's own writer; `<shard>.tar.idx` has the offset of each
sample as 8 bytes (megatron/energon/flavors/webdataset/itar.py). `energon prepare` would write the same, except for
`index.uuid`, which follows from the shards here. It is not used, because it only takes folders of its own storage
layer and asks questions. `<shard>.tar.samples` says where the files of each sample are. It is
written together with the shard, so that the index of many shards is made without reading them.
"""

import hashlib
import io
import struct
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tarfile import TarFile
from typing import BinaryIO

import orjson
import yaml

from mmc4_pipeline import storage
from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.base import Add, FinishedShard
from mmc4_pipeline.formats.webdataset import WebDataset, add_sample
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import open_tar
from mmc4_pipeline.tar_samples import Samples, encoded, read_samples, samples_name, written_samples
from schemas.manifest import WrittenFile

_VERSION = "7.4.0"  # of Energon, whose layout this is
_LOADER = '''"""Turns a sample of these shards into the fields of Energon's SimilarityInterleavedSample."""

import json

import torch


def sample_loader(sample):
    document = sample["json"]
    if isinstance(document, bytes):  # without a decoder
        document = json.loads(document)
    infos = document["image_info"]
    return {
        "images": [sample[f"{number}.jpg"] for number in range(len(infos))],
        "texts": document["text_list"],
        "similarity_matrix": torch.tensor(document["similarity_matrix"]),
        "matched_text_indices": [info["matched_text_index"] for info in infos],
    }


def part_filter(part):
    return part == "json" or part.endswith(".jpg")
'''
_DATASET = {
    "sample_type": {"__module__": "megatron.energon", "__class__": "SimilarityInterleavedSample"},
    "sample_loader": "sample_loader.py:sample_loader",
    "part_filter": "sample_loader.py:part_filter",
}
_CRUDE = {"__module__": "megatron.energon", "__class__": "CrudeWebdataset"}
_SQLITE_VERSION = slice(96, 100)  # in the file's header: the version of SQLite that wrote it


@dataclass(frozen=True)
class Energon(WebDataset):
    """Tars with an index."""

    folder = "energon"
    version = 1

    def require(self) -> None:
        """Raise UserError if Energon is not installed."""
        if not _is_installed():
            raise UserError("--formats energon: needs megatron-energon: pip install 'mmc4-pipeline[energon]'")

    @contextmanager
    def open_shard(self, writer: HashingWriter, _stem: str, /) -> Iterator[Add]:
        """Open a new shard."""
        with open_tar(writer) as tar:
            adding = _Adding(tar)
            yield adding
            adding.samples = written_samples(tar)

    def files_beside(self, add: Add, file: WrittenFile, /) -> dict[str, bytes]:
        """Return the index of a shard that was written, and where its files are."""
        return _beside(file, add.samples) if isinstance(add, _Adding) else {}

    def described(self, folder: str, shard: FinishedShard, /) -> dict[str, bytes]:
        """Return the index of a finished shard, and where its files are."""
        return _beside(shard.file, read_samples(storage.join(folder, shard.file.name), shard.file.sha256))

    def names_beside(self, name: str, /) -> list[str]:
        """Return the names of a shard's index and of the file that says where its files are."""
        return [f"{name}.idx", samples_name(name)]

    def index_files(self, folder: str, shards: Sequence[FinishedShard]) -> Iterator[tuple[str, BinaryIO]]:
        """Yield the index of the shards that have documents.

        index.sqlite is left out if Energon is not installed, because this package cannot write it.
        """
        listed = [shard for shard in shards if shard.documents]
        names = [shard.file.name.removeprefix(f"{self.folder}/") for shard in listed]
        counts = {name: shard.documents for name, shard in zip(names, listed, strict=True)}
        info = {"energon_version": _VERSION, "shard_counts": counts}
        meta = {
            ".info.json": orjson.dumps(info, option=orjson.OPT_INDENT_2),
            "split.yaml": _yaml({"split_parts": {"train": names}, "exclude": []}),
            "dataset.yaml": _yaml(_DATASET),
            "crude.yaml": _yaml(_CRUDE),
            "sample_loader.py": _LOADER.encode(),
        }
        for name, content in meta.items():
            yield f"{self.folder}/.nv-meta/{name}", io.BytesIO(content)
        with tempfile.TemporaryDirectory() as local:
            path = Path(local) / "index.sqlite"
            index = _SampleIndex(path) if _is_installed() else None
            for number, samples in enumerate(storage.concurrently(partial(_samples, folder), listed if index else ())):
                if index:
                    index.add(number, samples)
            if index:
                index.close()
                with path.open("rb") as stream:
                    yield f"{self.folder}/.nv-meta/index.sqlite", stream
        hashes = "\n".join(f"{name} {shard.file.sha256}" for name, shard in zip(names, listed, strict=True))
        of_shards = uuid.UUID(bytes=hashlib.sha256(hashes.encode()).digest()[:16], version=4)
        yield f"{self.folder}/.nv-meta/index.uuid", io.BytesIO(str(of_shards).encode())


@dataclass(slots=True)
class _Adding:
    """Adds documents to a new tar. Once it is finished, `samples` says what it has."""

    tar: TarFile
    samples: Samples = field(default_factory=list)

    def __call__(self, document: CutDocument, images: Sequence[bytes]) -> None:
        add_sample(self.tar, document, images)


def _beside(file: WrittenFile, samples: Samples) -> dict[str, bytes]:
    found = {samples_name(file.name): encoded(samples, file.sha256)}
    if samples:
        offsets = [*(members[0].start for _, members in samples), samples[-1][1][-1].end]
        found[f"{file.name}.idx"] = struct.pack(f"<{len(offsets)}Q", *offsets)
    return found


def _samples(folder: str, shard: FinishedShard) -> Samples:
    return read_samples(storage.join(folder, shard.file.name), shard.file.sha256)


class _SampleIndex:
    """Energon's table of where each sample and each of its files is."""

    def __init__(self, path: Path) -> None:
        from megatron.energon.epathlib import EPath
        from megatron.energon.flavors.webdataset.indexing import SqliteIndexWriter

        self._path = path
        self._writer = SqliteIndexWriter(EPath(path))

    def add(self, tar: int, samples: Samples) -> None:
        """Add the samples of a tar."""
        from megatron.energon.flavors.webdataset.prepare import IndexSample, IndexSamplePart

        of_sample, of_part = partial(IndexSample, tar_file_id=tar), partial(IndexSamplePart, tar_file_id=tar)
        self._writer.append_samples(
            [
                of_sample(
                    sample_key=key,
                    sample_index=number,
                    byte_offset=members[0].start,
                    byte_size=members[-1].end - members[0].start,
                )
                for number, (key, members) in enumerate(samples)
            ]
        )
        self._writer.append_parts(
            [
                of_part(
                    sample_index=number,
                    part_name=member.name.partition(".")[2],
                    content_byte_offset=member.offset,
                    content_byte_size=member.size,
                )
                for number, (_, members) in enumerate(samples)
                for member in members
            ]
        )

    def close(self) -> None:
        """Finish the file. The same samples give the same bytes, whatever SQLite's version."""
        self._writer.close()
        with self._path.open("r+b") as stream:
            stream.seek(_SQLITE_VERSION.start)
            stream.write(bytes(_SQLITE_VERSION.stop - _SQLITE_VERSION.start))


def _is_installed() -> bool:
    try:
        return find_spec("megatron.energon") is not None
    except ModuleNotFoundError:  # there is no `megatron` at all
        return False


def _yaml(content: object) -> bytes:
    return yaml.safe_dump(content, sort_keys=False).encode()
