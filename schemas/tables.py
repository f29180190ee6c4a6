"""Tables of bounded size that add up over shards: the largest sites, and the pictures that were dropped most often."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

TOP_SITES = 20  # by kept images, and as many by dropped links
TOP_DUPLICATES = 50
MAX_URL = 300  # characters of an example's URL: it is shown, not followed

Item = TypeVar("Item")


@dataclass(slots=True)
class Site:
    """What became of a site's image links. `wanted` counts the links worth fetching, `documents` the kept documents."""

    links: int = 0
    wanted: int = 0
    kept: int = 0
    documents: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: Self) -> Self:
        """Add another part of the site."""
        self.links += other.links
        self.wanted += other.wanted
        self.kept += other.kept
        self.documents += other.documents
        self.dropped += other.dropped
        return self


@dataclass(slots=True)
class Sites:
    """The sites with the most kept images and those with the most dropped links, by name.

    `count` is the number of all sites that have an image link or a kept document.

    A shard holds whole sites. So no site is in the tables of two shards, and the largest sites of all are among the
    largest of their shard: tables that are added up and bounded again are exact. If a site were spread over several
    shards, the parts that are not among the largest of their shard would be lost, and it would count once per shard.
    """

    count: int = 0
    top: dict[str, Site] = field(default_factory=dict)

    def site(self, name: str) -> Site:
        """Return the site of that name, which is added if it is new."""
        if name not in self.top:
            self.top[name] = Site()
            self.count += 1
        return self.top[name]

    def by_kept(self) -> list[tuple[str, Site]]:
        """Return the sites with the most kept images, largest first."""
        return _largest(self.top, lambda site: site.kept, TOP_SITES)

    def by_dropped(self) -> list[tuple[str, Site]]:
        """Return the sites with the most dropped links, largest first."""
        return _largest(self.top, lambda site: site.dropped.total(), TOP_SITES)

    def bound(self) -> None:
        """Remove all sites except the largest."""
        self.top = dict(sorted([*self.by_kept(), *self.by_dropped()]))

    def __iadd__(self, other: Self) -> Self:
        """Add another shard's table."""
        self.count += other.count
        for name, site in other.top.items():
            total = self.top.setdefault(name, Site())
            total += site
        self.bound()
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the table as a JSON object with sorted names and reasons."""
        return {
            "count": self.count,
            "top": {
                name: {
                    "links": site.links,
                    "wanted": site.wanted,
                    "kept": site.kept,
                    "documents": site.documents,
                    "dropped": dict(sorted(site.dropped.items())),
                }
                for name, site in sorted(self.top.items())
            },
        }

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> Self:
        """Read what `to_json` returned."""
        sites = {
            name: Site(**{**site, "dropped": Counter(site["dropped"])}) for name, site in table.get("top", {}).items()
        }
        return cls(table.get("count", 0), sites)


@dataclass(slots=True)
class Duplicates:
    """Pictures that were dropped several times for the same reason, with one of the dropped images as an example.

    Its bytes are `length` bytes at `offset` in the tar of that shard of the images stage.
    """

    reason: str
    phash: int
    count: int
    url: str
    shard: int
    offset: int
    length: int

    @property
    def name(self) -> str:
        """Return the name of the group."""
        return f"{self.reason} {self.phash:016x}"


@dataclass(slots=True)
class DuplicateGroups:
    """The largest groups of images with exactly the same perceptual hash that were dropped as duplicates.

    A picture may be in every shard, so the counts are approximate: a group's count lacks the shards in which it was not
    among the largest. It is never too high, and it is exact unless there are more groups than the table can hold. A
    copy whose hash differs in a single bit, because it was encoded again for example, belongs to another group.
    """

    top: dict[str, Duplicates] = field(default_factory=dict)

    def add(self, group: Duplicates) -> None:
        """Add images to their group, which keeps the example of the first shard."""
        known = self.top.get(group.name)
        if known is None:
            self.top[group.name] = group
            return
        first = min(known, group, key=lambda item: (item.shard, item.offset, item.url))
        self.top[group.name] = Duplicates(
            group.reason, group.phash, known.count + group.count, first.url, first.shard, first.offset, first.length
        )

    def keep_examples(self, earlier: Self, urls: Collection[str]) -> None:
        """Take over the examples of earlier groups, if their URLs are among these."""
        for name, group in earlier.top.items():
            if name in self.top and group.url in urls:
                self.top[name] = replace(group, count=self.top[name].count)

    def largest(self) -> list[Duplicates]:
        """Return the largest groups, largest first."""
        return [group for _, group in _largest(self.top, lambda group: group.count, TOP_DUPLICATES)]

    def bound(self) -> None:
        """Remove all groups except the largest."""
        self.top = {group.name: group for group in self.largest()}

    def __iadd__(self, other: Self) -> Self:
        """Add another shard's groups."""
        for group in other.top.values():
            self.add(group)
        self.bound()
        return self

    def to_json(self) -> list[dict[str, Any]]:
        """Return the groups as a JSON list, largest first. Hashes are 16 hex digits, which no reader rounds."""
        return [
            {
                "reason": group.reason,
                "phash": f"{group.phash:016x}",
                "count": group.count,
                "url": group.url,
                "shard": group.shard,
                "offset": group.offset,
                "length": group.length,
            }
            for group in self.largest()
        ]

    @classmethod
    def from_json(cls, groups: list[dict[str, Any]]) -> Self:
        """Read what `to_json` returned."""
        read = [Duplicates(**{**group, "phash": int(group["phash"], 16)}) for group in groups]
        return cls({group.name: group for group in read})


def _largest(items: dict[str, Item], size: Callable[[Item], int], wanted: int) -> list[tuple[str, Item]]:
    """Return the largest items that are not empty, largest first; items of the same size are sorted by name."""
    found = [(name, item) for name, item in items.items() if size(item)]
    return sorted(found, key=lambda pair: (-size(pair[1]), pair[0]))[:wanted]
