"""The pages of the miniature web, with the truth about their image links."""

from dataclasses import dataclass, field
from datetime import datetime

from mmc4_pipeline.miniweb.planting import Plant

LAYOUTS = ("before", "after", "gallery", "sidebar")


@dataclass(frozen=True)
class Link:
    """An image link of a page, and the truth about it."""

    src: str  # as written in the HTML
    image_url: str  # resolved
    plant: Plant
    sentence: str | None = None
    alt: str | None = None
    declared: tuple[int, int] | None = None  # width and height attributes, pixels
    duplicate_of: str | None = None


@dataclass
class Page:
    """A page as captured at `time`; `capture` is different for each capture of a page."""

    url: str
    title: str
    time: datetime
    paragraphs: list[list[str]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    language: str = "eng"
    capture: int = 0
    layout: str = LAYOUTS[0]
