"""Puts into a few lines what a run downloads and how long it takes, before it starts."""

from collections.abc import Mapping

from mmc4_pipeline.estimate.table import duration, in_words, short_bytes
from mmc4_pipeline.estimate.whole_run import Estimate


def preview(found: Estimate, weights: Mapping[str, int], page_source: str) -> str:
    """Return what the run downloads and stores, and how long it takes.

    `weights` has the bytes of each file of weights that is still missing, by what it is.
    """
    pages = next((item for item in found.pages if item.way == page_source), found.pages[0])
    first = [found.locate] if found.locate else []
    stages = [*first, pages, *found.later]
    images, speed = found.later[0], found.given.resources.bytes_per_second
    downloads = [
        *((size, what) for what, size in weights.items()),
        *((item.read, "documents, and Common Crawl's index") for item in first),
        (pages.read, "pages from Common Crawl"),
        (images.read, f"images: {in_words(images.requests)} requests to their hosts"),
    ]
    width = max(len(short_bytes(size)) for size, _ in downloads)
    hours = {"weights": sum(weights.values()) / speed / 3600} if weights else {}
    hours |= {item.stage: item.hours for item in stages}
    times = ", ".join(f"{name} {duration(time)}" for name, time in hours.items())
    return "\n".join(
        (
            f"Downloads about {short_bytes(sum(size for size, _ in downloads))}:",
            *(f"  {short_bytes(size):>{width}}  {what}" for size, what in downloads),
            f"Takes about {duration(max(1 / 60, sum(hours.values())))} at {short_bytes(speed)} per second: {times}.",
            *(f"The time of the scorer {name} is not known, and is not included." for name in found.unknown),
            f"Stores about {short_bytes(sum(item.stored for item in stages))}.",
            "Sizes and times may be off by a factor of two.",
        )
    )
