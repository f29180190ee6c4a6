"""Measures how fast one core of this machine reads pages from each source and the index, and decodes images."""

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from mmc4_pipeline import storage
from mmc4_pipeline.commoncrawl.by_range import pages_by_range
from mmc4_pipeline.commoncrawl.by_scan import pages_by_scan
from mmc4_pipeline.commoncrawl.by_wat import pages_by_wat, wat_filename
from mmc4_pipeline.commoncrawl.index import read_captures
from mmc4_pipeline.commoncrawl.wanted import BloomFilter, WantedUrls, hashes_of
from mmc4_pipeline.estimate.estimate import Speeds
from mmc4_pipeline.estimate.sample import make_picture, write_index, write_sample
from mmc4_pipeline.images.decoding.decode import decode
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.recipe import ImageSettings, LinkSettings
from mmc4_pipeline.storage import HttpSettings, Inputs

_PAGES = 60
_ROWS, _FALSE_ROWS = 100_000, 0.01  # of the index, and the rate of false positives of its filter
_WANTED = 7  # every seventh page is wanted in a scan: C4 has about 15% of its crawl's pages
_PICTURES = 10
_ROUNDS = 3


def measure_speeds(reader: PageReader, images: ImageSettings) -> Speeds:
    """Read a generated sample from each page source and an index, and decode a picture. Takes a few seconds.

    `reader` parses the pages, and `images` says how images are stored.
    """
    with tempfile.TemporaryDirectory() as folder:
        locations = write_sample(Path(folder), _PAGES)
        index, urls = write_index(Path(folder), _ROWS)
        wanted = WantedUrls({0: BloomFilter.of(hashes_of(urls[::_WANTED]), _FALSE_ROWS)}, 1)
        warc = locations[0].warc_filename
        few = locations[::_WANTED]
        sizes = [storage.size(storage.join(folder, name)) for name in (warc, wat_filename(warc))]
        inputs = Inputs(HttpSettings())
        plain = PageReader(LinkSettings())  # WAT files only have plain links
        picture = make_picture()
        return Speeds(
            range_seconds_per_page=_seconds(lambda: pages_by_range(inputs, folder, warc, locations, reader)) / _PAGES,
            wat_bytes_per_second=sizes[1] / _seconds(lambda: pages_by_wat(inputs, folder, warc, few, plain)),
            warc_bytes_per_second=sizes[0] / _seconds(lambda: pages_by_scan(inputs, folder, warc, few, reader)),
            index_rows_per_second=_ROWS / _seconds(lambda: read_captures(inputs, index, 0, wanted)),
            images_decoded_per_second=_PICTURES / _seconds(lambda: (decode(picture, images) for _ in range(_PICTURES))),
        )


def _seconds(read: Callable[[], Iterable[object]]) -> float:
    """Return the seconds of processor time that reading takes."""
    taken = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        for _ in read():
            pass
        taken.append(time.process_time() - start)
    return median(taken)
