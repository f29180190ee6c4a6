"""Divide shards into groups of neighbouring ones, each of which one process fetches."""

from collections.abc import Iterable


def shard_groups(shards: int, size: int, sites: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return groups of at least `size` shards (the last may be smaller), each as its first shard and the one after it.

    `sites` are the sites that have several shards: the first of them, and how many there are. They stay in one group:
    the limits of a site's hosts are those of one process, and a second process would not make the site any faster.
    """
    inside = {shard for first, parts in sites for shard in range(first + 1, first + parts)}
    groups: list[tuple[int, int]] = []
    first = 0
    for end in range(1, shards + 1):
        if end == shards or (end - first >= size and end not in inside):
            groups.append((first, end))
            first = end
    return groups
