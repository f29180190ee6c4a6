"""Pages of published documents: keys, places, links, and rows of every kind."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.pages.page_outcome import pack
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.pages.page_sorter import PageSorter
from mmc4_pipeline.published.files import LAYOUTS, document_of_row
from mmc4_pipeline.published.layout import PublishedDocument
from mmc4_pipeline.published.pages import page_of_published
from mmc4_pipeline.recipe import LinkSettings, load_recipe
from schemas.document import RejectedDocument
from schemas.page import OutcomeKind, Page
from schemas.reasons import Stage
from tests.mmc4_pipeline.file_server import INPUTS
from tests.mmc4_pipeline.published.published_rows import MINT1T, MMC4, OBELICS, OMNICORPUS, PHOTO, URL

ROWS = {"mmc4": MMC4, "obelics": OBELICS, "omnicorpus": OMNICORPUS | {"general_metadata.url": URL}, "mint1t": MINT1T}


def sorter(*overrides: str) -> PageSorter:
    recipe = load_recipe("mmc4", overrides)
    return PageSorter(PageReader(LinkSettings()), LoadedFilters.read(recipe.of_stage(Stage.PAGES), INPUTS))


def page_of(layout: str, row: dict[str, Any], using: PageSorter) -> Page | RejectedDocument:
    return page_of_published(document_of_row(LAYOUTS[layout], row, "a.file"), "a.file:1", using)


@pytest.mark.parametrize("layout", ROWS)
def test_a_page_has_the_publisher_s_sentences_places_and_assignments(layout: str) -> None:
    page = page_of(layout, ROWS[layout], sorter())
    assert isinstance(page, Page)
    document = LAYOUTS[layout].document(ROWS[layout], "a.file")
    assert (page.url, page.site, page.sentences) == (URL, "a.example", document.sentences)
    found = [(link.url, link.after_sentence, link.published_sentence, link.published_similarity) for link in page.links]
    assert found == [(item.url, item.after_sentence, item.sentence, item.similarity) for item in document.images]
    known = [None, None] if layout == "mmc4" else [False, True]
    assert [link.inside_text for link in page.links] == known
    assert [link.reason for link in page.links] == [None, None]


def test_documents_with_other_contents_have_other_keys() -> None:
    keys = {
        page.key
        for row in (
            MINT1T,
            MINT1T | {"url": f"{URL}2"},
            MINT1T | {"texts": [None, "One.", None, "Two."]},
            MINT1T | {"images": [PHOTO, None, PHOTO, None]},
        )
        if isinstance(page := page_of("mint1t", row, sorter()), Page)
    }
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("url", "becomes", "reason"),
    [
        ("HTTP://I.example/a/../b.jpg#part", "http://i.example/b.jpg#part", None),
        ("//i.example/b.jpg", "https://i.example/b.jpg", None),
        ("https://i.example/logo.jpg", "https://i.example/logo.jpg", "url_token"),
        ("ftp://i.example/b.jpg", "ftp://i.example/b.jpg", "invalid_url"),
        ("data:image/png;base64," + "A" * 1000, ("data:image/png;base64," + "A" * 1000)[:300], "invalid_url"),
        ("", "", "invalid_url"),
    ],
)
def test_addresses_are_resolved_as_links_are_and_others_counted(url: str, becomes: str, reason: str | None) -> None:
    page = page_of("mint1t", MINT1T | {"images": [url, None], "texts": [None, "One."]}, sorter())
    assert isinstance(page, Page)
    assert [(link.url, link.reason) for link in page.links] == [(becomes, reason)]


def test_a_text_filter_drops_a_document_by_its_published_text() -> None:
    page = page_of("mmc4", MMC4, sorter("filters.sentences={min: 4}"))
    assert isinstance(page, RejectedDocument)
    assert (page.reason, page.filter, page.source) == ("too_few_sentences", "sentences", "a.file:1")


def test_a_document_without_sentences_is_dropped() -> None:
    page = page_of("mmc4", MMC4 | {"text_list": []}, sorter())
    assert isinstance(page, RejectedDocument)
    assert page.reason == "no_text"


names = st.sampled_from([*MMC4["image_info"][0], "url"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*MMC4["image_info"][0], "url"]), inner)
    ),
    max_leaves=12,
)
texts = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), max_size=4)
fields = st.sampled_from(sorted({name for row in ROWS.values() for name in row}))
USED = sorter()


@given(st.sampled_from(sorted(ROWS)), st.dictionaries(fields, values | texts | texts.map(json.dumps), max_size=4))
def test_no_row_ends_a_stage(layout: str, change: dict[str, Any]) -> None:
    page = page_of(layout, ROWS[layout] | change, USED)
    kind = OutcomeKind.REJECT if isinstance(page, RejectedDocument) else OutcomeKind.PAGE
    assert pack(bytes(16), kind, page).data
    if isinstance(page, Page):
        last = len(page.sentences) - 1
        for link in page.links:
            assert link.published_sentence is None or 0 <= link.published_sentence <= last
            assert link.after_sentence is None or -1 <= link.after_sentence <= last
    found = document_of_row(LAYOUTS[layout], ROWS[layout] | change, "a.file")
    assert isinstance(found, PublishedDocument | str)
