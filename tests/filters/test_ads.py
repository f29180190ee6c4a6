"""Ads: rules in EasyList's format on planted URLs, and the standard sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.ad_sizes import STANDARD, AdSizes
from filters.ads import Ads, LoadedAds
from filters.declared_ad_sizes import DeclaredAdSizes
from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Reason

RULES = """\ufeff[Adblock Plus 2.0]
! ||commented.example^
||ads.example^
@@||ads.example/charity/
||cdn.example^$third-party
||only-news.example^$domain=news.example|~sport.news.example
/banners/*$image
||scripts.example^$script
||xn--bcher-kva.example^
||clicks.example/go?
##.advert
page.example##img[src*="/hidden/"]
page.example#@#.advert
##.x^$=broken
||not-a-rule.example^$no-such-option
"""
PAGE = "https://page.example/a/b.html"


def ads(rules: str) -> LoadedAds:
    return Ads("list.txt").load({"list.txt": rules.encode()}.__getitem__)


LISTED, OWN = ads(RULES), Ads().load({}.__getitem__)


def link(url: str, leads_to: str | None = None) -> ImageLink:
    return ImageLink(0, url, "", None, None, leads_to=leads_to)


@pytest.mark.parametrize(
    ("url", "page", "is_ad"),
    [
        ("https://ads.example/a.jpg", PAGE, True),
        ("http://www.ads.example:8080/a.jpg?b#c", PAGE, True),
        ("https://badads.example/a.jpg", PAGE, False),
        ("https://page.example/ads.example/a.jpg", PAGE, False),
        ("https://ads.example/charity/a.jpg", PAGE, False),  # the exception
        ("https://cdn.example/a.jpg", PAGE, True),
        ("https://img.cdn.example/a.jpg", "https://www.cdn.example/", False),  # its own page
        ("https://only-news.example/a.jpg", "https://www.news.example/", True),
        ("https://only-news.example/a.jpg", "https://sport.news.example/", False),
        ("https://only-news.example/a.jpg", PAGE, False),
        ("https://page.example/banners/a.jpg", PAGE, True),
        ("https://page.example/a.jpg", PAGE, False),
        ("https://scripts.example/a.jpg", PAGE, False),
        ("https://commented.example/a.jpg", PAGE, False),
        ("https://page.example/hidden/a.jpg", PAGE, False),  # a rule that hides elements does not concern URLs
        ("https://not-a-rule.example/a.jpg", PAGE, False),
        # Spellings of a host.
        ("HTTPS://ADS.Example./a.jpg", PAGE, True),
        ("https://user:secret@ads.example/a.jpg", PAGE, True),
        ("https://page.example@ads.example/a.jpg", PAGE, True),
        ("https://ads.example@page.example/a.jpg", PAGE, False),
        ("https://bücher.example/ä.jpg", PAGE, True),
        ("https://BÜCHER.example/a.jpg", PAGE, True),
        ("https://xn--bcher-kva.example/a.jpg", PAGE, True),
        # Not URLs.
        ("http://[broken/banners/a.jpg", PAGE, False),
        ("//ads.example/a.jpg", PAGE, False),
        ("ads.example", PAGE, False),
        ("", PAGE, False),
        ("https://ads.example/a.jpg", "no URL", True),
    ],
)
def test_rules_of_a_list(url: str, page: str, *, is_ad: bool) -> None:
    assert (LISTED.decide(link(url), page) == Reason.AD) is is_ad


@pytest.mark.parametrize(
    ("leads_to", "is_ad"),
    [
        ("https://clicks.example/go?to=https://shop.example/", True),
        ("https://clicks.example/imprint", False),
        ("https://shop.example/banners/a.html", False),  # that rule is only for images
        ("https://ads.example/buy", True),
        ("http://[broken", False),
        (None, False),
    ],
)
def test_the_target_of_a_link_around_the_image_counts_too(leads_to: str | None, *, is_ad: bool) -> None:
    assert (LISTED.decide(link("https://page.example/a.jpg", leads_to), PAGE) == Reason.AD) is is_ad


@pytest.mark.parametrize(
    ("url", "leads_to", "is_ad"),
    [
        ("https://ad.doubleclick.net/ad/x.jpg", None, True),
        ("https://static.page.example/a.jpg", "https://www.anrdoezrs.net/click-1-2", True),
        ("https://page.example/banner-ads/summer.png", None, True),
        ("https://page.example/uploads/banner-of-the-club.png", "https://club.example/", False),
        ("https://page.example/roads/loads/badserver.jpg", None, False),
    ],
)
def test_the_built_in_list(url: str, leads_to: str | None, *, is_ad: bool) -> None:
    assert (OWN.decide(link(url, leads_to), PAGE) == Reason.AD) is is_ad


@pytest.mark.parametrize("rules", ["", "! nothing but a comment\n", "page.example##.advert", "<html>Not found</html>"])
def test_a_list_without_a_rule_for_urls_is_refused(rules: str) -> None:
    with pytest.raises(ValueError, match=r"^list\.txt: "):
        ads(rules)


URLS = st.text() | st.builds(
    "".join, st.lists(st.sampled_from(["http://", "ads.example", "/", "?", "@", "%", "[", "ü"]))
)


@given(URLS, URLS, URLS | st.none())
def test_any_url_gets_a_verdict(url: str, page: str, leads_to: str | None) -> None:
    for item in (LISTED, OWN):
        assert item.decide(link(url, leads_to), page) in (None, Reason.AD)


@pytest.mark.parametrize(
    ("width", "height", "is_ad"),
    [(300, 250, True), (728, 90, True), (250, 300, False), (301, 250, False), (250, 250, False), (None, 250, False)],
)
def test_sizes_count_to_the_pixel(width: int | None, height: int | None, *, is_ad: bool) -> None:
    image = Image("0" * 32, 0, "https://a.example/a.jpg", width=width, height=height)
    declared = ImageLink(0, "https://a.example/a.jpg", "", width, height)
    assert (AdSizes().decide(image) == Reason.AD) is is_ad
    assert (DeclaredAdSizes().decide(declared) == Reason.AD) is is_ad
    assert AdSizes(("1x1",)).decide(image) is DeclaredAdSizes(("1x1",)).decide(declared) is None


@pytest.mark.parametrize("size", ["300", "300 x 250", "0x250", "300x250px"])
def test_an_invalid_size_is_refused(size: str) -> None:
    for kind in (AdSizes, DeclaredAdSizes):
        with pytest.raises(ValueError, match="300x250"):
            kind((*STANDARD, size))
