"""The places of images among the sentences of a document, on planted pages."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.html_links import links_and_text
from mmc4_pipeline.pages.letters import letters
from mmc4_pipeline.pages.page import make_page
from mmc4_pipeline.pages.places import Place, find_sentences, places_of
from mmc4_pipeline.pages.text_around import MAX_LETTERS
from mmc4_pipeline.pages.wat_links import WatImage, WatImages, links_of_wat
from mmc4_pipeline.recipe import LinkSettings, load_recipe
from schemas.page import ImageLink, Page
from tests.mmc4_pipeline.pages.test_page import LOCATION

URL = "https://a.example/b.html"
FIRST, SECOND, THIRD = "The first sentence is here.", "And here is the second one.", "At last there is a third."
TEXT = f"{FIRST} {SECOND}\n{THIRD}"
IMAGE = "<img src=a.jpg>"
BODY = f"<p>{FIRST} {SECOND}</p>{{between}}<p>{THIRD}</p>"


def page_of(html: str, text: str = TEXT, settings: LinkSettings | None = None) -> list[ImageLink]:
    """Return the links of a page with that text."""
    found = links_and_text(html, URL, settings)
    page = make_page(PageContent(LOCATION, found.links, around=found.around), text, {})
    assert isinstance(page, Page)
    return page.links


def places(html: str, text: str = TEXT) -> list[tuple[int | None, bool | None]]:
    return [(link.after_sentence, link.inside_text) for link in page_of(html, text)]


BEFORE, BETWEEN, AFTER = (-1, False), (1, True), (2, False)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (IMAGE + BODY.format(between=IMAGE) + IMAGE, [BEFORE, BETWEEN, AFTER]),
        (f"<p>{IMAGE}{FIRST} {IMAGE}{SECOND}</p><p>{THIRD}{IMAGE}</p>", [BEFORE, (0, True), AFTER]),
        (f"<p>The first {IMAGE} sentence is here. {SECOND}<p>{THIRD}", [(-1, True)]),  # within a sentence
        (f"<nav>{IMAGE}Some menu.</nav>" + BODY.format(between="<hr>" + IMAGE * 3), [BEFORE, *[BETWEEN] * 3]),
        (BODY.format(between=f"<figure>{IMAGE}<figcaption>A cat.</figcaption></figure>"), [BETWEEN]),
        (BODY.format(between=f"<picture><source srcset=b.webp>{IMAGE}</picture>"), [BETWEEN]),
        (BODY.format(between=f"<img src=data:,><noscript>{IMAGE}</noscript>"), [BETWEEN]),
        (BODY.format(between=f"<table><tr>{IMAGE}</table>"), [BETWEEN]),
        (f"<title>{TEXT}</title>{IMAGE}" + BODY.format(between=""), [BEFORE]),  # only the body has places
        (f"<script>'{TEXT}'</script>{IMAGE}" + BODY.format(between=""), [BEFORE]),
        ("<p>Another text.</p>" + IMAGE, [(None, None)]),
        (f"<p>{SECOND}</p>" + IMAGE, [(1, False)]),  # the text of another visit: what is found counts
        (f"<template>{IMAGE}</template>" + BODY.format(between=IMAGE), [BETWEEN]),
        (f"{IMAGE}&#0;\0<p>{FIRST}</p>", [BEFORE]),
        (f"<frameset>{IMAGE}", []),
    ],
)
def test_places_are_where_the_images_stand(html: str, expected: list[tuple[int, bool]]) -> None:
    assert places(html) == expected


@pytest.mark.parametrize(
    ("in_page", "in_text"),
    [
        ("The&nbsp;first <b>sen</b>tence\n\t is &quot;here&quot;.", 'The first sentence is "here".'),
        ("Das sch&ouml;ne Cafe\u0301 liegt dort dr\u00fcben.", "Das sch\u00f6ne Caf\u00e9 liegt dort dru\u0308ben."),
        ("It\u2019s what I\u2010we wanted &mdash; really.", "It's what I-we wanted - really."),
        ("The city has a river.[1][citation needed] It has two.<sup>[23]</sup>", "The city has a river. It has two."),
        ("\uff26\uff55\uff4c\uff4c width and \ufb01ne ligatures.", "Full width and fine ligatures."),
        ("\u0130stanbul is a very large city.", "\u0130stanbul is a very large city."),
    ],
)
def test_spelling_does_not_hide_a_sentence(in_page: str, in_text: str) -> None:
    assert places(f"{IMAGE}<p>{in_page}</p>{IMAGE}<p>{THIRD}</p>", f"{in_text}\n{THIRD}")[0] == BEFORE
    numbers = [number for number, _ in places(f"{IMAGE}<p>{in_page}</p>{IMAGE}<p>{THIRD}</p>", f"{in_text}\n{THIRD}")]
    assert numbers[1] == (1 if "It has" in in_text else 0)


def test_a_repeated_sentence_is_the_one_beside_its_neighbours() -> None:
    teaser = f"<nav><p>{FIRST} {SECOND}</p></nav>"
    assert places(teaser + IMAGE + BODY.format(between=IMAGE) + teaser) == [BEFORE, BETWEEN]


def test_a_short_sentence_is_only_found_next_to_others() -> None:
    text = f"Yes. {FIRST} No. And an unknown one is here.\n{THIRD}"
    html = f"<p>Yesterday no bus came.</p>{IMAGE}<p>{{yes}} {FIRST}{IMAGE} No.</p>{IMAGE}<p>{THIRD}</p>"
    assert places(html.format(yes="Yes."), text) == [(-1, False), (1, True), (2, True)]
    assert places(html.format(yes="Nope."), text) == [(-1, False), (1, True), (2, True)]


def test_pages_without_text_have_no_places() -> None:
    links = links_of_wat(WatImages([WatImage("", "a.jpg")]), URL)
    page = make_page(PageContent(LOCATION, links), TEXT, {})
    assert isinstance(page, Page)
    assert [(link.after_sentence, link.inside_text) for link in page.links] == [(None, None)]


def test_images_after_the_limit_have_no_place() -> None:
    html = IMAGE + BODY.format(between=IMAGE) + "a" * MAX_LETTERS + IMAGE
    assert places(html) == [BEFORE, BETWEEN, (None, None)]


def test_every_image_of_a_figure_has_its_caption() -> None:
    figure = f"<figure><a href=c>{IMAGE}</a>{IMAGE}<figcaption> The\n <b>cap</b>tion.</figcaption></figure>"
    assert [link.caption for link in page_of(IMAGE + figure + f"<figure>{IMAGE}</figure>")] == [
        None,
        "The caption.",
        "The caption.",
        None,
    ]


def test_scripts_and_style_sheets_are_not_part_of_a_caption() -> None:
    caption = "A <style>b { color: red }</style><a href=c>cat</a>, by <script>show('Jo')</script><i>Jo</i>."
    html = f"<figure>{IMAGE}<figcaption>{caption}</figcaption></figure>" + BODY.format(between=IMAGE)
    assert [(link.caption, link.after_sentence) for link in page_of(html)] == [("A cat, by Jo.", -1), (None, 1)]


def test_captions_are_limited() -> None:
    caption = f"<figcaption>{'word ' * 300}</figcaption>"
    captions = [link.caption for link in page_of(f"<figure>{IMAGE * 3000}{caption}</figure>")]
    assert captions[0] == ("word " * 300).strip()
    assert captions[-1] is None
    assert page_of(f"<figure>{IMAGE}<figcaption>{'word ' * 3000}</figcaption></figure>")[0].caption is None


def test_noscript_copies_count_where_they_stand() -> None:
    copy = "<img data-src=a.jpg><noscript><img src=a.jpg></noscript>"
    html = copy + BODY.format(between=copy) + "<noscript><img src=b.jpg></noscript>"
    links = page_of(html, settings=load_recipe("mmc4-links").links)
    assert [(link.attribute, link.after_sentence) for link in links] == [("data-src", -1), ("data-src", 1), ("src", 2)]


words = st.text("abc", min_size=1, max_size=4)
sentences = st.lists(words, min_size=1, max_size=5).map(" ".join)


@given(st.lists(st.lists(sentences, max_size=4), max_size=5), st.text("abc ", max_size=200), st.integers(0, 9))
def test_what_is_found_is_there_and_in_order(lines: list[list[str]], noise: str, images: int) -> None:
    text = letters(noise + "".join(sentence for line in lines[::2] for sentence in line) + noise)
    spans = find_sentences(lines, text)
    flat = [letters(sentence) for line in lines for sentence in line]
    found = [(span, item) for span, item in zip(spans, flat, strict=True) if span]
    assert all(text[start:end] == item for (start, end), item in found)
    assert all(before[1] <= after[0] for (before, _), (after, _) in pairwise(found))
    around = list(text)
    for _ in range(images):
        around.insert(random.Random(len(around)).randint(0, len(around)), " ")
    numbers = [place.after_sentence for place in places_of(lines, "".join(around), images)]
    assert len(numbers) == images
    assert numbers == sorted(numbers, key=lambda number: -2 if number is None else number)


def test_all_lines_of_a_text_are_found_between_others() -> None:
    rng = random.Random(0)
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    page = [[" ".join("".join(rng.choices(alphabet, k=5)) for _ in range(6)) for _ in range(3)] for _ in range(300)]
    text = [line for line in page if rng.random() < 0.3]
    around = " ".join(letters("".join(line)) for line in page)  # an image between each two lines
    expected = [sum(len(line) for line in page[: number + 1] if line in text) - 1 for number in range(len(page) - 1)]
    assert [place.after_sentence for place in places_of(text, around, len(page) - 1)] == expected
    assert places_of([["Something that is not there."]], around, 1)[:1] == [Place()]
