"""Filters of what pages, servers and hosts declare: which declarations refuse, and which text is named as the cause."""

import pytest

from filters.ai_txt import AiTxt
from filters.base import DeclarationFilter, PageFilter
from filters.consent import Consent
from filters.content_usage import ContentUsage
from filters.page_content_usage import PageContentUsage
from filters.page_robots import PageRobots
from filters.page_tdm_reservation import PageTdmReservation
from filters.tdm_reservation import TdmReservation
from filters.tdmrep_json import TdmrepJson
from mmc4_pipeline.recipe import load_recipe
from schemas.image import Image
from schemas.reasons import Reason

PAGE = [
    (PageRobots(), "meta robots: noai, noimageai", True),
    (PageRobots(), "meta robots: index,follow,NOAI", True),
    (PageRobots(), "meta googlebot: noimageai", True),
    (PageRobots(), "meta robots: noml", True),
    (PageRobots(), "header x-robots-tag: gptbot: noai", True),
    (PageRobots(), "header x-robots-tag: max-snippet:-1, noml", True),
    (PageRobots(), "meta robots: noaiming, noindex", False),
    (PageRobots(), "meta robots: max-image-preview:noai", False),
    (PageRobots(("noai",)), "meta robots: noml", False),
    (PageRobots(), "header tdm-reservation: noai", False),
    (PageTdmReservation(), "meta tdm-reservation: 1", True),
    (PageTdmReservation(), "header tdm-reservation: 1", True),
    (PageTdmReservation(), "header tdm-reservation: 0", False),
    (PageTdmReservation(), "meta tdm-reservation: 2", False),
    (PageTdmReservation(), "meta tdm-reservation: true", False),
    (PageTdmReservation(), "meta robots: 1", False),
    (PageContentUsage(), "header content-usage: train-ai=n", True),
    (PageContentUsage(), "header content-usage: search=y, train-ai=n", True),
    (PageContentUsage(), "header content-usage: search=n, train-ai=y", False),
    (PageContentUsage(), 'header content-usage: train-ai="n"', False),
    (PageContentUsage(), "header content-usage: train-ai=n, train-ai=y", False),
    (PageContentUsage(("search",)), "header content-usage: search=n", True),
]
IMAGE = [
    (TdmReservation(), "header tdm-reservation: 1", True),
    (TdmReservation(), "header tdm-reservation:1", True),
    (TdmReservation(), "header tdm-reservation: 0", False),
    (TdmReservation(), "header tdm-reservation: 1, 1", False),
    (TdmReservation(), "meta tdm-reservation: 1", False),
    (ContentUsage(), "header content-usage: train-ai=n", True),
    (ContentUsage(), "robots.txt content-usage: train-ai=n;until=2030", True),
    (ContentUsage(), "robots.txt content-usage: bots=n", True),
    (ContentUsage(), "header content-usage: Train-AI=n", False),
    (ContentUsage(), "header content-usage: train-ai=n, ü=y", False),
    (ContentUsage(), "header content-usage: train-ai=(n)", False),
    (ContentUsage(), "header content-usage: train-ai", False),
    (TdmrepJson(), "tdmrep.json: 1, location /", True),
    (TdmrepJson(), "header tdm-reservation: 1", False),
    (AiTxt(), "ai.txt: Disallow: *.jpg", True),
    (AiTxt(), "robots.txt content-usage: train-ai=n", False),
]


@pytest.mark.parametrize(("item", "line", "refuses"), PAGE)
def test_declarations_of_pages(item: PageFilter, line: str, refuses: bool) -> None:
    other = "header x-unknown: 1"
    assert item.refusal([other, line]) == (line if refuses else None)
    assert item.decide([other, line]) == (Reason.OPTED_OUT if refuses else None)
    assert item.decide([]) is None


@pytest.mark.parametrize(("item", "line", "refuses"), IMAGE)
def test_declarations_of_images(item: DeclarationFilter, line: str, refuses: bool) -> None:
    image = Image("k", 0, "https://a.example/a.jpg", declarations=f"header x-unknown: 1\n{line}")
    assert item.refusal(item.declarations_of(image)) == (line if refuses else None)
    assert item.decide(image) == (Reason.OPTED_OUT if refuses else None)
    assert item.decide(Image("k", 0, "https://a.example/a.jpg")) is None


def test_the_meta_tag_supersedes_the_header() -> None:
    reserved, free = "header tdm-reservation: 1", "meta tdm-reservation: 0"
    assert PageTdmReservation().refusal([reserved, free]) is None
    assert PageTdmReservation().refusal([reserved, "meta tdm-reservation: perhaps"]) == reserved


def test_the_directives_of_x_robots_tag_are_named() -> None:
    image = Image("k", 0, "https://a.example/a.jpg", robots_tag="nofollow\notherbot: noai")
    assert Consent().refusal(Consent().declarations_of(image)) == "header x-robots-tag: otherbot: noai"


def test_a_directive_that_is_not_collected_is_refused() -> None:
    with pytest.raises(ValueError, match="noindex"):
        PageRobots(("noai", "noindex"))


def test_the_strict_recipe_heeds_all_of_them_and_the_paper_s_only_x_robots_tag() -> None:
    kinds = (PageFilter, DeclarationFilter)
    strict, paper = load_recipe("mmc4-consent"), load_recipe("mmc4")
    assert {type(item) for item, *_ in PAGE + IMAGE} | {Consent} == {
        type(item) for kind in kinds for item in strict.of_kind(kind).values()
    }
    assert [key for kind in kinds for key in paper.of_kind(kind)] == ["consent"]
    assert strict.filters["consent"].decide(Image("k", 0, "", robots_tag="noml")) == Reason.OPTED_OUT  # type: ignore[attr-defined]
    assert paper.filters["consent"].decide(Image("k", 0, "", robots_tag="noml")) is None  # type: ignore[attr-defined]
