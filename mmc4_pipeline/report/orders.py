"""Shows documents in two orders side by side: with each image where its page has it, and where CLIP places it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.assignment import assign, sentence_after
from mmc4_pipeline.report.stored_documents import StoredDocument
from mmc4_pipeline.report.thumbnails import Thumbnail
from mmc4_pipeline.report.web_text import host_of, safe_link, shortened
from mmc4_pipeline.stage_folder import StageFolder
from schemas.manifest import ShardNote

_WANTED = 4  # documents
_MAX_IMAGES = 6  # shown of one document
_MAX_SIDE = 160  # pixels of a shown image
_MAX_TEXT = 240  # characters of one sentence
_COLUMNS = ["document", "image_url", "position", "after_sentence"]  # of the ledger
Place = tuple[int, int]  # of an image: the number of sentences before it on its page, and its position
Places = dict[tuple[str, str], list[Place]]  # by document and URL; a page may have an image twice


@dataclass(frozen=True, slots=True)
class OrderedImage:
    """A small copy of an image with its number on the page, from 1, and its similarity to the sentence next to it."""

    number: int
    similarity: float
    thumbnail: Thumbnail


@dataclass(frozen=True, slots=True)
class OrderedRow:
    """A sentence with the images directly before it in both orders, or a gap of `left_out` sentences.

    The last row may have images without a sentence: they stand after the last one.
    """

    text: str
    by_page: Sequence[OrderedImage] = ()
    by_similarity: Sequence[OrderedImage] = ()
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class BothOrders:
    """A document in both orders. `link` is empty if its URL is not safe.

    CLIP gives another sentence to `moved` of its `images`; the first `shown` of them are in the rows.
    """

    link: str
    host: str
    images: int
    shown: int
    moved: int
    rows: list[OrderedRow]


def both_orders(
    folder: StageFolder, notes: Iterable[ShardNote], documents: Sequence[StoredDocument]
) -> list[BothOrders]:
    """Return some of the documents in both orders: with several images, all of whose places are known.

    Documents whose orders differ come first. The places are read from the ledgers of the first shards.
    """
    several = [stored for stored in documents if len(stored.document.image_info) > 1 and stored.key]
    places = _places(folder, notes, {stored.key for stored in several if stored.key})
    shown = [orders for stored in several if (orders := _both_orders(stored, places)) is not None]
    return sorted(shown, key=lambda orders: orders.moved == 0)[:_WANTED]


def _places(folder: StageFolder, notes: Iterable[ShardNote], keys: set[str]) -> Places:
    """Read the known places of the kept images of documents, until all the documents are found."""
    places: Places = {}
    missing = set(keys)
    for note in notes:
        if not missing:
            break
        for file in (file for file in note.files if file.name.startswith("ledger/")):
            with storage.open_read(folder.file(file.name)) as stream:
                rows = pq.read_table(stream, columns=_COLUMNS, filters=_kept(keys)).to_pylist()
            for row in rows:
                missing.discard(row["document"])
                if row["after_sentence"] is not None:
                    place = (row["after_sentence"] + 1, row["position"])
                    places.setdefault((row["document"], row["image_url"]), []).append(place)
    return places


def _kept(keys: set[str]) -> pc.Expression:
    return pc.field("document").isin(sorted(keys)) & pc.field("reason").is_null()


def _both_orders(stored: StoredDocument, places: Places) -> BothOrders | None:
    document = stored.document
    of_url = {info.raw_url: iter(places.get((stored.key or "", info.raw_url), ())) for info in document.image_info}
    known = [place for info in document.image_info if (place := next(of_url[info.raw_url], None)) is not None]
    if len(known) < len(document.image_info):
        return None
    sentences, matrix = len(document.text_list), document.similarity_matrix
    by_page = [sentence_after(gap, sentences) for gap, _ in known]
    by_similarity = assign(matrix).tolist()
    left: dict[int, list[OrderedImage]] = {}
    right: dict[int, list[OrderedImage]] = {}
    in_order = sorted(range(len(known)), key=lambda image: known[image])[:_MAX_IMAGES]
    for number, image in enumerate(in_order, start=1):
        small = stored.small_copy(image, _MAX_SIDE)
        page, similar = by_page[image], by_similarity[image]
        left.setdefault(known[image][0], []).append(OrderedImage(number, matrix[image][page], small))
        right.setdefault(similar, []).append(OrderedImage(number, matrix[image][similar], small))
    return BothOrders(
        link=safe_link(document.url),
        host=host_of(document.url),
        images=len(known),
        shown=len(in_order),
        moved=sum(page != similar for page, similar in zip(by_page, by_similarity, strict=True)),
        rows=list(_rows(document.text_list, left, right)),
    )


def _rows(
    sentences: Sequence[str], left: Mapping[int, list[OrderedImage]], right: Mapping[int, list[OrderedImage]]
) -> Iterator[OrderedRow]:
    """Yield the sentences with images and those before them, a gap for others, and what is after the last one."""
    near = {place + step for place in [*left, *right] for step in (-1, 0)}
    gap = 0
    for number, sentence in enumerate([*sentences, ""]):
        if number not in near:
            gap += number < len(sentences)
            continue
        if gap:
            yield OrderedRow("", left_out=gap)
            gap = 0
        yield OrderedRow(shortened(sentence, _MAX_TEXT), left.get(number, ()), right.get(number, ()))
    if gap:
        yield OrderedRow("", left_out=gap)
