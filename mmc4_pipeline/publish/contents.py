"""What there is to load in a dataset: its files in groups of a kind, and what their fields mean."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mmc4_pipeline.dataset.files import is_ledger, is_shard
from schemas.manifest import WrittenFile

SOURCE_LICENSE = "https://opendatacommons.org/licenses/by/1-0/"  # ODC-BY, C4's
PAPER = "https://arxiv.org/abs/2304.06939"

DOCUMENT_FIELDS = {
    "url": "the page",
    "text_list": "its sentences, in order",
    "image_info": "its images in reading order: `image_name`, `raw_url`, `matched_text_index` (the sentence that the "
    "image was assigned to, from 0), `matched_sim`, `face_detections` (boxes: left, top, width, height in "
    "pixels, confidence; null: none found, or manifest.json has no `face_detector`), `image_base64` (JPEG)",
    "similarity_matrix": "CLIP's cosine similarities: a row an image, a column a sentence",
    "could_have_url_duplicate": "1 if the crawl has the page more than once",
}
LEDGER_FIELDS = {
    "page_url": "the page that has the link; `sha256:` and the URL's hash where it was taken down",
    "image_url": "the link; as above where it was taken down",
    "position": "its place among the page's image links, from 0",
    "document": "the key of the page's document",
    "route": "the URL template by which the image was fetched",
    "http_status": "what the server answered",
    "error": "what went wrong with fetching or decoding",
    "sha256": "of the bytes as received; they are stored as they came, or smaller and encoded again",
    "byte_size": "of the bytes as received",
    "stored_bytes": "size of the JPEG that was stored",
    "width": "pixels as received, upright",
    "height": "pixels as received, upright",
    "phash": "64-bit perceptual hash",
    "nsfw": "probability",
    "face": "probability",
    "ad": "probability of an advertisement, by CLIP",
    "best_similarity": "CLIP's highest cosine similarity to any sentence",
    "matched_similarity": "to the sentence that the image was assigned to",
    "sentence": "the sentence that the image was assigned to, from 0",
    "sentences": "number of the document's sentences",
    "stage": "the stage that dropped the link; null: it was kept",
    "reason": "why it was dropped; null: it was kept",
    "filter": "the filter that dropped it, by its key in the recipe; null: none did",
    "shard": "the file where a kept image lies",
    "key": "the document there",
}

_LOADABLE = (".tar", ".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zip")
_NUMBERS = re.compile(r"\d+(?:-(?:of-)?\d+)*")  # of a shard: 00003, 00003-of-00012, 00003-0001


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Files of a kind that are loaded together: `name` is what they are loaded by, `pattern` a glob for all of them."""

    name: str
    pattern: str
    files: tuple[WrittenFile, ...]


def file_groups(files: Iterable[WrittenFile]) -> list[FileGroup]:
    """Group the files that people load: the shards as `documents`, the ledger as `ledger`, others by their folder."""
    groups: dict[tuple[str, str], list[WrittenFile]] = {}
    for file in files:
        if file.name.endswith(_LOADABLE):
            pattern = _NUMBERS.sub("*", file.name)
            groups.setdefault((_name(file.name, pattern), pattern), []).append(file)
    return [FileGroup(name, pattern, tuple(members)) for (name, pattern), members in groups.items()]


def _name(path: str, pattern: str) -> str:
    if is_shard(path):
        return "documents"
    if is_ledger(path):
        return "ledger"
    folder, _, file = pattern.rpartition("/")
    return folder.replace("/", "-") or file.partition("*")[0].rstrip("-.") or "other"
