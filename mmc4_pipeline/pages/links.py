"""What image links from HTML and from WAT records have in common: URLs resolved as browsers do, sizes in pixels."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urljoin, urlsplit

from schemas.page import ImageLink

_SPACE = str.maketrans("", "", "\t\r\n")  # dropped from inside URLs, as browsers do (WHATWG URL)


def image_links(base: str, found: Iterable[tuple[str | None, dict[str, Any]]]) -> list[ImageLink]:
    """Make image links of (URL as it stands, the tag's attributes); what is not http(s), data: for one, is none."""
    links: list[ImageLink] = []
    for source, attributes in found:
        url = resolve(base, source)
        if url is not None:
            links.append(image_link(len(links), url, attributes))
    return links


def image_link(
    position: int,
    url: str,
    attributes: dict[str, Any],
    attribute: str = "src",
    in_main_content: bool | None = None,  # noqa: FBT001 - a measurement, not a switch
) -> ImageLink:
    """Make the link of a tag with these attributes; `url` is absolute."""
    return ImageLink(
        position=position,
        url=url,
        alt=" ".join((attributes.get("alt") or "").split()),
        declared_width=_pixels(attributes.get("width")),
        declared_height=_pixels(attributes.get("height")),
        attribute=attribute,
        in_main_content=in_main_content,
    )


def resolve(base: str, link: str | None) -> str | None:
    """Resolve a link as a browser does; None for one that is empty, not http(s) or no URL at all."""
    cleaned = (link or "").strip().translate(_SPACE)
    if not cleaned:
        return None
    try:
        url = urljoin(base, cleaned)
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None


def _pixels(value: object) -> int | None:
    """Read a size attribute: "120" and "120px" are pixels, "50%" is none. JSON may hold it as a number."""
    digits = str(value or "").strip().lower().removesuffix("px").strip()
    return int(digits) if digits.isdecimal() and len(digits) < 7 else None  # noqa: PLR2004 - a page is no million pixels
