import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.report.page import write_report
from mmc4_pipeline.stage_folder import StageFolder
from schemas.reasons import Reason

MakeDocument = Callable[..., CutDocument]
MakeDataset = Callable[..., StageFolder]


def page_of(folder: StageFolder) -> str:
    return Path(write_report(folder)).read_text(encoding="utf-8")


def test_page_shows_the_dataset_and_loads_nothing(make_document: MakeDocument, make_dataset: MakeDataset) -> None:
    page = page_of(make_dataset([make_document("a" * 32, [0.31, 0.22]), make_document("b" * 32, [0.4])]))
    assert "<title>planted: 2 documents, 3 images</title>" in page
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert page.count('src="data:image/jpeg;base64,') == page.count("<img ") == 3
    assert not re.search(r"<script|<link|<iframe|url\(|@import|\bon\w+=", page)
    for expected in (
        "http_error",
        "≥ 0.15",
        "Sentence 0 of " + "a" * 32,
        "CC-MAIN-2019-18",
        "min_images",
        "<b>0.31</b>",
    ):
        assert expected in page


def test_page_written_twice_has_the_same_bytes(make_document: MakeDocument, make_dataset: MakeDataset) -> None:
    folder = make_dataset([make_document("a" * 32, [0.31, 0.22])], [make_document("b" * 32, [0.4])])
    first = Path(write_report(folder)).read_bytes()
    assert Path(write_report(folder)).read_bytes() == first
    assert sorted(path.name for path in Path(folder.path).iterdir() if "tmp" in path.name) == []


def test_hostile_text_and_urls_are_escaped(make_document: MakeDocument, make_dataset: MakeDataset) -> None:
    hostile = "</p><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x00 {{ 7 * 7 }} &amp;"
    document = make_document(
        "a" * 32,
        [0.3],
        sentences=[hostile, hostile],
        url="https://evil.example/\"onmouseover='alert(3)'><script>",
        image_url="javascript:alert('4')",
    )
    page = page_of(make_dataset([document]))
    assert "<script" not in page
    assert "<img src=x" not in page
    assert '"onmouseover' not in page
    assert 'href="javascript' not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }} &amp;amp;" in page


@pytest.mark.parametrize("documents", [0, 2])
def test_page_of_a_dataset_without_documents(
    documents: int, make_document: MakeDocument, make_dataset: MakeDataset
) -> None:
    dropped = [make_document(f"{number:032x}", [0.1], reason=Reason.DOCUMENT) for number in range(documents)]
    page = page_of(make_dataset(dropped))
    assert "<article" not in page
    assert (
        page.count("<svg") == (1 if documents else 0) * 2
    )  # what was measured on dropped images is shown all the same
    assert "<span>none</span>" in page
    assert "<span>not scored</span>" in page


def test_page_stays_within_its_bound_by_showing_fewer_documents(
    make_document: MakeDocument, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_dataset([make_document(f"{number:032x}", [0.31, 0.22]) for number in range(12)])
    assert page_of(folder).count("<article") == 12
    bound = len(page_of(folder)) * 2 // 3
    monkeypatch.setattr("mmc4_pipeline.report.page.MAX_BYTES", bound)
    page = page_of(folder)
    assert 1 < page.count("<article") < 12
    assert len(page.encode()) <= bound


def test_dataset_of_an_earlier_version_says_what_was_not_counted(
    make_document: MakeDocument, make_dataset: MakeDataset
) -> None:
    folder = make_dataset([make_document("a" * 32, [0.31, 0.22])], [make_document("b" * 32, [0.4])])
    path = folder.file("done/00001.json")
    note = storage.read_json(path)
    note["statistics"] = {"images": note["statistics"]["images"]}
    storage.write_json(path, note)
    folder.finish()
    page = page_of(folder)
    assert len(re.findall("<span>not counted[^<]*</span>", page)) == 9
    assert "<span>2 counted, median 1</span>" in page
    assert len(re.findall("<p>Not counted[^<]*</p>", page)) == 2
    assert "<td>not counted</td>" in page


def test_broken_image_does_not_stop_the_page(make_document: MakeDocument, make_dataset: MakeDataset) -> None:
    assert 'class="broken"' in page_of(make_dataset([make_document("a" * 32, [0.3])], image=b"no picture"))


def test_long_documents_are_shortened_around_their_images(
    make_document: MakeDocument, make_dataset: MakeDataset
) -> None:
    sentences = [f"This is number {number}." for number in range(500)]
    page = page_of(make_dataset([make_document("a" * 32, [0.3, 0.2], sentences=sentences)]))
    assert "This is number 2." in page
    assert "This is number 3." not in page
    assert "… 497 sentences …" in page
    assert re.search("<p[^>]*>[^<]* 8 sentences", page)


def test_documents_of_several_images_go_first_and_no_shard_is_read_in_vain(
    make_document: MakeDocument, make_dataset: MakeDataset
) -> None:
    single = [make_document(f"{number:032x}", [0.3], url=f"https://one.example/{number}") for number in range(20)]
    several = make_document("f" * 32, [0.3, 0.2], url="https://several.example/")
    folder = make_dataset([], [*single, several], single)
    for unread in (0, 2):
        Path(folder.file(f"shard-{unread:05d}.tar")).unlink()
    page = page_of(folder)
    assert page.count("<article") == 12
    assert re.findall(r"<h3>(\w+)\.example</h3>", page)[:2] == ["several", "one"]
