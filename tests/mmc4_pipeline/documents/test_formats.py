"""Corpora with layouts of their own: rows as their dataset cards describe them, and what is read of them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from mmc4_pipeline.documents.choosing import inspect
from mmc4_pipeline.documents.fields import FORMATS, DocumentFields, parse_fields
from mmc4_pipeline.documents.reading import read_documents, read_references
from mmc4_pipeline.errors import UserError
from schemas.document import Document, DocumentReference
from tests.mmc4_pipeline.file_server import INPUTS

URL, TEXT = "http://a.example/page", "A text.\nTwo lines."
MOMENT = datetime(2014, 3, 13, 14, 49, 13, tzinfo=UTC)
SECONDS = MOMENT.replace(tzinfo=None)
WARC = "crawl-data/CC-MAIN-2014-10/segments/1394678683400/warc/CC-MAIN-20140313024443-00061-ip-10-183-142-35.warc.gz"
FINEWEB = {
    "text": TEXT,
    "id": "<urn:uuid:a57efb1b-c977-4b38-8f2a-4aefb27e00ac>",
    "dump": "CC-MAIN-2014-10",
    "url": URL,
    "date": "2014-03-13T14:49:13Z",
    "file_path": f"s3://commoncrawl/{WARC}",
    "language": "en",
    "language_score": 0.93,
}
ROWS: dict[str, dict[str, Any]] = {
    "c4": {"text": TEXT, "timestamp": "2014-03-13T14:49:13Z", "url": URL},
    "fineweb": FINEWEB | {"token_count": 7},
    "fineweb2": FINEWEB | {"language_script": "Latn", "minhash_cluster_size": 1, "top_langs": "{}"},
    "dclm": {
        "bff_contained_ngram_count_before_dedupe": 20,
        "language_id_whole_page_fasttext": {"en": 0.93},
        "metadata": {
            "Content-Length": "61769",
            "Content-Type": "application/http; msgtype=response",
            "WARC-Date": "2014-03-13T14:49:13Z",
            "WARC-Identified-Payload-Type": None,
            "WARC-Target-URI": URL,
            "WARC-Type": "response",
        },
        "previous_word_count": 4,
        "text": TEXT,
        "url": URL,
        "warcinfo": "robots: classic\r\nhostname: ip-10-183-142-35.ec2.internal\r\nsoftware: Nutch 1.6 (CC)\r\n"
        "isPartOf: CC-MAIN-2014-10\r\noperator: CommonCrawl Admin\r\nformat: WARC File Format 1.0\r\n",
        "fasttext_openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train_prob": 0.08,
    },
    "refinedweb": {
        "content": TEXT,
        "url": URL,
        "timestamp": "2014-03-13T14:49:13Z",
        "dump": "CC-MAIN-2014-10",
        "segment": "1394678683400",
        "image_urls": [["http://a.example/i.jpg", "an image"]],
    },
}
# Columns that are times in the Parquet files.
TIMES: dict[str, dict[str, Any]] = {
    "dclm": {"metadata": ROWS["dclm"]["metadata"] | {"WARC-Date": SECONDS}},
    "refinedweb": {"timestamp": SECONDS},
}


def written(path: Path, rows: list[dict[str, Any]], name: str) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([row | TIMES.get(name, {}) for row in rows]), path)
    else:
        path.write_bytes(zstandard.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))
    return str(path)


def test_every_format_has_a_layout_here() -> None:
    assert set(ROWS) == set(FORMATS)


@pytest.mark.parametrize("ending", ["jsonl.zst", "parquet"])
@pytest.mark.parametrize("name", FORMATS)
def test_documents_of_a_corpus_are_read_with_their_crawl_and_warc_file(tmp_path: Path, name: str, ending: str) -> None:
    path = written(tmp_path / f"a.{ending}", [ROWS[name]] * 3, name)
    assert inspect(INPUTS, path, FORMATS[name])[1] == 3
    documents = [document for _, document in read_documents(INPUTS, path, FORMATS[name])]
    assert [(item.url, item.timestamp, item.text) for item in documents if isinstance(item, Document)] == [
        (URL, MOMENT, TEXT)
    ] * 3
    references = [found for _, found in read_references(INPUTS, path, FORMATS[name])]
    crawl, warc = "" if name == "c4" else "CC-MAIN-2014-10", WARC if name.startswith("fineweb") else ""
    assert [(item.crawl, item.warc) for item in references if isinstance(item, DocumentReference)] == [
        (crawl, warc)
    ] * 3
    assert [item.key for item in references] == [getattr(item, "key", None) for item in documents]


@pytest.mark.parametrize("ending", ["jsonl.zst", "parquet"])
@pytest.mark.parametrize(("given", "other"), [("c4", "fineweb"), ("fineweb", "dclm"), ("dclm", "refinedweb")])
def test_a_file_of_another_layout_is_refused_with_its_fields_and_its_format(
    tmp_path: Path, given: str, other: str, ending: str
) -> None:
    path = written(tmp_path / f"a.{ending}", [ROWS[other]], other)
    with pytest.raises(UserError) as caught:
        inspect(INPUTS, path, FORMATS[given])
    found = str(caught.value)
    assert f"found: {', '.join(ROWS[other])}" in found
    assert f"--documents_format {other}" in found
    assert "--c4_fields" in found


@pytest.mark.parametrize(
    ("value", "crawl"),
    [(None, ""), ("", ""), ("CC-MAIN-20140313", ""), ("CC-MAIN-2009-2010", "CC-MAIN-2009-2010"), ("my dump", "")],
)
def test_a_crawl_that_is_not_named_is_not_known(tmp_path: Path, value: str | None, crawl: str) -> None:
    row = ROWS["refinedweb"] | {"dump": value}
    path = written(tmp_path / "a.jsonl.zst", [ROWS["refinedweb"], row], "refinedweb")
    _, (_, found) = read_references(INPUTS, path, FORMATS["refinedweb"])
    assert isinstance(found, DocumentReference)
    assert (found.crawl, found.warc) == (crawl, "")


def test_the_crawl_is_known_from_the_warc_file(tmp_path: Path) -> None:
    fields = parse_fields(["warc=file_path", "timestamp=date"])
    assert fields == DocumentFields(timestamp="date", warc="file_path")
    path = written(tmp_path / "a.parquet", [ROWS["fineweb"]], "fineweb")
    ((_, found),) = read_references(INPUTS, path, fields)
    assert isinstance(found, DocumentReference)
    assert (found.crawl, found.warc) == ("CC-MAIN-2014-10", WARC)


def test_fields_are_changed_on_top_of_a_format() -> None:
    assert parse_fields(["text=markdown"], FORMATS["fineweb"]) == DocumentFields(
        text="markdown", timestamp="date", crawl="dump", warc="file_path"
    )
