"""Image links of an HTML page, resolved against the page's base."""

from selectolax.lexbor import LexborHTMLParser

from mmc4_pipeline.pages.links import image_links, resolve
from schemas.page import ImageLink


def links_of_html(text: str, page_url: str) -> list[ImageLink]:
    """Give the image links of an HTML page in page order; links that are not http(s), data: for one, are none."""
    tree = LexborHTMLParser(text)
    base_tag = tree.css_first("base[href]")
    base = resolve(page_url, base_tag.attributes.get("href") if base_tag else None) or page_url
    return image_links(base, ((tag.attributes.get("src"), tag.attributes) for tag in tree.css("img[src]")))
