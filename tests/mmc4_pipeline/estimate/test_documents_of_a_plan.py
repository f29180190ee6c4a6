"""`mmc4 plan` with files of documents: how many there are, and how little is read of them."""

import gzip
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mmc4_pipeline.estimate import whole_run
from mmc4_pipeline.estimate.corpus import Corpus
from mmc4_pipeline.estimate.estimate import Speeds
from tests.end_to_end.running import mmc4, refusal, succeeded
from tests.mmc4_pipeline.file_server import FileServer
from tests.mmc4_pipeline.hub import FOLDER, resolved, sent

GIVEN = ["--score_images_per_second", "2", "--score_sentences_per_second", "40"]  # and so are not measured
HEAD = 256 << 10  # bytes of a file that are read to count its documents
DRAW = random.Random(5)
Hub = Callable[[dict[str, bytes]], FileServer]


@pytest.fixture(autouse=True)
def _speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the measurement of this machine, which other tests cover."""
    monkeypatch.setattr(whole_run, "measure_speeds", lambda *_: Speeds(1e-3, 1e8, 1e8, 1e6, 200.0))


def c4(documents: int, **names: str) -> bytes:
    """Return a file of documents whose texts can hardly be compressed."""
    row = {name: names.get(name, name) for name in ("text", "timestamp", "url")}
    lines = (
        {row["text"]: DRAW.randbytes(600).hex(), row["timestamp"]: "2019-04-25T12:00:00Z", row["url"]: f"http://a/{n}"}
        for n in range(documents)
    )
    return gzip.compress("".join(f"{json.dumps(line)}\n" for line in lines).encode())


def documents(*arguments: str) -> int:
    """Return the number of documents that a plan is for."""
    out = succeeded(mmc4("plan", *arguments, *GIVEN)).stdout
    found = re.search(r"^- ([\d,]+) documents from", out, re.MULTILINE)
    assert found, out
    return int(found[1].replace(",", ""))


def test_the_beginning_of_one_file_tells_how_many_documents_all_files_have(hub: Hub) -> None:
    server = hub({f"{letter}.json.gz": c4(3000) for letter in "abc"})
    assert documents("--c4", f"{FOLDER}/*.json.gz") == pytest.approx(9000, rel=0.1)
    assert 0 < sent(server, "a.json.gz") <= HEAD < len(server.files[next(iter(server.files))]) / 5
    assert sent(server, "b.json.gz") == sent(server, "c.json.gz") == 0


def test_a_limit_ends_the_count(hub: Hub) -> None:
    server = hub({f"{letter}.json.gz": c4(1000) for letter in "abc"})
    assert documents("--c4", f"{FOLDER}/*.json.gz", "--limit", "1500") == 1500
    assert 0 < sent(server, "b.json.gz") <= HEAD
    assert sent(server, "c.json.gz") == 0
    assert documents("--c4", f"{FOLDER}/*.json.gz", "--limit", "100000") == pytest.approx(3000, rel=0.1)
    assert documents("--documents", "5000", "--limit", "20") == 20


def test_the_index_that_a_limited_run_would_read_is_part_of_the_estimate() -> None:
    outs = [
        succeeded(mmc4("plan", "--documents", "365000000", *more, *GIVEN)).stdout for more in ([], ["--limit", "9"])
    ]
    reads = [re.search(r"^locate +\S+ +(\S+)", out, re.MULTILINE) for out in outs]
    assert [read and read[1][-2:] for read in reads] == ["GB", "MB"]  # with the documents' own bytes


def test_other_names_of_fields_are_given_as_for_a_build(hub: Hub) -> None:
    hub({"a.json.gz": c4(30, text="content")})
    assert "'text'" in refusal(mmc4("plan", "--c4", f"{FOLDER}/a.json.gz", *GIVEN))
    assert documents("--c4", f"{FOLDER}/a.json.gz", "--c4_fields", "text=content") == 30


def test_files_without_documents_and_impossible_limits_are_refused(hub: Hub) -> None:
    hub({"a.json.gz": gzip.compress(b"")})
    assert "--c4" in refusal(mmc4("plan", "--c4", f"{FOLDER}/a.json.gz", *GIVEN))
    assert "--limit" in refusal(mmc4("plan", "--documents", "5", "--limit", "0", *GIVEN))


def published(number: int, images: int) -> bytes:
    """Return MMC4's lines: every second document has images, and 4 sentences."""
    lines = (
        {
            "url": f"https://a.example/{n}",
            "text_list": [f"{DRAW.randbytes(300).hex()} {sentence}." for sentence in range(4)],
            "image_info": [{"raw_url": f"https://i.example/{n}-{i}.jpg"} for i in range(images if n % 2 else 0)] * 2,
        }
        for n in range(number)
    )
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("docs.jsonl", content)
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "packed"), [("jsonl", bytes), ("jsonl.gz", gzip.compress), ("jsonl.zip", zipped)])
def test_a_published_dataset_is_counted_by_the_beginning_of_one_file(
    hub: Hub, name: str, packed: Callable[[bytes], bytes]
) -> None:
    server = hub({f"{letter}.{name}": packed(published(3000, 6)) for letter in "abc"})
    run = ("plan", "--published", f"{FOLDER}/*.{name}", "--workers", "2", "--gpus", "0", *GIVEN)
    out = succeeded(mmc4(*run)).stdout
    found = re.search(r"^- ([\d,]+) documents in the layout mmc4 in 3 files", out, re.MULTILINE)
    assert found, out
    documents = int(found[1].replace(",", ""))
    assert documents == pytest.approx(9000, rel=0.15)
    assert sent(server, f"a.{name}") < len(server.files[resolved(f"a.{name}")]) / 2
    assert "3 image links per document" in out
    assert "50% have images" in " ".join(out.split())
    assert [match[1] for match in re.finditer(r"^(\w+) .*\$", out, re.MULTILINE) if match[1] != "or"][:5] == [
        *("pages", "images", "score", "cut", "total")
    ]
    score = re.search(r"^score +\S+ +\S+ +\S+ +\S+ +([\d.]+)", out, re.MULTILINE)
    corpus = Corpus(documents, links_per_document=3, with_images=0.5, sentences_per_document=4, scored_share=1.0)
    hours = (corpus.scored / 2 + corpus.sentences / 40) / 3600
    assert score
    assert float(score[1]) == pytest.approx(hours, rel=0.06)
    assert "9 documents" in succeeded(mmc4(*run, "--limit", "9")).stdout


def test_a_published_dataset_without_usable_images_or_with_a_crawl_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(published(9, 0))
    assert "a.jsonl" in refusal(mmc4("plan", "--published", str(path), *GIVEN))
    path.write_bytes(published(9, 1))
    assert "--crawl" in refusal(mmc4("plan", "--published", str(path), "--crawl", "CC-MAIN-2019-18", *GIVEN))
    path.write_bytes(b"")
    assert "--published" in refusal(mmc4("plan", "--published", str(path), *GIVEN))
