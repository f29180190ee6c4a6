"""Find the image links of an HTML page, resolved against the page's base, and the text around them.

There is one link for each image element.

With the attribute `src` alone, the links are the same as in WAT files. With more attributes, images that a script would
load are found too, in the largest size that the page offers.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mmc4_pipeline.naming import site_of
from mmc4_pipeline.pages.captions import Captions
from mmc4_pipeline.pages.links import PageUrls, image_link, resolve
from mmc4_pipeline.pages.srcset import parse_srcset
from mmc4_pipeline.pages.text_around import NOT_TEXT, text_around
from mmc4_pipeline.pages.tree import parse_html
from mmc4_pipeline.recipe import LinkSettings
from schemas.page import ImageLink

Attributes = dict[str, str | None]
# Types of a `source` that can be decoded: those of decode.FORMATS, or none.
_READABLE = ("", "image/jpeg", "image/jpg", "image/png", "image/webp", "image/gif")
# A value that ends like one of a srcset; other names than srcset are used for sets too.
_SRCSET = re.compile(r"\s[0-9]{1,6}(?:\.[0-9]{1,9})?[wx][\s,]*\Z")
_OF_SOURCES = ("src", "lazy", "original", "orig-file", "echo")
_IMAGE_FILE = re.compile(r"\.(?:jpe?g|png|webp|gif)(?:[?#]|\s*\Z)", re.IGNORECASE)
_WANTED = ", ".join(("base[href]", "img", "figcaption", *NOT_TEXT))
_MAX_LEVELS = 8  # from an image up to its link; 60 real pages had 4 at most
_MAX_HREF = 2048  # characters; a page may put one link around all of its images


@dataclass(frozen=True, slots=True)
class _Element:
    """An `img`: its number on the page, and the attributes of the `source` elements before it in its `picture`."""

    ordinal: int
    attributes: Attributes
    sources: list[Attributes]
    in_noscript: bool


@dataclass(frozen=True, slots=True)
class LinksAndText:
    """A page's image links, and its text around them as `text_around` returns it."""

    links: list[ImageLink]
    around: str


def links_and_text(
    text: str, page_url: str, settings: LinkSettings | None = None, main_images: Collection[int] | None = None
) -> LinksAndText:
    """Return the image links of an HTML page in page order, without links that are not http(s), such as data:.

    `main_images` are the images in the main content, as the function of that name numbers them.
    """
    tree = parse_html(text)
    nodes = tree.css(_WANTED)  # in one walk, because a second one would take as long
    base_tag = next((node for node in nodes if node.tag == "base"), None)
    base = resolve(page_url, base_tag.attributes.get("href") if base_tag else None) or page_url
    images = [node for node in nodes if node.tag == "img"]
    wanted = settings.attributes if settings else ("src",)
    site, urls = site_of(page_url), PageUrls(base)
    captions = Captions(node for node in nodes if node.tag == "figcaption")
    found = _of_src(images, urls) if wanted == ("src",) else _of_attributes(tree, urls, wanted)
    links, linked = list[ImageLink](), list[LexborNode]()
    for position, (ordinal, tag, attribute, url) in enumerate(found):
        in_main_content = None if main_images is None else ordinal in main_images
        leads_to = _leads_to(images[ordinal], urls, site)
        links.append(image_link(position, url, tag, attribute, in_main_content, leads_to, urls.reason))
        links[-1].caption = captions.of(images[ordinal])
        linked.append(images[ordinal])
    return LinksAndText(links, text_around(tree, linked, [node for node in nodes if node.tag in NOT_TEXT]))


def _leads_to(image: LexborNode, urls: PageUrls, site: str) -> str | None:
    """Return the URL of the `a` a few elements above an image, if it leads to another site."""
    node = image.parent
    for _ in range(_MAX_LEVELS):
        if node is None or node.tag == "a":
            break
        node = node.parent
    href = node.attributes.get("href") if node is not None and node.tag == "a" else None
    url = urls.resolve(href) if href and len(href) <= _MAX_HREF and not urls.reason else None
    if not url:
        return None
    origin = url[: url.find("/", len("https://")) + 1]  # the few origins of a page are parsed once, not each URL
    return url if site_of(origin or url) != site else None


def _of_src(images: list[LexborNode], urls: PageUrls) -> Iterator[tuple[int, Attributes, str, str]]:
    for ordinal, node in enumerate(images):
        attributes = node.attributes
        if url := urls.resolve(attributes.get("src")):
            yield ordinal, attributes, "src", url


def _of_attributes(
    tree: LexborHTMLParser, urls: PageUrls, wanted: tuple[str, ...]
) -> Iterator[tuple[int, Attributes, str, str]]:
    """Yield each image's first address. An image that `noscript` repeats is yielded once."""
    elements = list(_elements(tree))
    shown: set[str] = set()
    if any(element.in_noscript for element in elements):
        outside = (element for element in elements if not element.in_noscript)
        twice = PageUrls(urls.base)  # the same URLs again, which must not use up the limit before they are yielded
        shown = {url for element in outside for _, url in _addresses(element, twice, wanted)}
    for element in elements:
        addresses = _addresses(element, urls, wanted)
        first = next(addresses, None)
        if first is None:
            continue
        if element.in_noscript and (first[1] in shown or any(url in shown for _, url in addresses)):
            continue
        yield element.ordinal, element.attributes, *first


def _elements(tree: LexborHTMLParser) -> Iterator[_Element]:
    """Yield the images, each with the sources before it in its `picture`."""
    in_noscript = _within_noscript(tree)
    ordinal, picture, sources = 0, None, list[Attributes]()
    for node in tree.css("img, picture > source"):
        parent = _id(node.parent)
        if parent != picture:
            picture, sources = parent, []
        if node.tag == "source":
            sources.append(node.attributes)
            continue
        yield _Element(ordinal, node.attributes, sources, node.mem_id in in_noscript)
        ordinal, sources = ordinal + 1, []


def _within_noscript(tree: LexborHTMLParser) -> set[int]:
    """Return the images within `noscript`. Each is visited once: "noscript img" would search all ancestors of each."""
    found: set[int] = set()
    for noscript in tree.css("noscript"):
        if noscript.mem_id not in found:
            found.update(node.mem_id for node in noscript.css("img, noscript"))
    return found


def _id(node: LexborNode | None) -> int | None:
    return node.mem_id if node else None


def _addresses(element: _Element, urls: PageUrls, wanted: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield (attribute, URL) for each wanted attribute that holds one, in the order of preference."""
    for attribute in wanted:
        value = element.attributes.get(attribute)
        if attribute.endswith("srcset") or (value and _SRCSET.search(value)):
            url = _largest(element, attribute, urls)
        else:
            url = urls.resolve(value) if attribute == "src" or _could_be_url(attribute, value) else None
        if url:
            yield attribute, url


def _could_be_url(attribute: str, value: str | None) -> bool:
    """Return whether a lazy loader's attribute may be the URL of an image.

    "true" and templates such as "a_{width}x.jpg" are not. An attribute such as `data-url`, which is not a source by its
    name, may also lead to a page: its value must be the name of an image file.
    """
    if value is None or "{" in value or not ("/" in value or "." in value):
        return False
    return any(word in attribute for word in _OF_SOURCES) or _IMAGE_FILE.search(value) is not None


def _largest(element: _Element, attribute: str, urls: PageUrls) -> str | None:
    """Return the largest of the image's own candidates and those of its sources.

    Among candidates of the same size the last is used: sources are ordered from the newest format to the most common.
    """
    holders = [source for source in element.sources if _readable(source)] + [element.attributes]
    candidates = [item for holder in holders for item in parse_srcset(holder.get(attribute) or "")]
    by_size = sorted(candidates, key=lambda item: item.size)
    return next((url for item in reversed(by_size) if (url := urls.resolve(item.url)) and "{" not in item.url), None)


def _readable(source: dict[str, Any]) -> bool:
    return (source.get("type") or "").partition(";")[0].strip().lower() in _READABLE
