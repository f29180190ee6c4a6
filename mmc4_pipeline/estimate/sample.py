"""Makes the samples that speeds are measured on: a WARC file, its WAT file, an index and a JPEG, of realistic sizes."""

import io
import random
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from mmc4_pipeline.commoncrawl.by_wat import wat_filename
from mmc4_pipeline.naming import document_key, site_of
from schemas.capture import Location

_FILE = "crawl-data/sample/segments/1/warc/sample.warc.gz"
_MOMENT = datetime(2019, 4, 25, 12, 0, 0, tzinfo=UTC)
_SYLLABLES = ("ba", "co", "di", "fe", "gu", "ha", "jo", "ki", "lu", "me", "no", "pi", "qua", "ro", "se", "ti", "ve")
# The crawl's means per page: 25 KB in WARC files, 87 KB when unpacked, 8 KB in WAT files.
_LINKS, _IMAGES, _PARAGRAPHS, _CALLS = 220, 25, 55, 600
_SITE_ROWS, _FOLDERS = 50, 2000  # of the index
_CONTRAST = 2.0  # of the picture: how much neighbouring areas differ, in grey levels


def write_sample(folder: Path, pages: int) -> list[Location]:
    """Write both files in Common Crawl's layout below the folder, and return the pages' locations."""
    rng = random.Random(0)
    warc, wat = folder / _FILE, folder / wat_filename(_FILE)
    for path in (warc, wat):
        path.parent.mkdir(parents=True)
    locations = []
    with warc.open("wb") as pages_out, wat.open("wb") as metadata_out:
        for number in range(pages):
            url = f"https://site-{number}.example/{_words(rng, 3).replace(' ', '-')}.html"
            links = [f"/{_words(rng, 4).replace(' ', '/')}" for _ in range(_LINKS)]
            images = [f"/media/{_words(rng, 3).replace(' ', '/')}.jpg" for _ in range(_IMAGES)]
            offset = pages_out.tell()
            _write(pages_out, url, "response", _html(rng, links, images))
            length = pages_out.tell() - offset
            _write(metadata_out, url, "metadata", _metadata(rng, offset, links, images))
            key = document_key(url, _MOMENT)
            locations.append(
                Location(
                    key=key,
                    url=url,
                    timestamp=_MOMENT,
                    site=site_of(url),
                    source="sample",
                    fetch_time=_MOMENT,
                    warc_filename=_FILE,
                    offset=offset,
                    length=length,
                    could_have_url_duplicate=False,
                )
            )
    return locations


def write_index(folder: Path, rows: int) -> tuple[str, pa.Array]:
    """Write one file of a columnar index, with one row group. Return its path and the URLs in it."""
    rng, numbers = random.Random(0), np.random.default_rng(0)
    sites = [f"https://www.{_words(rng, 2).replace(' ', '')}.example" for _ in range(rows // _SITE_ROWS)]
    folders = [_words(rng, 3).replace(" ", "-") for _ in range(_FOLDERS)]
    places = zip(rng.choices(sites, k=rows), rng.choices(folders, k=rows), strict=True)
    urls = pa.array([f"{site}/{name}/{number}.html" for number, (site, name) in enumerate(places)])
    moments = int(_MOMENT.timestamp() * 1000) + numbers.integers(10**9, size=rows)
    columns = {
        "url": urls,
        "fetch_time": pa.array(moments, pa.timestamp("ms", tz="UTC")),
        "warc_filename": [
            _FILE.replace("sample.", f"sample-{file:05d}.") for file in numbers.integers(56_000, size=rows)
        ],
        "warc_record_offset": numbers.integers(10**9, size=rows),
        "warc_record_length": numbers.integers(10**5, size=rows),
    }
    path = str(folder / "index.parquet")
    pq.write_table(pa.table(columns), path, compression="gzip", compression_level=6)  # like Common Crawl's
    return path, urls


def make_picture() -> bytes:
    """Return a JPEG of 1000 x 750 pixels and about 86 kB, with detail at every scale, as photographs have."""
    numbers = np.random.default_rng(0)
    pixels = np.zeros((750, 1000, 3))
    for step in (3, 10, 40, 150):
        coarse = numbers.normal(scale=_CONTRAST * step**0.5, size=(750 // step + 2, 1000 // step + 2, 3))
        pixels += cv2.resize(coarse, (1000, 750), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(pixels + 128, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1])


def _words(rng: random.Random, number: int) -> str:
    return " ".join("".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(number))


def _write(out: io.BufferedWriter, url: str, kind: str, payload: bytes) -> None:
    headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
    writer = WARCWriter(out, gzip=True)
    http = headers if kind == "response" else None
    writer.write_record(writer.create_warc_record(url, kind, io.BytesIO(payload), len(payload), http_headers=http))


def _html(rng: random.Random, links: list[str], images: list[str]) -> bytes:
    script = "".join(f"window.dataLayer.push({{'{_words(rng, 1)}':{rng.random()}}});" for _ in range(_CALLS))
    menu = "".join(f'<li class="menu-item menu-item-page"><a href="{link}">{_words(rng, 3)}</a></li>' for link in links)
    blocks = [f'<p class="has-text">{_words(rng, 90)}.</p>' for _ in range(_PARAGRAPHS)]
    blocks += [f'<figure class="image"><img src="{url}" alt="{_words(rng, 5)}" width="640"></figure>' for url in images]
    rng.shuffle(blocks)
    head = f"<head><title>{_words(rng, 6)}</title><script>{script}</script></head>"
    return f"<!DOCTYPE html><html>{head}<body><ul>{menu}</ul>{''.join(blocks)}</body></html>".encode()


def _metadata(rng: random.Random, offset: int, links: list[str], images: list[str]) -> bytes:
    found = [{"path": "A@/href", "url": link, "text": _words(rng, 3)} for link in links]
    found += [{"path": "IMG@/src", "url": image, "alt": _words(rng, 5)} for image in images]
    html = {
        "Head": {"Title": _words(rng, 6), "Metas": [{"name": "description", "content": _words(rng, 30)}]},
        "Links": found,
    }
    payload = {"HTTP-Response-Metadata": {"Headers": {"Content-Type": "text/html"}, "HTML-Metadata": html}}
    envelope = {"Format": "WARC", "WARC-Header-Metadata": {"WARC-Type": "response"}, "Payload-Metadata": payload}
    return orjson.dumps({"Container": {"Compressed": True, "Offset": str(offset)}, "Envelope": envelope})
