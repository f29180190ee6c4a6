"""OpenFlamingo's WebDataset shards: a tar with one JSON a document, its images inside as base64 JPEG.

The JSON is MMC4's published document (`schemas/mmc4_document.schema.json`) with `image_base64` in each image_info,
as OpenFlamingo's converter makes it and its trainer reads it.
"""

import base64
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import orjson

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.cut import CutDocument, Placed
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.store import add_file, open_tar
from mmc4_pipeline.keys import image_name
from mmc4_pipeline.storage import WrittenFile
from schemas.image import Image

DIGITS = 6  # of a similarity: float32 has no more, and shorter numbers keep shards small


def write_shard(path: str, documents: Iterable[CutDocument], read: Callable[[Image], bytes]) -> WrittenFile:
    """Write the documents that made it, in order; `read` gives an image's JPEG bytes."""
    with storage.write_atomically(path) as writer, open_tar(writer) as tar:
        for document in documents:
            if document.reason is None:
                add_file(tar, f"{document.page.key}.json", orjson.dumps(as_json(document, read)))
    return storage.written(path, writer)


def as_json(document: CutDocument, read: Callable[[Image], bytes]) -> dict[str, Any]:
    """Give a document as MMC4 publishes it, with its images."""
    return {
        "url": document.page.url,
        "text_list": document.page.sentences,
        "image_info": [_image_info(item, read) for item in document.placed],
        "similarity_matrix": [[round(value, DIGITS) for value in item.score.similarity] for item in document.placed],
        "could_have_url_duplicate": int(document.page.could_have_url_duplicate),
    }


def _image_info(item: Placed, read: Callable[[Image], bytes]) -> dict[str, Any]:
    return {
        "image_name": image_name(item.image.url),
        "raw_url": item.image.url,
        "matched_text_index": item.sentence,
        "matched_sim": round(item.similarity, DIGITS),
        "face_detections": None,
        "image_base64": base64.b64encode(read(item.image)).decode("ascii"),
    }


def read_shard(stream: IO[bytes], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield key and document of a shard; raises UserError where the tar is cut short or holds no JSON."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                file = tar.extractfile(member)
                yield member.name.removesuffix(".json"), orjson.loads((file or io.BytesIO()).read())
            # tarfile takes a cut between two files, or a header that is none, for the end; that has two empty blocks.
            if tar.fileobj is None or tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                message = "it has no end mark"
                raise tarfile.ReadError(message)
    except (tarfile.TarError, orjson.JSONDecodeError, EOFError) as error:
        message = f"{path}: not readable as a shard ({error}); cut the dataset again"
        raise UserError(message) from error
