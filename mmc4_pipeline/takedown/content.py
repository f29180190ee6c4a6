"""Finds the images whose content is on a list, so that the takedown can remove their URLs.

The perceptual hash and the sha256 of the bytes as received are in the images stage and in ledgers. Other hashes are
computed from the stored bytes, which differ from the received ones if the image was encoded again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from filters.base import ContentHashes
from filters.denied_content import LoadedDeniedContent
from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import ShardFile, shards_of
from mmc4_pipeline.dataset.image_tars import ImageTars
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.content_hashes import content_hashes
from mmc4_pipeline.images.decoding.decode import decode
from mmc4_pipeline.images.fetching.interface import FetchResult
from mmc4_pipeline.recipe import ImageSettings
from mmc4_pipeline.stage_folder import fingerprint
from mmc4_pipeline.takedown.folders import FinishedFolder, OutputFolder
from mmc4_pipeline.takedown.lists import ListFile, Lists
from mmc4_pipeline.takedown.processes import in_processes
from mmc4_pipeline.tar import unreadable
from schemas.arrow import UInt64
from schemas.image import Image
from schemas.page import hashed, is_hashed
from schemas.reasons import Stage

_UNKNOWN = -1  # no hash of a list is negative


@dataclass(frozen=True, slots=True)
class LedgerImage:
    """The columns of a ledger by which content is found."""

    image_url: str
    sha256: str | None = None
    phash: UInt64 | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Images to look up: a shard of the images stage, of a dataset's ledger, or one of the dataset's own shards."""

    folder: FinishedFolder
    shard: int = 0
    file: ShardFile | None = None


def parts_of(output: OutputFolder, lists: Lists) -> list[Part]:
    """Return the images to look up: the images stage, and the datasets that were not cut from it.

    Raises UserError if the list has hashes that only stored images can be compared with, and a dataset has none.
    """
    content = lists.denied_content()
    if content is None:
        return []
    images = output.images
    parts = [Part(images.without_files(), shard) for shard in range(images.shards)] if images else []
    for dataset in output.datasets:
        if images and dataset.manifest.plan.input.images == fingerprint(images.manifest):
            continue
        parts += [Part(dataset.without_files(), shard) for shard in range(dataset.shards)]
        if content.needs_bytes:
            parts += _stored_in(dataset, lists.content)
    return parts


def _stored_in(dataset: FinishedFolder, file: ListFile | None) -> list[Part]:
    """Return a dataset's shards in one format that stores images."""
    shards = [item for item in shards_of(dataset.manifest) if item.format.needs_images]
    if not shards and file:
        raise UserError(
            f"{dataset.folder.path}: none of its formats stores images, so the md5, sha1 and pdq entries of "
            f"{file.path} cannot be compared; use a list with sha256 and phash entries only"
        )
    return [Part(dataset.without_files(), file=item) for item in shards if item.format_name == shards[0].format_name]


def images_on(
    lists: Lists, parts: list[Part], *, workers: int = 1, advance: Callable[[], None] = lambda: None
) -> Lists:
    """Return the lists with the images that are on the list of content; `advance` is called after each part."""
    urls: set[str] = set()
    for found in in_processes(partial(_found_in, lists), parts, workers):
        urls |= found
        advance()
    return lists.with_images(urls)


def _found_in(lists: Lists, part: Part) -> set[str]:
    """Return the hashes of the URLs of a part's images that are on the list."""
    content = lists.denied_content()
    if content is None:
        return set()
    if part.file:
        images = _images_of_shard(part.folder, part.file, content)
    elif part.folder.folder.stage is Stage.IMAGES:
        images = _images_of_stage(part.folder, part.shard, content)
    else:
        path = part.folder.folder.file(part.folder.shard_name("ledger/ledger", part.shard))
        images = ((row.image_url, _known(row)) for row in storage.read_records(path, LedgerImage))
    return {hashed(url) for url, hashes in images if not is_hashed(url) and content.decide(hashes) is not None}


def _known(row: LedgerImage | Image) -> ContentHashes:
    sha256 = int(row.sha256, 16) if row.sha256 else _UNKNOWN
    return ContentHashes(md5=_UNKNOWN, sha1=_UNKNOWN, sha256=sha256, phash=row.phash)


def _images_of_stage(
    images: FinishedFolder, shard: int, content: LoadedDeniedContent
) -> Iterator[tuple[str, ContentHashes]]:
    rows = list(storage.read_records(images.folder.file(images.shard_name("images", shard)), Image))
    yield from ((row.url, _known(row)) for row in rows)
    if content.needs_bytes:
        stored = {row.offset: row for row in rows if row.offset is not None}  # links with the same URL share its bytes
        with ImageTars(lambda at: images.folder.file(images.shard_name("images", at, "tar")), shard) as tars:
            for _, row in sorted(stored.items()):
                yield row.url, _of_bytes(tars.read(row), content)


def _images_of_shard(
    dataset: FinishedFolder, shard: ShardFile, content: LoadedDeniedContent
) -> Iterator[tuple[str, ContentHashes]]:
    path = dataset.folder.file(shard.file.name)
    with storage.open_read(path) as stream:
        for document in shard.format.read_shard(stream, path):
            try:
                urls = shard.format.view(document).image_urls
                jpegs = [shard.format.jpeg(document, number) for number in range(len(urls))]
            except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
                raise unreadable(path, f"it has a document that is not of this format: {error!r}") from error
            yield from ((url, _of_bytes(jpeg or b"", content)) for url, jpeg in zip(urls, jpegs, strict=True))


def _of_bytes(body: bytes, content: LoadedDeniedContent) -> ContentHashes:
    """Return the hashes of stored bytes, except those that are known of the image as received."""
    picture = decode(body, ImageSettings()) if content.needs_pdq else None
    hashes = content_hashes(FetchResult(url="", route="", body=body), picture, {"": content})
    return replace(hashes, sha256=_UNKNOWN, phash=None)
