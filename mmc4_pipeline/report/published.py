"""Compares a dataset's rates with those of MMC4, computed from its published totals.

Zhu et al., "Multimodal C4: An Open, Billion-scale Corpus of Images Interleaved with Text", 2023, arXiv:2304.06939,
section 3, for what went in and the share of NSFW images; the totals of version 1.1 of the four subsets are of the
repository's README (https://github.com/allenai/mmc4).
"""

from collections.abc import Collection
from dataclasses import dataclass

from schemas.manifest import CutPlan, Manifest
from schemas.reasons import Reason, Stage
from schemas.statistics import Statistics

_C4_DOCUMENTS = 365e6
_IMAGES_FETCHED = 1.37e9
_NSFW_SHARE = "about 10%"
_SUBSETS = {  # documents, images
    "mmc4": (101.2e6, 571e6),
    "mmc4-ff": (77.7e6, 375e6),
    "mmc4-core": (7.3e6, 29.9e6),
    "mmc4-core-ff": (5.5e6, 22.4e6),
}


@dataclass(frozen=True, slots=True)
class Rate:
    """One rate of this dataset, or why it has none, and MMC4's."""

    what: str
    here: str
    published: str


def published_name(name: str) -> str:
    """Return the published subset of that name, or the whole corpus, to compare a dataset with."""
    return name if name in _SUBSETS else "mmc4"


def rates(name: str, manifest: Manifest[CutPlan], statistics: Statistics, uncounted: Collection[str]) -> list[Rate]:
    """Return a dataset's rates next to those of its published counterpart; `uncounted` statistics are incomplete."""
    documents, images = _SUBSETS[published_name(name)]
    counts = manifest.counts
    kept, scored = counts["links"].kept, counts["links"].seen
    documents_in = manifest.plan.before.get(Stage.LOCATE, {}).get("documents", counts["documents"]).seen
    nsfw = counts["links"].dropped[Reason.NSFW]
    return [
        Rate(
            "C4 documents kept, with an image",
            _percent(counts["documents"].kept, documents_in),
            _percent(documents, _C4_DOCUMENTS),
        ),
        Rate(
            "images kept, of those received",
            "not counted"
            if "decoded_short_side" in uncounted
            else _percent(kept, statistics.decoded_short_side.total()),
            _percent(images, _IMAGES_FETCHED),
        ),
        Rate("images per document", _ratio(kept, counts["documents"].kept), _ratio(images, documents)),
        Rate(
            "images dropped as NSFW, of those scored",
            _percent(nsfw, scored) if statistics.scores.get("nsfw") or nsfw else "not scored",
            _NSFW_SHARE,
        ),
    ]


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "none"


def _ratio(part: float, whole: float) -> str:
    return f"{part / whole:.2f}" if whole else "none"
