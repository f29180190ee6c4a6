"""Compares a dataset with the published one that its documents are from: what is still there, and what has changed."""

from schemas.comparison import CHANGE_BINS
from schemas.manifest import CutPlan, Manifest
from schemas.reasons import Stage
from schemas.statistics import Statistics

_NARROW = 2  # hundredths: a similarity that changed by no more has hardly changed


def comparison(manifest: Manifest[CutPlan], statistics: Statistics) -> list[tuple[str, str]]:
    """Return what is compared and the result, in words. Empty if the documents are not from a published dataset."""
    if manifest.plan.input.published is None:
        return []
    pages = manifest.plan.before[Stage.PAGES]
    links, documents = pages["links"], pages["documents"]
    kept, received = manifest.counts["links"].kept, statistics.decoded_short_side.total()
    return [
        ("documents kept, of those published", _part(manifest.counts["documents"].kept, documents.seen)),
        ("images requested, of those published", _part(links.kept, links.seen)),
        ("images still there, of those requested", _part(received, links.kept)),
        ("images kept, of those published", _part(kept, links.seen)),
        ("change of the similarity to the publisher's sentence", _changes(statistics)),
        ("kept images at the publisher's sentence", _assignments(statistics)),
    ]


def _part(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({100 * part / whole:.1f}%)" if whole else "none"


def _changes(statistics: Statistics) -> str:
    changes = statistics.published.changes
    total = changes.total()
    if not total:
        return "not known: no similarity was published"
    middle, seen = 0, 0
    for number, count in sorted(changes.items()):
        middle, seen = number, seen + count
        if 2 * seen >= total:
            break
    near = sum(count for number, count in changes.items() if abs(number) <= _NARROW)
    return f"median {middle / CHANGE_BINS:+.2f}; at most {_NARROW / CHANGE_BINS} for {_part(near, total)}"


def _assignments(statistics: Statistics) -> str:
    same, other = statistics.published.same, statistics.published.other
    return f"{_part(same, same + other)}; {other:,} at another" if same + other else "not known: none was published"
