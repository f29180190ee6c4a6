"""The report compares page order with CLIP's placement if it is known where images are on their pages."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.cut_document import CutDocument, Placed
from mmc4_pipeline.formats.openflamingo import OpenFlamingo
from mmc4_pipeline.report.orders import BothOrders, both_orders
from mmc4_pipeline.report.page import write_report
from mmc4_pipeline.report.stored_documents import first_documents
from mmc4_pipeline.stage_folder import StageFolder

MakeDocument = Callable[..., CutDocument]
MakeDataset = Callable[..., StageFolder]
SECTION = "<h2>Page order and CLIP</h2>"
SENTENCES = [f"This is number {number}." for number in range(30)]


def page_of(folder: StageFolder) -> str:
    return Path(write_report(folder)).read_text(encoding="utf-8")


def orders_of(folder: StageFolder) -> list[BothOrders]:
    notes = list(folder.notes())
    return both_orders(folder, notes, first_documents(folder, [OpenFlamingo()], notes))


def test_the_section_is_there_if_places_are(make_document: MakeDocument, make_dataset: MakeDataset) -> None:
    assert SECTION not in page_of(make_dataset([make_document("a" * 32, [0.3, 0.2])]))


def test_means_distances_and_both_orders_are_shown(make_document: MakeDocument, make_dataset: MakeDataset) -> None:
    moved = make_document("a" * 32, [0.4, 0.2], places=[19, 29], sentences=SENTENCES, image_url="https://a.example/i")
    unknown = make_document("b" * 32, [0.3, 0.1], places=[None, 0])
    folder = make_dataset([make_document("c" * 32, [0.3])], [unknown, moved])
    page = page_of(folder)
    means = re.findall(r'<th scope="row">[^<]*</th><td>(-?0\.\d{3})</td>', page[page.index(SECTION) :])
    assert means == ["-0.300", "0.233", "0.233"]  # page: (-0.5 - 0.5 + 0.1) / 3; both others: (0.4 + 0.2 + 0.1) / 3
    assert page.count('class="card orders"') == 1
    (document,) = orders_of(folder)  # the other documents have one image, or one without a place
    assert (document.images, document.moved, document.host) == (2, 2, "www.news.example")
    shown = [
        row.left_out
        or (row.text, [image.number for image in row.by_page], [image.number for image in row.by_similarity])
        for row in document.rows
    ]
    assert shown == [
        (SENTENCES[0], [], [1]),
        (SENTENCES[1], [], [2]),
        17,
        (SENTENCES[19], [], []),
        (SENTENCES[20], [1], []),
        8,
        (SENTENCES[29], [], []),
        ("", [2], []),
    ]


def test_of_many_images_only_the_first_are_shown(make_document: MakeDocument, make_dataset: MakeDataset) -> None:
    many = make_document("a" * 32, [0.3] * 8, places=list(range(8)), sentences=SENTENCES)
    (document,) = orders_of(make_dataset([many]))
    assert (document.images, document.shown) == (8, 6)
    for order in ("by_page", "by_similarity"):
        assert sorted(image.number for row in document.rows for image in getattr(row, order)) == [1, 2, 3, 4, 5, 6]


def test_the_page_drops_samples_until_it_fits(
    make_document: MakeDocument, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_dataset([make_document(f"{number:032x}", [0.3, 0.2], places=[1, 1]) for number in range(8)])
    assert page_of(folder).count('class="card orders"') == 4
    monkeypatch.setattr("mmc4_pipeline.report.page.MAX_BYTES", 1)
    page = page_of(folder)
    assert (page.count('class="card orders"'), page.count("<article"), page.count(SECTION)) == (0, 0, 1)


def test_an_image_after_the_last_sentence_is_shown_there(
    make_document: MakeDocument, make_dataset: MakeDataset
) -> None:
    document = make_document("a" * 32, [0.3], places=[29], sentences=SENTENCES)
    (placed,) = document.placed
    last = Placed(placed.image, placed.score, 29, -0.5, before=30)
    page = page_of(make_dataset([replace(document, placed=[last])]))
    article = page[page.index("<article") :]
    assert article.index(SENTENCES[29]) < article.index("<img ")
    assert "image 1, after sentence 30" in article
    assert "… 29 sentences …" in article


def test_a_ledger_of_an_earlier_version_is_left_alone(make_document: MakeDocument, make_dataset: MakeDataset) -> None:
    folder = make_dataset([make_document("a" * 32, [0.3, 0.2], places=[1, 1])])
    path = folder.file("done/00000.json")
    note = storage.read_json(path)
    del note["statistics"]["placement"]
    storage.write_json(path, note)
    folder.finish()
    Path(folder.file(note["files"][-1]["name"])).unlink()  # it has no places
    assert SECTION not in page_of(folder)
