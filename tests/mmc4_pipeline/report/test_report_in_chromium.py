"""The page as people see it: drawn, nothing beyond the edge, nothing loaded, nothing to complain of."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.report.page import write_report
from mmc4_pipeline.stage_folder import StageFolder
from schemas.reasons import Reason
from tests.chromium import Look, browsing, look
from tests.mmc4_pipeline.report.measuring import MEASURE, SIZES, assert_reads_well

pytestmark = pytest.mark.engines("chromium")

MakeDocument = Callable[..., CutDocument]
MakeDataset = Callable[..., StageFolder]
HOSTILE = "</p></article><script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>" + "W" * 3000


@pytest.fixture(scope="module")
def chromium() -> Iterator[str]:
    with browsing() as address:
        yield address


def seen(chromium: str, folder: StageFolder, size: tuple[int, int]) -> Look:
    result = look(chromium, Path(write_report(folder)), size, MEASURE)
    assert_reads_well(result, size, Path(folder.file("report.html")))
    return result


@pytest.mark.parametrize("size", SIZES)
def test_empty_dataset_says_none(size: tuple[int, int], chromium: str, make_dataset: MakeDataset) -> None:
    page = seen(chromium, make_dataset([]), size).result
    assert [figure["marks"] for figure in page["histograms"]] == [0] * 10
    assert [figure["summary"] for figure in page["histograms"]] == ["none"] * 7 + ["not scored"] * 3
    assert (page["sites"], page["pictures"], page["heat_maps"]) == (0, 0, [])


@pytest.mark.parametrize("size", SIZES)
def test_one_document_without_the_heads_scores(
    size: tuple[int, int], chromium: str, make_document: MakeDocument, make_dataset: MakeDataset
) -> None:
    page = seen(chromium, make_dataset([make_document("a" * 32, [0.3])]), size).result
    assert [figure["marks"] for figure in page["histograms"]] == [1] * 5 + [2, 1, 0, 0, 0]
    assert [figure["summary"] for figure in page["histograms"][-3:]] == ["not scored"] * 3
    assert page["sites"] > 0
    assert (len(page["heat_maps"]), page["photos"]) == (1, 1)


@pytest.mark.parametrize("size", SIZES)
def test_hostile_and_huge_values_stay_within_the_page(
    size: tuple[int, int], chromium: str, make_document: MakeDocument, make_dataset: MakeDataset
) -> None:
    documents = [
        make_document(
            f"{number:032x}",
            [0.2 + number / 100] * (1 + 7 * (number == 1)),
            sentences=[HOSTILE] * (1 + 40 * number),
            url="https://evil.example/" * (number > 0)
            + "\"onmouseover='alert(3)'><script>alert(4)</script>"
            + "x" * 5000,
            image_url="javascript:alert('5')",
            heads=(0.5, None),
            size=(5000, 8000 * (number + 1)),
            reason=Reason.DOCUMENT if number == 3 else None,
            places=[number] * 8 if number == 1 else None,
        )
        for number in range(4)
    ]
    folder = make_dataset(documents)
    note = Path(folder.file("done/00000.json"))
    changed = note.read_text().replace('"images": {', '"images": {"3": 1234567890, ')
    note.write_text(changed.replace('"evil.example"', f'"<script>alert(6)</script>{"y" * 200}"'))
    assert changed.count('"evil.example"') == 1
    folder.finish()
    page = seen(chromium, folder, size).result
    assert page["histograms"][0]["top"] == "1,500,000,000"
    assert page["scripts"] == 0
    assert len(page["heat_maps"]) == 3
    assert page["orders"] > 8  # images, once in each order
