"""The sites: one bar for each, with what was kept and dropped of its links."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.tables import Site

_REASONS = 3  # shown of a site's drops


@dataclass(frozen=True, slots=True)
class SiteBar:
    """One site: links kept, dropped after they were requested, and not requested, in percent of the longest bar."""

    name: str
    site: Site
    kept: float
    dropped: float
    not_requested: float
    reasons: str


def site_bars(sites: Sequence[tuple[str, Site]]) -> list[SiteBar]:
    """Return the bars of some sites, in their order."""
    percent = 100 / max((site.links for _, site in sites), default=1)
    return [
        SiteBar(
            name or "(no site)",
            site,
            site.kept * percent,
            (site.wanted - site.kept) * percent,
            (site.links - site.wanted) * percent,
            ", ".join(f"{reason} {count:,}" for reason, count in _most_frequent(site.dropped)),
        )
        for name, site in sites
    ]


def _most_frequent(dropped: Counter[str]) -> list[tuple[str, int]]:
    return sorted(dropped.items(), key=lambda item: (-item[1], item[0]))[:_REASONS]
