"""A shard as a scorer gets it from the score stage."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from mmc4_pipeline.scoring.picture import Picture
from mmc4_pipeline.scoring.shard import Features, Shard, documents_of, places_of
from mmc4_pipeline.tar import read_image
from schemas.image import Image
from schemas.page import Page
from schemas.score import DocumentScores


def shard_of(
    pages: Sequence[Page],
    images: Sequence[Image],
    tar: BinaryIO,
    folder: Path = Path("nowhere"),
    scores: Mapping[str, Sequence[DocumentScores]] | None = None,
    features: Mapping[str, Features] | None = None,
) -> Shard:
    """Return a shard whose images are in a tar; `scores` and `features` are those of other scorers, by name."""
    documents = documents_of(pages, images)
    return Shard(
        documents,
        lambda: (Picture(read_image(tar, *place)) for place in places_of(documents)),
        path_of=lambda stem: str(folder / f"{stem}-00000-of-00001.parquet"),
        scores=lambda name: {document.key: document for document in (scores or {})[name]},
        features=lambda name: (features or {})[name],
    )


def tar_of(files: list[bytes]) -> tuple[io.BytesIO, list[tuple[int, int]]]:
    """Return a tar of the files, with the offset and length of each."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for number, data in enumerate(files):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        places = [(member.offset_data, member.size) for member in tar]
    return stream, places
