"""Reads image shards as img2dataset writes them (output_format=webdataset): `00000.tar` and `00000.parquet`.

The tar has `<key>.jpg` (or .png, .webp) and `<key>.json` for each image. The Parquet file has one row for each URL,
including those that failed: `url`, `key`, `status`, `error_message`, `original_width`, `original_height`, `sha256`.
"""

import re
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urldefrag

import pyarrow as pa
import pyarrow.parquet as pq
from braceexpand import braceexpand

from mmc4_pipeline.errors import PermanentReadError, UserError
from mmc4_pipeline.images.fetching.addresses import FORBIDDEN
from mmc4_pipeline.storage import Inputs, is_local
from schemas.prefetched_image import PrefetchedImage
from schemas.reasons import Reason

_REQUIRED = ("url", "key", "status", "error_message")
_OPTIONAL = ("original_width", "original_height", "sha256")  # missing or null with some of img2dataset's options
_SUCCESS = "success"
_IMAGES = ("jpg", "jpeg", "png", "webp")
_HTTP_ERROR = re.compile(r"HTTP Error (\d{3})")
# Messages of img2dataset 1.47 and of Python's urllib, which it uses; the first one found counts.
_REASONS = (
    ("X-Robots-Tag", Reason.OPTED_OUT),
    (FORBIDDEN, Reason.FORBIDDEN_ADDRESS),
    ("HTTP Error", Reason.HTTP_ERROR),
    ("timed out", Reason.TIMEOUT),
    ("IncompleteRead", Reason.CORRUPT),
    ("hash mismatch", Reason.CORRUPT),
    ("body of more than", Reason.TOO_LARGE),  # guarded_img2dataset.py
    ("unknown url type", Reason.HTTP_ERROR),
    ("no host given", Reason.HTTP_ERROR),
    ("can't contain control characters", Reason.HTTP_ERROR),
    ("nonnumeric port", Reason.HTTP_ERROR),
    ("codec can't encode", Reason.HTTP_ERROR),  # a URL that urllib does not accept
)
_RESIZE_REASONS = (
    ("image too small", Reason.TOO_SMALL),
    ("image area too large", Reason.TOO_LARGE),
    ("aspect ratio too large", Reason.ASPECT_RATIO),
)


def shard_files(inputs: Inputs, patterns: Sequence[str]) -> list[str]:
    """Return the tars that the patterns match, sorted: folders, globs, `shards/{00000..00010}.tar`.

    Raises UserError for a pattern that matches nothing.
    """
    found: set[str] = set()
    for pattern in patterns:
        files = [path for one in _expanded(pattern) for path in _tars(inputs, one)]
        if not files:
            raise UserError(
                f"--images_from {pattern}: no tar found; name the output folder of img2dataset "
                "(output_format=webdataset), or its tars"
            )
        found.update(files)
    return sorted(found)


def _expanded(pattern: str) -> Iterator[str]:
    try:
        yield from braceexpand(pattern)
    except ValueError as error:
        raise UserError(f"--images_from {pattern}: {error}") from error


def _tars(inputs: Inputs, pattern: str) -> list[str]:
    if pattern.endswith(".tar"):
        return inputs.matches(pattern) if "*" in pattern or "?" in pattern else [pattern]
    return inputs.matches_below(pattern, "*.tar")


def table_of(tar: str) -> str:
    """Return the path of the Parquet file that belongs to a tar."""
    return tar.removesuffix(".tar") + ".parquet"


def read_shard(inputs: Inputs, tar: str) -> list[PrefetchedImage]:
    """Return one record for each URL of a shard, in its order; raises UserError if the shard is incomplete."""
    table = _read_table(inputs, table_of(tar))
    places = _places(inputs, tar)
    return [_image(row, places) for row in table.to_pylist()]


def read_bodies(inputs: Inputs, tar: str, images: Sequence[PrefetchedImage]) -> Iterator[tuple[PrefetchedImage, bytes]]:
    """Yield images with their bytes in the order of the tar; raises UserError if the tar no longer has them."""
    stored = sorted((image for image in images if image.offset is not None), key=lambda image: image.offset or 0)
    ranges = [(image.offset or 0, image.length or 0) for image in stored]
    for image, body in zip(stored, inputs.read_ranges(tar, ranges), strict=True):
        if isinstance(body, PermanentReadError) or len(body) != image.length:
            raise UserError(f"{tar}: changed while it was being read; run the images stage again in another --output")
        yield image, body


def _read_table(inputs: Inputs, path: str) -> pa.Table:
    with inputs.open_read(path) as stream:
        try:
            file = pq.ParquetFile(pa.PythonFile(stream, mode="r"))
            names = file.schema_arrow.names
            missing = [name for name in _REQUIRED if name not in names]
            if missing:
                raise UserError(f"{path}: has no column {missing[0]}; it was not written by img2dataset")
            return file.read([*_REQUIRED, *(name for name in _OPTIONAL if name in names)])
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"{path}: cannot be read ({str(error).splitlines()[0]}); if img2dataset was stopped while writing this "
                "shard, let it write the shard again or omit the shard"
            ) from error


def _places(inputs: Inputs, tar: str) -> dict[str, tuple[int, int]]:
    """Return offset and length of the image of each key. Only the headers of a local tar are read."""
    places: dict[str, tuple[int, int]] = {}
    mode: Any = "r:" if is_local(tar) else "r|"
    try:
        with inputs.open_stream(tar) as stream, tarfile.open(fileobj=stream, mode=mode) as file:
            for member in file:
                key, _, extension = member.name.rpartition("/")[2].partition(".")
                if member.isreg() and extension.lower() in _IMAGES:
                    places[key] = (member.offset_data, member.size)
            # For tarfile, a tar that is cut off between two files, or within a header, ends there.
            if file.fileobj is None or file.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it has no end mark")
    except (tarfile.TarError, EOFError) as error:
        raise UserError(
            f"{tar}: not a complete tar ({error}); let img2dataset write it again or omit the shard"
        ) from error
    return places


def _image(row: dict[str, Any], places: dict[str, tuple[int, int]]) -> PrefetchedImage:
    url = urldefrag(row["url"] or "")[0]
    if row["status"] != _SUCCESS:
        return _failed(url, row["status"], row["error_message"] or "")
    if row["key"] not in places:
        error = "its shard's tar lacks it"
        return PrefetchedImage(url, error=error, reason=Reason.NOT_FETCHED)
    offset, length = places[row["key"]]
    optional = (row.get(name) for name in _OPTIONAL)
    return PrefetchedImage(url, offset, length, *optional)


def _failed(url: str, status: str | None, error: str) -> PrefetchedImage:
    """Return the record of a URL without an image, with the reason that is closest to img2dataset's message."""
    found = _HTTP_ERROR.search(error)
    if status == "failed_to_resize":
        reason = next((reason for text, reason in _RESIZE_REASONS if text in error), Reason.CORRUPT)
    else:
        reason = next((reason for text, reason in _REASONS if text in error), Reason.HOST_UNAVAILABLE)
    http_status = int(found[1]) if found else None
    return PrefetchedImage(url, http_status=http_status, error=error or None, reason=reason)
