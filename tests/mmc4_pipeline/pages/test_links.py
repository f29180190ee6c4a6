"""Image links of HTML pages, resolved in the same way as in a browser."""

import ada_url
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.pages.links import resolve
from mmc4_pipeline.pages.wat_links import WatImage, WatImages, links_of_wat
from mmc4_pipeline.recipe import LinkSettings, load_recipe
from schemas.page import ImageLink
from tests.pages import links_of_html

PAGE = "https://a.example/news/today.html"
FULLER = load_recipe("mmc4-links").links


def urls(html: str) -> list[str]:
    return [link.url for link in links_of_html(html, PAGE)]


def fuller(html: str) -> list[tuple[str, str]]:
    """Return file names and attributes of the links that the fuller recipe finds."""
    links = links_of_html(html, "https://a.example/", FULLER)
    assert [link.position for link in links] == list(range(len(links)))
    return [(link.url.removeprefix("https://a.example/"), link.attribute) for link in links]


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("photo.jpg", "https://a.example/news/photo.jpg"),
        ("/photo.jpg?x=1", "https://a.example/photo.jpg?x=1"),
        ("../photo.jpg", "https://a.example/photo.jpg"),
        ("//cdn.example/photo.jpg", "https://cdn.example/photo.jpg"),
        ("http://b.example/photo.jpg", "http://b.example/photo.jpg"),
        ("  photo.jpg\n", "https://a.example/news/photo.jpg"),
        ("pho\nto\t.jpg", "https://a.example/news/photo.jpg"),
        ("a.jpg?x=1&amp;copy=2", "https://a.example/news/a.jpg?x=1&copy=2"),
        ("a.jpg#part", "https://a.example/news/a.jpg#part"),
        ("", None),
        ("   ", None),
        ("data:image/gif;base64,R0lGODlhAQABAAAAACw=", None),
        ("blob:https://a.example/1", None),
        ("javascript:void(0)", None),
        ("ftp://a.example/a.jpg", None),
        ("http://[broken/photo.jpg", None),
        ("http:photo.jpg", "http://photo.jpg/"),
    ],
)
def test_sources(source: str, url: str | None) -> None:
    assert urls(f'<img src="{source}">') == ([] if url is None else [url])


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://b.example/c/", "https://b.example/c/a.jpg"),
        ("/d/", "https://a.example/d/a.jpg"),
        ("d/", "https://a.example/news/d/a.jpg"),
        ("//b.example", "https://b.example/a.jpg"),
        ("", "https://a.example/news/a.jpg"),
        ("data:text/html,", "https://a.example/news/a.jpg"),
        ("http://[broken/", "https://a.example/news/a.jpg"),
    ],
)
def test_base(base: str, url: str) -> None:
    assert urls(f'<head><base href="{base}"></head><img src="a.jpg">') == [url]
    wat = {"Head": {"Base": base}, "Links": [{"path": "IMG@/src", "url": "a.jpg"}]}
    assert [link.url for link in links_of_wat(WatImages.of(wat), PAGE)] == [url]


@pytest.mark.parametrize("start", ["https://a.example/news/", "https://A.example/news/", "//a.example/news/", ""])
@pytest.mark.parametrize("reference", ["&amp;", "&#38;", "&#x26;", "&"])
def test_references_in_the_urls_of_wat_files_are_resolved(start: str, reference: str) -> None:
    (link,) = links_of_wat(WatImages([WatImage(url=f"{start}a.jpg?x=1{reference}y=2")]), PAGE)
    assert link.url == "https://a.example/news/a.jpg?x=1&y=2"


def test_the_first_base_with_an_address_counts() -> None:
    bases = '<base target="_top"><base href="/one/"><base href="/two/">'
    assert urls(f"<head>{bases}</head><img src=a.jpg>") == ["https://a.example/one/a.jpg"]


def test_positions_count_the_links_in_page_order() -> None:
    html = """<table><tr><td><img src=1.jpg></table><img src="data:,x"><img alt="no source">
        <p><IMG SRC='2.jpg' ALT=" two\n words " WIDTH="300px" HEIGHT=200><img src=1.jpg width=100% height=auto>"""
    assert links_of_html(html, PAGE) == [
        ImageLink(0, "https://a.example/news/1.jpg", "", None, None),
        ImageLink(1, "https://a.example/news/2.jpg", "two words", 300, 200),
        ImageLink(2, "https://a.example/news/1.jpg", "", None, None),
    ]


def test_what_is_not_on_the_page_is_no_link() -> None:
    html = """<!-- <img src=comment.jpg> --><script>"<img src=script.jpg>"</script><a href=a.jpg>a</a>
        <textarea><img src=typed.jpg></textarea><img src=real.jpg"""
    assert urls(html + ">") == ["https://a.example/news/real.jpg"]


@given(st.text("<img src=\"'/>ab:.&;[]%\x00\né", max_size=80))
def test_any_text_is_a_page_and_its_links_are_http(text: str) -> None:
    links = links_of_html(text, PAGE)
    assert [link.position for link in links] == list(range(len(links)))
    assert all(link.url.startswith(("https://", "http://")) for link in links)


@given(st.text("htps:/[]#?@.%\\\x00 ab1", max_size=30))
def test_any_link_resolves_to_http_or_nothing(link: str) -> None:
    url = resolve(PAGE, link)
    assert url is None or url.startswith(("https://", "http://"))


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("<img src=a.jpg>", [("a.jpg", "src")]),
        ("<img src=a.jpg srcset='s.jpg 300w, l.jpg 900w, m.jpg 600w'>", [("l.jpg", "srcset")]),
        ("<img src=a.jpg srcset='b.jpg, c.jpg 2x'>", [("c.jpg", "srcset")]),
        ("<img src=a.jpg srcset='b.jpg 100w, c.jpg 3x'>", [("b.jpg", "srcset")]),  # a width is known, a density is not
        ("<img src=a.jpg srcset='data:image/gif;base64,R0lG 9w, b.jpg 1w'>", [("b.jpg", "srcset")]),
        ("<img src=a.jpg srcset='data:image/gif;base64,R0lG 9w'>", [("a.jpg", "src")]),
        ("<img src=a.jpg srcset='b.jpg wide'>", [("a.jpg", "src")]),
        ("<img src='data:image/gif;base64,R0lG' data-src=b.jpg>", [("b.jpg", "data-src")]),
        ("<img src=blank.gif data-src='  b.jpg\n'>", [("b.jpg", "data-src")]),
        ("<img src=a.jpg data-lazy=true data-original=1>", [("a.jpg", "src")]),
        ("<img src=a.jpg data-src='a_{width}x.jpg'>", [("a.jpg", "src")]),
        ("<img data-lazy-src=b.jpg>", [("b.jpg", "data-lazy-src")]),
        ("<img data-src=b.jpg data-srcset='c.jpg 2x' srcset='tiny.jpg 1w'>", [("c.jpg", "data-srcset")]),
        ("<img src=a.jpg data-url=/article/1 data-image=/photos/2>", [("a.jpg", "src")]),  # pages, not images
        ("<img src=blank.gif data-image='/b.png?x=1'>", [("b.png?x=1", "data-image")]),
        (
            "<img src=blank.gif data-src='s.jpg 1x, l.jpg 2x'>",
            [("l.jpg", "data-src")],
        ),  # a set in an attribute for a URL
        ("<img src=blank.gif data-bgset='l.webp 900w , s.webp 300w , '>", [("l.webp", "data-bgset")]),
        ("<img alt='no address'>", []),
        (
            "<picture><source srcset='l.jpg 900w, s.jpg 300w'><source srcset='m.jpg 600w'><img src=a.jpg></picture>",
            [("l.jpg", "srcset")],
        ),
        (  # of equal size: the last, which is in the most common format
            "<picture><source type=image/webp srcset=a.webp><img src=a.jpg srcset=a.jpg></picture>",
            [("a.jpg", "srcset")],
        ),
        (
            "<picture><source type='image/avif' srcset='a.avif 9w'><source srcset='a.webp 6w' type='IMAGE/WebP'><img>",
            [("a.webp", "srcset")],
        ),
        ("<picture><source data-srcset='b.jpg 2x'><img src=a.jpg></picture>", [("b.jpg", "data-srcset")]),
        (
            "<picture><source srcset=p.jpg><img src=a.jpg></picture><img src=b.jpg><picture><img src=c.jpg></picture>",
            [("p.jpg", "srcset"), ("b.jpg", "src"), ("c.jpg", "src")],
        ),
        ("<video><source src=v.mp4 srcset=v.jpg></video><img src=a.jpg>", [("a.jpg", "src")]),
        ("<img data-src=b.jpg><noscript><img src=b.jpg></noscript>", [("b.jpg", "data-src")]),
        ("<p><noscript><img src=b.jpg></noscript><img src=t.gif data-src=b.jpg>", [("b.jpg", "data-src")]),
        (  # the fallback in another size, which the image has too
            "<img data-src=s.jpg data-srcset='s.jpg 1w, l.jpg 2w'><noscript><img src=s.jpg></noscript>",
            [("l.jpg", "data-srcset")],
        ),
        ("<img class=lazy data-unknown=b.jpg><noscript><img src=b.jpg></noscript>", [("b.jpg", "src")]),
        ("<img src=a.jpg><img src=a.jpg>", [("a.jpg", "src"), ("a.jpg", "src")]),  # two elements, as on the page
    ],
)
def test_the_fuller_links(html: str, found: list[tuple[str, str]]) -> None:
    assert fuller(html) == found


# Of plug-ins, with the placeholder that each of them puts into src.
LAZY = """
data-src data-srcset data-original data-lazy-src data-lazy-srcset data-lazy data-echo data-cfsrc data-ll-src
data-orig-file data-large_image data-layzr data-opt-src data-ezsrc data-breeze data-wpfc-original-src data-origin-src
nitro-lazy-src nitro-lazy-srcset data-pagespeed-lazy-src pagespeed_lazy_src data-ks-lazyload data-delayed-url loadlate
data-flickity-lazyload data-amsrc data-runner-src data-defer-src data-actualsrc data-orig-src data-src-retina zoomfile
file data-zoom-image data-highres data-bgset data-gl-srcset data-unveil data-aload real_src data-ng-src
data-image-src
"""


@pytest.mark.parametrize("attribute", LAZY.split())
def test_attributes_of_lazy_loaders(attribute: str) -> None:
    assert fuller(f"<img src='/lazy/blank.gif' {attribute}='b.jpg'>") == [("b.jpg", attribute)]
    placeholder = "data:image/svg+xml;base64,PHN2Zy8+"
    assert fuller(f"<img src='{placeholder}' {attribute}='s.jpg 300w, l.jpg 900w'>") == [("l.jpg", attribute)]


def test_with_src_alone_a_noscript_image_is_one_of_its_own_as_in_wat_files() -> None:
    assert len(urls("<img src=b.jpg data-src=b.jpg><noscript><img src=b.jpg></noscript>")) == 2


IMAGES = st.lists(
    st.dictionaries(
        st.sampled_from(FULLER.attributes),
        st.sampled_from(
            ["a.jpg", "/b.png?x=1", "true", "", "data:,x", "c.jpg 2w", "d.jpg 1x, e.jpg 2x", ",", "//", "{x}"]
        ),
        max_size=4,
    ),
    max_size=6,
)


@given(IMAGES)
def test_every_image_that_src_finds_is_found_by_the_fuller_set(images: list[dict[str, str]]) -> None:
    tags = [
        f"<img alt={number} " + " ".join(f'{name}="{value}"' for name, value in image.items()) + ">"
        for number, image in enumerate(images)
    ]
    by_src, by_all = (
        [link.alt for link in links_of_html("".join(tags), PAGE, settings)] for settings in (LinkSettings(), FULLER)
    )
    assert set(by_src) <= set(by_all)
    assert by_all == sorted(by_all, key=int)
    assert len(set(by_all)) == len(by_all)


@given(st.text("<img srcset=\"'/>source picture noscript ab:.&;[]%,\x00\n2xé", max_size=120))
def test_any_text_is_a_page_for_the_fuller_set_too(text: str) -> None:
    links = links_of_html(text, PAGE, FULLER)
    assert [link.position for link in links] == list(range(len(links)))
    assert all(link.url.startswith(("https://", "http://")) for link in links)


@pytest.mark.parametrize(
    "piece",
    [
        "<img srcset=','>",
        "<picture>",
        "<source srcset=a.jpg>",
        "<img data-src=a.jpg>",
        "<noscript><img src=a.jpg></noscript>",
    ],
)
def test_pages_of_one_piece_repeated_are_read_in_bounded_time(piece: str) -> None:
    assert isinstance(
        links_of_html("<picture>" + piece * 3000 + "<img srcset='" + "," * 2**20 + "'>", PAGE, FULLER), list
    )


def test_links_say_whether_they_are_in_the_main_content() -> None:
    html = "<img alt='none'><img src=a.jpg><img src=b.jpg><img src=a.jpg>"
    for settings in (LinkSettings(), FULLER):
        assert [link.in_main_content for link in links_of_html(html, PAGE, settings, {2, 9})] == [False, True, False]
        assert [link.in_main_content for link in links_of_html(html, PAGE, settings)] == [None, None, None]


@pytest.mark.parametrize("piece", ["<div>", "<ul><li>", "<script></script", "<!-- a -->", "<a title='", "<"])
def test_a_page_of_very_many_tags_is_read_at_once_and_keeps_its_links(piece: str) -> None:
    head = "<head><base href=/base/><script>a<b && '<img src=script.jpg>'</script></head>"
    html = f"{head}<!-- <img src=comment.jpg> --><div title='x'><img src=first.jpg alt=1>{piece * 60_000}"
    assert urls(html)[0] == "https://a.example/base/first.jpg"
    assert urls(f"{head}{'<div>' * 60_000}<p><img src=last.jpg>") == ["https://a.example/base/last.jpg"]


pieces = st.sampled_from(
    [*"ab/?#;:&=@ [].,-~!$()*+%é", "//", "..", "a.jpg", "http:", "https:", "HTTP:", "b.example", ":80", "\\\\", "\t"]
)
loose = st.lists(pieces, max_size=8).map("".join)
starts = st.sampled_from(
    ["", "", "/", "../", "../../../", "//b.example/", "http://b.example", "https://b.example/", "data:"]
)


@given(
    st.sampled_from(["https://a.example", "http://a.example:80", "https://a.example/b/", "ftp://a.example/"]),
    loose,
    starts,
    loose,
)
def test_the_short_cuts_give_what_browsers_read(base: str, rest: str, start: str, link: str) -> None:
    try:
        base = ada_url.join_url(base, rest)
        meant = ada_url.join_url(base, start + link)
    except ValueError:  # links that no browser can read are of no interest here
        return
    is_link = (start + link).strip() and meant.startswith(("http://", "https://"))
    meant = meant.removesuffix("#") if meant.count("#") == 1 else meant  # without an empty fragment
    assert resolve(base, start + link) == (meant if is_link else None)


@pytest.mark.parametrize(
    ("html", "leads_to"),
    [
        ('<a href="https://shop.example/x"><img src="a.jpg"></a>', "https://shop.example/x"),
        ('<a href="//shop.example/x"><div><picture><img src="a.jpg"></picture></div></a>', "https://shop.example/x"),
        ('<base href="https://b.example/"><a href="x"><img src="a.jpg"></a>', "https://b.example/x"),
        ('<a href="/large.jpg"><img src="a.jpg"></a>', None),  # the page's own site
        ('<a href="https://www.a-shop.com/"><img src="a.jpg"></a>', None),
        ('<a href="https://shop.example/x">text</a><img src="a.jpg">', None),
        ('<a name="x"><img src="a.jpg"></a>', None),
        ('<a href="mailto:x@shop.example"><img src="a.jpg"></a>', None),
        ('<a href="http://[broken"><img src="a.jpg"></a>', None),
        (f'<a href="https://shop.example/{"x" * 3000}"><img src="a.jpg"></a>', None),
        (f'<a href="https://shop.example/x">{"<b>" * 50}<img src="a.jpg">', None),
    ],
)
def test_an_image_may_lead_to_another_site(html: str, leads_to: str | None) -> None:
    for settings in (LinkSettings(), LinkSettings(("data-src", "src"))):
        (link,) = links_of_html(html, "https://blog.a-shop.com/page", settings)
        assert link.leads_to == leads_to
