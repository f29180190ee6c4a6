"""Lay out the pages of the miniature web: where each image stands among the sentences, and the page's HTML.

Images and sentences keep their own orders, which differ from each other. Each site has one of four layouts:

- `before`: an image directly before its own sentence, if the images around it allow that; otherwise directly after the
  last image for which they do
- `after`: the same with an image directly after its own sentence
- `gallery`: three images in a row, where `before` has the first of them
- `sidebar`: all images before the text, or after it
"""

from __future__ import annotations

import html
from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmc4_pipeline.miniweb.page import Link, Page

_IN_A_ROW = 3
NAVIGATION = (("/", "Home"), ("/gallery/", "Gallery"), ("/visit/", "Visit"), ("contact.html", "Contact"))


def before(page: Page) -> list[int]:
    """Return for each image of a page how many sentences stand before it."""
    sentences = [sentence for paragraph in page.paragraphs for sentence in paragraph]
    if page.layout == "sidebar":
        return [0 if len(sentences) % 2 else len(sentences)] * len(page.links)
    later = page.layout == "after"
    wanted = [sentences.index(link.sentence) + later if link.sentence in sentences else None for link in page.links]
    places = _in_order(wanted)
    if page.layout == "gallery":
        return [places[at - at % _IN_A_ROW] for at in range(len(places))]
    return places


def _in_order(wanted: Sequence[int | None]) -> list[int]:
    """Return places that do not decrease, as many as possible of them as wanted; the others are those before them."""
    ends: list[int] = []  # for each length, the last place of a sequence of that length, as small as possible
    lengths: list[int] = []  # of the longest sequence that ends with each place
    for place in wanted:
        length = 0 if place is None else bisect_right(ends, place) + 1
        if place is not None:
            ends[length - 1 : length] = [place]
        lengths.append(length)
    kept, length = set[int](), len(ends)
    for at in reversed(range(len(wanted))):
        if length and lengths[at] == length:
            kept.add(at)
            length -= 1
    places, last = list[int](), 0
    for at, place in enumerate(wanted):
        last = place if at in kept and place is not None else last
        places.append(last)
    return places


def caption(page: Page, link: Link, place: int) -> str | None:
    """Return the caption of an image at a place; those within a paragraph have none."""
    starts = _starts(page)
    return f"Picture: {link.alt}" if link.alt and page.layout != "sidebar" and place in starts else None


def _starts(page: Page) -> list[int]:
    """Return the number of sentences before each paragraph, and before the end."""
    starts = [0]
    for paragraph in page.paragraphs:
        starts.append(starts[-1] + len(paragraph))
    return starts


def _img(link: Link) -> str:
    alt = "" if link.alt is None else f' alt="{html.escape(link.alt)}"'
    size = f' width="{link.declared[0]}" height="{link.declared[1]}"' if link.declared else ""
    return f'<img src="{html.escape(link.src)}"{alt}{size}>'


def _figure(page: Page, link: Link, place: int) -> str:
    words = caption(page, link, place)
    return f"<figure>{_img(link)}{f'<figcaption>{html.escape(words)}</figcaption>' if words else ''}</figure>"


def _main(page: Page, places: Sequence[int]) -> str:
    """Return the paragraphs with the images between them and within them."""
    at: dict[int, list[Link]] = {}
    for link, place in zip(page.links, places, strict=True):
        at.setdefault(place, []).append(link)
    blocks = list[str]()
    for start, paragraph in zip(_starts(page), [*page.paragraphs, []], strict=True):
        blocks += [_figure(page, link, start) for link in at.get(start, [])]
        within = [
            "".join(f"{_img(link)} " for link in at.get(start + number, []) if number) + html.escape(sentence)
            for number, sentence in enumerate(paragraph)
        ]
        blocks += [f"<p>{' '.join(within)}</p>"] if within else []
    return "\n".join(blocks)


def _sidebar(page: Page, places: Sequence[int]) -> str:
    figures = "\n".join(_figure(page, link, place) for link, place in zip(page.links, places, strict=True))
    return f"<aside>{figures}</aside>\n"


def render(page: Page) -> bytes:
    """Return the page's HTML."""
    places = before(page)
    beside = _sidebar(page, places) if page.layout == "sidebar" and page.links else ""
    body = _main(replace(page, links=[]), []) if beside else _main(page, places)
    first, last = ("", beside) if any(places) else (beside, "")
    navigation = " ".join(f'<a href="{href}">{words}</a>' for href, words in NAVIGATION)
    title = html.escape(page.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n</head>\n<body>\n<nav>{navigation}</nav>\n'
        f"{first}<main>\n<h1>{title}</h1>\n{body}\n</main>\n{last}"
        f'<footer><a href="/imprint">Imprint</a></footer>\n</body>\n</html>\n'
    ).encode()
