"""OpenFlamingo shards: as webdataset and MMC4's users read them."""

import base64
import io
import tarfile
from pathlib import Path

import pytest
import webdataset

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.dataset.cut import cut_shard
from mmc4_pipeline.dataset.write_shards import write_shard
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.openflamingo import OpenFlamingo, read_shard
from mmc4_pipeline.naming import image_name
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.stage_folder import StageFolder
from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Stage
from schemas.score import DocumentScores, ImageScore
from tests.pages import new_page

FACES = [[], [[10.0, 20.5, 30.0, 40.0, 0.9731]]]  # of each document's images


def documents(number: int = 3) -> list[CutDocument]:
    """Return some documents, of which the second was dropped."""
    pages, images, scores = [], [], []
    for item in range(number):
        key = f"{item:032x}"
        links = [ImageLink(at, f"https://a.example/{item}/{at}.jpg", "", None, None) for at in range(2)]
        texts = ["Größe “zählt”.", "Two.", "日本。"]
        pages.append(new_page(key, texts, links, url=f"https://a.example/{item}", could_have_url_duplicate=item == 2))
        images += [
            Image(key, at, links[at].url, width=300, height=300, phash=-at % 2**64, face_detections=FACES[at])
            for at in range(2)
        ]
        worst = 0.0 if item == 1 else 0.4
        rows = [
            ImageScore(at, {"similarity": [0.1, worst + at / 10, 0.123456789 * (item != 1)], "nsfw": 0.0})
            for at in range(2)
        ]
        scores.append(DocumentScores(key, rows))
    return list(cut_shard(pages, images, scores, load_recipe("mmc4")))


def read_image(image: Image) -> bytes:
    return b"\xff\xd8" + image.url.encode()


def write(folder: Path, made: list[CutDocument]) -> Path:
    """Write the kept documents as shard 0 of a dataset and return its path."""
    kept = [document for document in made if document.reason is None]
    (file,) = write_shard(StageFolder(str(folder), Stage.CUT), [OpenFlamingo()], 0, 1, kept, read_image)
    assert file.bytes == (folder / file.name).stat().st_size
    return folder / file.name


def read(path: Path) -> dict[str, dict[str, object]]:
    with path.open("rb") as stream:
        return dict(read_shard(stream, str(path)))  # type: ignore[arg-type]


def test_what_was_written_comes_back_with_mmc4s_fields(tmp_path: Path) -> None:
    back = read(write(tmp_path, documents()))
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
    path = write(tmp_path, documents())
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == [f"{0:032x}", f"{2:032x}"]
    for sample in samples:
        data = base64.b64decode(sample["json"]["image_info"][0]["image_base64"])
        assert data == b"\xff\xd8" + sample["json"]["image_info"][0]["raw_url"].encode()


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, documents()) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}


def test_a_shard_without_documents_is_a_shard(tmp_path: Path) -> None:
    assert read(write(tmp_path, [])) == {}


def test_a_truncated_shard_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, documents(8))
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\x00"))
    for length in [*range(0, end, 512), *range(100, end, 512), end]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=path.name):
            read(path)


def test_a_broken_header_between_documents_does_not_end_the_shard_quietly(tmp_path: Path) -> None:
    path = write(tmp_path, documents(8))
    with tarfile.open(path) as tar:
        header = tar.getmembers()[3].offset
    damaged = bytearray(path.read_bytes())
    damaged[header + 150] ^= 1  # in the header's checksum
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=path.name):
        read(path)


def test_a_tar_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("a.json")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"{{{"))
    with pytest.raises(UserError, match=path.name):
        read(path)
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(UserError, match=path.name):
        read(path)
