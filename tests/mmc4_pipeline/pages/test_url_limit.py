"""Pages whose short links all resolve to long URLs: memory is bounded, and links beyond the limit are counted drops."""

import tracemalloc
from collections.abc import Callable

import pytest

from mmc4_pipeline.apply_filters import apply_link_filters
from mmc4_pipeline.pages.links import MAX_URL_CHARACTERS
from mmc4_pipeline.pages.wat_links import WatImage, WatImages, links_of_wat
from mmc4_pipeline.recipe import load_recipe
from schemas.page import ImageLink
from schemas.reasons import Reason
from tests.pages import links_of_html

PAGE = "https://a.example/"
FULLER = load_recipe("mmc4-links").links
LONG = "https://b.example/" + "b" * 100_000 + "/"
COUNT = 1000


def by_src() -> list[ImageLink]:
    return links_of_html(f"<base href='{LONG}'>" + "<img src=a>" * COUNT, PAGE)


def by_attributes() -> list[ImageLink]:
    return links_of_html(f"<base href='{LONG}'>" + "<img srcset='a.jpg 1x, b.jpg 2x'>" * COUNT, PAGE, FULLER)


def by_noscript() -> list[ImageLink]:
    images = "".join(f"<img src={number}.jpg>" for number in range(COUNT))
    return links_of_html(f"<base href='{LONG}'>{images}<noscript><img src=a.jpg></noscript>", PAGE, FULLER)


def by_targets() -> list[ImageLink]:
    return links_of_html(f"<base href='{LONG}'><a href=c>" + "<img src=http://a.example/a>" * COUNT, PAGE)


def by_wat() -> list[ImageLink]:
    return links_of_wat(WatImages([WatImage("", "a")] * COUNT, LONG), PAGE)


@pytest.mark.parametrize("read", [by_src, by_attributes, by_noscript, by_targets, by_wat])
def test_links_beyond_the_limit_are_dropped_with_a_reason(read: Callable[[], list[ImageLink]]) -> None:
    tracemalloc.start()
    links = read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(links) in (COUNT, COUNT + 1)
    assert [link.position for link in links] == list(range(len(links)))
    kept = [link for link in links if link.reason is None]
    dropped = [link for link in links if link.reason == Reason.TOO_MANY_URLS]
    assert links == kept + dropped
    assert 0 < sum(len(link.url) + len(link.leads_to or "") for link in kept) <= MAX_URL_CHARACTERS
    assert dropped
    assert peak < 3 * MAX_URL_CHARACTERS
    assert apply_link_filters(links, {}, PAGE) == links


def test_data_urls_are_no_links_beyond_the_limit_either() -> None:
    images = "<img src=a>" * COUNT + "<img src='data:image/gif;base64,R0'><img alt=x>" * 5
    links = links_of_html(f"<base href='{LONG}'>{images}", PAGE)
    assert len(links) == COUNT


def test_pages_of_real_size_are_far_from_the_limit() -> None:
    images = "".join(f"<a href=/pictures/{n}><img src=/uploads/2019/04/picture-{n}.jpg></a>" for n in range(10_000))
    assert all(
        link.reason is None for link in links_of_html(images, "https://www.photographs.example/gallery/", FULLER)
    )
