"""Read image links from WAT files: Common Crawl's metadata records, one JSON object for each WARC record."""

import re
from collections.abc import Iterator

from mmc4_pipeline.commoncrawl.archive import batches
from mmc4_pipeline.commoncrawl.warc_record import Record
from mmc4_pipeline.commoncrawl.wat_json import container_offset, html_images
from mmc4_pipeline.errors import PermanentReadError, UserError
from mmc4_pipeline.pages.content import PageContent, not_found, rejected
from mmc4_pipeline.pages.guard import guarded
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.pages.wat_links import WatImages, links_of_wat
from mmc4_pipeline.storage import Inputs, join
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason


def wat_filename(warc_filename: str) -> str:
    """Return the name of a WARC file's WAT file: only a folder and the extension differ."""
    return re.sub(r"/warc/([^/]+)\.warc\.gz$", r"/wat/\1.warc.wat.gz", warc_filename)


def pages_by_wat(
    inputs: Inputs, cc_root: str, warc_filename: str, locations: list[Location], reader: PageReader
) -> Iterator[PageContent | RejectedDocument]:
    """Stream a WARC file's WAT file and read the wanted records; a location without a record is dropped with a reason.

    Raises UserError if the recipe needs something that WAT records do not have.
    """
    if not has_all_for(reader):
        raise UserError(
            "--page_source wat: WAT files have only the src attribute of images, but the recipe needs other "
            "links.attributes, links.main_content or text_source: page; use --page_source warc or warc_scan"
        )
    wanted = {(str(location.offset), location.url): location for location in locations}
    offsets = {offset for offset, _ in wanted}
    lost = 0
    try:
        with inputs.open_stream(join(cc_root, wat_filename(warc_filename))) as stream:
            for batch in batches(stream):
                intact = [record for record in batch if isinstance(record, Record)]
                lost += len(batch) - len(intact)
                yield from [_page(*images) for record in intact if (images := _images(record, offsets, wanted, reader))]
    except PermanentReadError as error:
        why = f"the WAT file could not be read to its end: {error}"
    else:
        why = "the WAT file has no record for that URL at that offset"
        why += f" (the file is corrupt or truncated at {lost} place{'s' * (lost > 1)})" if lost else ""
    yield from not_found(wanted.values(), why)


def has_all_for(reader: PageReader) -> bool:
    """Return whether WAT files have everything that the reader takes from a page."""
    return set(reader.links.attributes) == {"src"} and not reader.links.main_content and reader.text_source == "c4"


def _images(
    record: Record, offsets: set[str], wanted: dict[tuple[str, str], Location], reader: PageReader
) -> tuple[Location, WatImages | RejectedDocument | None] | None:
    """Return a WAT record's location, removed from the wanted ones, and its images; None if it is not wanted."""
    try:
        offset = container_offset(record.data, record.block_start)
    except ValueError:
        return None  # its location stays wanted, and is reported at the end
    if offset not in offsets or (key := (offset, record.url)) not in wanted or record.type != "metadata":
        return None
    location = wanted.pop(key)
    return location, guarded(location, html_images, record.data, record.block_start, declarations=reader.declarations)


def _page(location: Location, images: WatImages | RejectedDocument | None) -> PageContent | RejectedDocument:
    if images is None:
        return rejected(location, Reason.NOT_HTML, "the WAT record has no HTML metadata")
    if isinstance(images, RejectedDocument):
        return images
    links = guarded(location, links_of_wat, images, location.url)
    if isinstance(links, RejectedDocument):
        return links
    return PageContent(location, links, declarations=images.declarations)
