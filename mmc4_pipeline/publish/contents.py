"""Describes the contents of a dataset for its card and its Croissant metadata: its files by kind, and their fields."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from mmc4_pipeline.dataset.files import ShardFile, files_of, is_ledger, shards_of
from mmc4_pipeline.formats.base import Format
from mmc4_pipeline.publish.brace_pattern import brace_pattern
from schemas.columns import ledger_columns
from schemas.ledger import ledger_record
from schemas.manifest import CutPlan, Manifest, WrittenFile
from schemas.mmc4_document import ImageInfo, Mmc4Document, fields_of

SOURCE_LICENSE = "https://opendatacommons.org/licenses/by/1-0/"  # ODC-BY, C4's
CRAWL_TERMS = "https://commoncrawl.org/terms-of-use"
PAPER = "https://arxiv.org/abs/2304.06939"
LEDGER = "ledger"
PARQUET = "application/x-parquet"

DOCUMENT_FIELDS = {
    **fields_of(Mmc4Document),
    **{f"image_info[].{name}": text for name, text in fields_of(ImageInfo).items()},
}
_LEDGER_FIELDS = {
    "page_url": "URL of the page that has the link; after a takedown, `sha256:` and the URL's hash",
    "image_url": "URL of the image; after a takedown, `sha256:` and the URL's hash",
    "position": "position of the link among the page's image links, from 0",
    "document": "key of the page's document",
    "route": "template of the URL from which the image was fetched",
    "http_status": "HTTP status of the response",
    "error": "why the image could not be fetched or decoded",
    "sha256": "SHA-256 of the image's bytes as received",
    "byte_size": "number of bytes received",
    "stored_bytes": "size in bytes of the JPEG that was stored",
    "width": "width of the image as received, in pixels, upright",
    "height": "height of the image as received, in pixels, upright",
    "phash": "64-bit perceptual hash",
    "sentence": "index of the sentence that the image was assigned to, from 0; null if it was dropped",
    "sentences": "number of sentences of the document",
    "words": "number of words of the document",
    "after_sentence": "index of the last sentence that ends before the image on the page; -1 before the first",
    "inside_text": "whether the image is between the first and the last sentence on the page",
    "best_sentence": "index of the sentence that CLIP finds most similar to the image, from 0",
    "page_similarity": "similarity to the sentence that follows the image on its page; null if its place is not known",
    "published_sentence": "index of the sentence to which the publisher of the document had assigned the image",
    "published_similarity": "similarity to that sentence as it was published",
    "remeasured_similarity": "similarity to that sentence as it was computed for this dataset",
    "stage": "the stage that dropped the link; null if it was kept",
    "reason": "why the link was dropped; null if it was kept",
    "filter": "key in the recipe of the filter that dropped the link; null if no filter did",
    "declaration": "the page's, server's or host's declaration for which it was dropped as `opted_out`; else null",
    "shard": "path of the shard that has the image; null if it was dropped",
    "key": "key of the document in that shard; null if the image was dropped",
}

_FOLDER = re.compile(r"(?<![^/])\d+/")  # 18/ of 18/shard-182499.tar
_NUMBERS = re.compile(r"\d+(?:-of-\d+)?")  # of a file: 00003 of shard-00003.tar, 00003-of-00012 of the ledger's


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Files of one kind: the shards of one format, or the ledger.

    `name` is its name as a configuration of the dataset, `pattern` a glob for all of its files. `braces` is a pattern
    for exactly these shards, None for the ledger. `loader` is the builder of Hugging Face `datasets` that loads them,
    None if no builder does.
    """

    name: str
    pattern: str
    braces: str | None
    loader: str | None
    media_type: str
    files: tuple[WrittenFile, ...]

    @property
    def is_ledger(self) -> bool:
        """Whether this is the ledger."""
        return self.name == LEDGER


def file_groups(manifest: Manifest[CutPlan]) -> list[FileGroup]:
    """Return the dataset's files by kind: each format by the name of its folder (`documents` if none), then the ledger.

    A kind without files is left out: a dataset that keeps no documents has no shards.
    """
    of_format: dict[str, list[ShardFile]] = {}
    for shard in shards_of(manifest):
        of_format.setdefault(shard.format_name, []).append(shard)
    groups = [_of_format(shards[0].format, [shard.file for shard in shards]) for shards in of_format.values()]
    ledger = tuple(file for file in files_of(manifest) if is_ledger(file.name))
    if ledger:
        groups.append(FileGroup(LEDGER, _pattern(ledger[0].name), None, "parquet", PARQUET, ledger))
    return groups


def _of_format(item: Format, files: Sequence[WrittenFile]) -> FileGroup:
    name = item.folder.replace("/", "-") or "documents"
    braces = brace_pattern(item, [file.name for file in files])
    return FileGroup(name, _pattern(files[0].name), braces, item.loader, item.media_type, tuple(files))


def _pattern(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return _FOLDER.sub("*/", folder + slash) + _NUMBERS.sub("*", file, count=1)


def ledger_fields(manifest: Manifest[CutPlan]) -> dict[str, str]:
    """Return the description of each column of a dataset's ledger, in order."""
    columns = manifest.plan.input.all_columns
    described = _LEDGER_FIELDS | {item.name: item.description for item in ledger_columns(columns)}
    return {item.name: described[item.name] for item in fields(ledger_record(columns))}


def has_c4_texts(manifest: Manifest[CutPlan]) -> bool:
    """Return whether the texts are C4's, not those of the pages or of a published dataset."""
    return manifest.plan.input.published is None and manifest.plan.recipe.get("text_source", "c4") == "c4"


def has_mmc4_documents(manifest: Manifest[CutPlan]) -> bool:
    """Return whether a format of the dataset stores documents in MMC4's form."""
    return any(shard.format.has_mmc4_documents() for shard in shards_of(manifest))
