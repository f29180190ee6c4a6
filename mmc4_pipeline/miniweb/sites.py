"""Make the sites of the miniature web: their pages, the content of each page, and the response of each image URL."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urljoin, urlsplit

import numpy as np

from mmc4_pipeline.miniweb import planting, text
from mmc4_pipeline.miniweb.page import LAYOUTS, Link, Page
from mmc4_pipeline.miniweb.planting import DUPLICATES, PLANTS, TOKENS, Picture, Plant, Response, Shown

SITES = (
    "harbour-shapes", "old-lantern", "quiet-textures", "millbrook-gallery", "paper-geometry", "north-wall-prints",
    "seaside-patterns", "coloured-corner", "shape-society", "tin-roof-studio", "museum-of-outlines", "garden-tiles",
    "stencil-street", "thornfield-arts", "painted-doors", "weekend-cutouts", "easthaven-posters", "little-mosaics",
    "window-displays", "chalk-and-board",
)  # fmt: skip
DEAD_HOSTS = ("pics.gone-gallery.example", "img.lost-prints.example", "old-mirror.example")
_SECTIONS = ("gallery", "news", "visit", "archive", "blog/2019", "rooms/east")
_TOPICS = ("summer-show", "new-arrivals", "behind-the-scenes", "a-walk-through-town", "letters", "opening-night")
_NAMES = ("photo", "view", "picture", "exhibit", "wall", "room", "visit", "detail")
NOT_FOUND = Plant("scene", "404", "http_error", 0)
_CRAWL_START = datetime(2019, 4, 18, 10, 12, 43, tzinfo=UTC)


@dataclass
class Web:
    """The whole web: `pages` in C4 and the crawl, `missing` ones only in C4, `others` only in the crawl."""

    pages: list[Page] = field(default_factory=list)
    missing: list[Page] = field(default_factory=list)
    others: list[Page] = field(default_factory=list)
    responses: dict[str, Response] = field(default_factory=dict)
    shared: dict[tuple[str, str], Link] = field(default_factory=dict)  # by several pages; by site and variant


class _Builder:
    """Adds image links to one page, and their responses to the web."""

    def __init__(self, web: Web, page: Page, rng: np.random.Generator) -> None:
        self.web, self.page, self.rng = web, page, rng
        self.site = urlsplit(page.url).netloc.removeprefix("www.")
        self.shown = Shown()
        self.originals: list[tuple[Link, Picture]] = []

    def _address(self, plant: Plant, ending: str) -> tuple[str, str]:
        """Return a new src attribute and the absolute URL that it resolves to."""
        rng = self.rng
        if ending == ".jpg" and rng.random() < 0.15:
            ending = ".jpeg"
        # The filter's tokens must occur in these URLs, and in no others.
        word = plant.variant if plant.variant in TOKENS else "banner" if plant.kind == "ad" else str(rng.choice(_NAMES))
        name = f"{word}-{len(self.web.responses):04d}{ending}" + ("?w=600" if plant.variant == "query" else "")
        if plant.variant == "dead_host":
            src = f"https://{rng.choice(DEAD_HOSTS)}/{name}"
        else:
            img, cdn = f"//img.{self.site}/{name}", f"https://cdn.{self.site}/i/{name}"
            src = str(rng.choice([f"pics/{name}", f"/media/2019/{name}", img, cdn]))
            if plant.variant == "robots_txt":
                src = cdn.replace("/i/", "/private/")
        return src, urljoin(self.page.url, src)

    def _publish(self, plant: Plant, picture: Picture | None, ending: str) -> tuple[str, str]:
        """Choose a URL for a picture and add its response, as planted."""
        src, url = self._address(plant, ending)
        response = planting.response(plant.variant, picture)
        if plant.variant == "robots_txt":
            self.web.responses[urljoin(url, "/robots.txt")] = planting.robots_txt(self.site)
        if plant.variant == "redirect":
            moved = f"https://cdn.{self.site}/moved/{len(self.web.responses):04d}.jpg"
            between = moved.replace("/moved/", "/old/")
            self.web.responses |= {between: Response(302, (("Location", moved),)), moved: response}
            response = Response(301, (("Location", between),))
        self.web.responses[url] = response
        return src, url

    def _alt(self, words: str) -> str | None:
        return [words, "", None][int(self.rng.choice(3, p=[0.6, 0.2, 0.2]))]

    def add(self, plant: Plant) -> None:
        """Add a link that turns out like `plant`. The pages of a site share their banners, logos and buttons."""
        if plant.kind not in ("ad", "button"):
            self._add_new(plant)
            return
        key = self.site, plant.variant
        known = self.web.shared.get(key)
        # The same URL twice on a page would be a duplicate as well, but the truth has one reason per link.
        if known and known.image_url not in [link.image_url for link in self.page.links]:
            self.page.links.append(replace(known, src=known.image_url))
        else:
            self._add_new(plant)
            self.web.shared[key] = self.page.links[-1]

    def _add_new(self, plant: Plant) -> None:
        scene = sentence = picture = None
        if plant.kind in ("scene", "face"):
            scene = planting.new_scene(plant, self.shown, self.rng)
            self.shown.scenes.append(scene)
            taken = [link.sentence for link in self.page.links if link.sentence]
            sentence = planting.sentence_for(scene, taken, self.rng)
        if planting.shows_picture(plant.variant):
            picture = planting.new_picture(plant, scene, self.shown, self.rng)
        src, url = self._publish(plant, picture, planting.file_ending(plant.variant))
        declared = (picture.width, picture.height) if picture and self.rng.random() < 0.4 else None
        alt = self._alt(f"{scene.colour} {scene.shape}" if scene else plant.kind.replace("_", " "))
        link = Link(src, url, plant, sentence, alt, declared)
        self.page.links.append(link)
        if plant.reason is None and picture:
            self.originals.append((link, picture))

    def add_duplicate(self, plant: Plant) -> None:
        """Add one of the page's kept pictures again, further down."""
        link, picture = self.originals[int(self.rng.integers(len(self.originals)))]
        src, url = link.src, link.image_url
        if plant.variant == "same_bytes":
            src, url = self._publish(link.plant, picture, planting.file_ending(link.plant.variant))
        elif plant.variant == "reencoded":
            picture, form = planting.reencoded(picture, self.rng)
            src, url = self._publish(replace(plant, variant=form), picture, planting.file_ending(form))
        again = Link(src, url, plant, link.sentence, self._alt("the same again"), None, link.image_url)
        first = self.page.links.index(link)
        self.page.links.insert(int(self.rng.integers(first + 1, len(self.page.links) + 1)), again)

    def add_text(self) -> None:
        """Write the page's text: the described pictures' sentences mixed with fillers, 5 to 14 in total."""
        described = list(dict.fromkeys(link.sentence for link in self.page.links if link.sentence))
        total = int(self.rng.integers(max(5, len(described) + 1), max(14, len(described) + 1) + 1))
        self.page.paragraphs = text.paragraphs(described, total - len(described), self.rng)


def _new_page(number: int, rng: np.random.Generator) -> Page:
    site = f"{SITES[number % len(SITES)]}.example"
    host = site if rng.random() < 0.3 else f"www.{site}"
    scheme = "http" if rng.random() < 0.2 else "https"
    topic = str(rng.choice(_TOPICS))
    ending = str(rng.choice([".html", "/", ""]))
    title = f"{topic.replace('-', ' ').capitalize()} | {SITES[number % len(SITES)].replace('-', ' ').title()}"
    url = f"{scheme}://{host}/{rng.choice(_SECTIONS)}/{topic}-{number}{ending}"
    time = _CRAWL_START + timedelta(seconds=977 * number + int(rng.integers(900)))
    return Page(url, title, time, layout=LAYOUTS[number % len(LAYOUTS)])


def _deal(count: int, rng: np.random.Generator) -> list[list[Plant]]:
    """Distribute the plants over `count` pages.

    About one page in 25 has no link, and about one in 33 only links to drop. All others have a picture to keep.
    """
    bare, lost = math.ceil(count / 25), math.ceil(count / 33)
    deck = [plant for plant in PLANTS for _ in range(math.ceil(plant.count * count / 200))]
    deck = [deck[i] for i in rng.permutation(len(deck))]
    kept = [plant for plant in deck if plant.reason is None]
    dropped = [plant for plant in deck if plant.reason is not None]
    hands: list[list[Plant]] = [[] for _ in range(count)]
    for hand in hands[bare : bare + lost]:
        hand.extend([plant for plant in dropped if plant.variant not in DUPLICATES][: int(rng.integers(2, 5))])
        for plant in hand:
            dropped.remove(plant)
    full = hands[bare + lost :]
    for turn, plant in enumerate(kept):
        candidates = [hand for hand in full if plant.kind != "face" or all(other.kind != "face" for other in hand)]
        # First one for each page, so that none is left out, then at random.
        chosen = full[turn] if turn < len(full) else candidates[int(rng.integers(len(candidates)))]
        chosen.append(plant)
    for plant in dropped:
        full[int(rng.integers(len(full)))].append(plant)
    return [hands[i] for i in rng.permutation(count)]


def _fill(web: Web, page: Page, hand: list[Plant], rng: np.random.Generator) -> None:
    """Add the plants of a page, duplicates after their originals, and write its text."""
    builder = _Builder(web, page, rng)
    for plant in hand:
        if plant.variant not in DUPLICATES:
            builder.add(plant)
    for plant in hand:
        if plant.variant in DUPLICATES:
            builder.add_duplicate(plant)
    builder.add_text()


def _text_only(page: Page, rng: np.random.Generator) -> Page:
    page.paragraphs = text.paragraphs([], int(rng.integers(5, 12)), rng)
    return page


def _second_capture(page: Page, number: int, rng: np.random.Generator) -> Page:
    """Capture the same URL at another time, with other text and a link that only this capture has."""
    sign = -1 if number % 2 else 1
    time = page.time + sign * timedelta(hours=31, minutes=number)
    other = Page(page.url, f"{page.title} (other version)", time, capture=1)
    src = f"/media/2018/earlier-{number}.jpg"
    other.links.append(Link(src, urljoin(page.url, src), NOT_FOUND))
    return _text_only(other, rng)


def build(pages: int, seed: int) -> Web:
    """Make a web of `pages` pages with all their pictures."""
    rng = np.random.default_rng([0, seed])
    web = Web()
    for number, hand in enumerate(_deal(pages, rng)):
        page = _new_page(number, rng)
        _fill(web, page, hand, rng)
        web.pages.append(page)
    for number in range(3):
        web.missing.append(_text_only(_new_page(pages + number, rng), rng))
    for number in range(math.ceil(pages / 7)):
        other = _text_only(_new_page(pages + 10 + number, rng), rng)
        other.language = "eng" if number % 3 else "deu"
        web.others.append(other)
    for number in range(math.ceil(pages / 20)):
        web.others.append(_second_capture(web.pages[int(rng.integers(pages))], number, rng))
    return web


def remove_stalled(web: Web) -> None:
    """Replace the image links that never get a response by 404, in the web and in its truth."""
    for page in web.pages:
        for position, link in enumerate(page.links):
            if link.plant.variant == "slow":
                page.links[position] = replace(link, plant=NOT_FOUND)
                web.responses[link.image_url] = planting.response(NOT_FOUND.variant, None)


def counts(web: Web) -> Counter[str]:
    """Return the number of links by reason; "kept" counts those without one."""
    return Counter(link.plant.reason or "kept" for page in web.pages for link in page.links)
