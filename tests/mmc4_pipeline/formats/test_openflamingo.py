"""OpenFlamingo shards: as webdataset and MMC4's users read them."""

import base64
import io
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
import webdataset

from mmc4_pipeline.dataset.cut import CutDocument, cut_shard
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.openflamingo import read_shard, write_shard
from mmc4_pipeline.naming import image_name
from mmc4_pipeline.recipe import load_recipe
from schemas.image import Image
from schemas.page import ImageLink, Page
from schemas.reasons import Reason
from schemas.score import DocumentScores, ImageScore

MOMENT = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)


FACES = [[], [[10.0, 20.5, 30.0, 40.0, 0.9731]]]  # of each document's images


def documents(number: int = 3) -> list[CutDocument]:
    """Give some documents, of which the second did not make it."""
    pages, images, scores = [], [], []
    for item in range(number):
        key = f"{item:032x}"
        links = [ImageLink(at, f"https://a.example/{item}/{at}.jpg", "", None, None) for at in range(2)]
        texts = ["Größe “zählt”.", "Two.", "日本。"]
        pages.append(Page(key, f"https://a.example/{item}", "a.example", MOMENT, item == 2, texts, links))
        images += [
            Image(key, at, links[at].url, width=300, height=300, phash=-at % 2**64, face_detections=FACES[at])
            for at in range(2)
        ]
        worst = 0.0 if item == 1 else 0.4
        rows = [ImageScore(at, [0.1, worst + at / 10, 0.123456789 * (item != 1)], nsfw=0.0) for at in range(2)]
        scores.append(DocumentScores(key, rows))
    return list(cut_shard(pages, images, scores, load_recipe("mmc4")))


def read(image: Image) -> bytes:
    return b"\xff\xd8" + image.url.encode()


def shard(path: Path) -> dict[str, dict[str, object]]:
    with path.open("rb") as stream:
        return dict(read_shard(stream, str(path)))  # type: ignore[arg-type]


def test_what_was_written_comes_back_with_mmc4s_fields(tmp_path: Path) -> None:
    written = write_shard(str(tmp_path / "a.tar"), documents(), read)
    assert written.bytes == (tmp_path / "a.tar").stat().st_size
    back = shard(tmp_path / "a.tar")
    assert list(back) == [f"{0:032x}", f"{2:032x}"]
    assert back[f"{2:032x}"]["could_have_url_duplicate"] == 1
    document = back[f"{0:032x}"]
    assert document == {
        "url": "https://a.example/0",
        "text_list": ["Größe “zählt”.", "Two.", "日本。"],
        "image_info": [
            {
                "image_name": image_name(f"https://a.example/0/{at}.jpg"),
                "raw_url": f"https://a.example/0/{at}.jpg",
                "matched_text_index": sentence,
                "matched_sim": similarity,
                "face_detections": FACES[at] or None,
                "image_base64": base64.b64encode(b"\xff\xd8" + f"https://a.example/0/{at}.jpg".encode()).decode(),
            }
            for at, sentence, similarity in ((1, 1, 0.5), (0, 2, 0.123457))
        ],
        "similarity_matrix": [[0.1, 0.5, 0.123457], [0.1, 0.4, 0.123457]],
        "could_have_url_duplicate": 0,
    }


def test_webdataset_reads_it(tmp_path: Path) -> None:
    write_shard(str(tmp_path / "a.tar"), documents(), read)
    samples = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == [f"{0:032x}", f"{2:032x}"]
    for sample in samples:
        data = base64.b64decode(sample["json"]["image_info"][0]["image_base64"])
        assert data == b"\xff\xd8" + sample["json"]["image_info"][0]["raw_url"].encode()


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_shard(str(tmp_path / "a.tar"), documents(), read)
    second = write_shard(str(tmp_path / "b.tar"), documents(), read)
    assert first.sha256 == second.sha256
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}


def test_a_shard_without_documents_is_a_shard(tmp_path: Path) -> None:
    dropped = [item for item in documents() if item.reason is Reason.DOCUMENT]
    assert len(dropped) == 1
    write_shard(str(tmp_path / "a.tar"), dropped, read)
    assert shard(tmp_path / "a.tar") == {}


def test_no_cut_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_shard(str(path), documents(8), read)
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\x00"))
    for length in [*range(0, end, 512), *range(100, end, 512), end]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"a\.tar: not readable as a shard"):
            shard(path)


def test_a_broken_header_between_documents_does_not_end_the_shard_quietly(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_shard(str(path), documents(8), read)
    with tarfile.open(path) as tar:
        header = tar.getmembers()[3].offset
    damaged = bytearray(path.read_bytes())
    damaged[header + 150] ^= 1  # in the header's checksum
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"a\.tar: not readable as a shard"):
        shard(path)


def test_a_tar_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("a.json")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"{{{"))
    with pytest.raises(UserError, match=r"a\.tar: not readable as a shard"):
        shard(path)
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(UserError, match=r"a\.tar: not readable as a shard"):
        shard(path)
