"""Compare a dataset made from the miniature web with the truth that was planted in it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import webdataset as wds


@dataclass(frozen=True, slots=True)
class Truth:
    """The result of a comparison. Shares are between 0 and 1; that of an empty group is 1."""

    kept: int
    on_own_sentence: float  # of the kept images
    exact_duplicates_dropped: float
    reencoded_duplicates_dropped: float
    distinct_dropped_as_duplicates: float  # of the links that are not duplicates
    opted_out_kept: int
    right_reason: float  # of the links that should be dropped
    wrongly_dropped: float  # of the links that should be kept
    right_places: float  # of all links; of none if the pages were not read from HTML

    def summary(self) -> str:
        """Return the result in one line."""
        return (
            f"{self.on_own_sentence:.1%} of {self.kept} kept images assigned to their own sentence, "
            f"{self.exact_duplicates_dropped:.0%} of exact and {self.reencoded_duplicates_dropped:.1%} of re-encoded "
            f"duplicates dropped, {self.distinct_dropped_as_duplicates:.2%} of distinct images dropped as duplicates, "
            f"{self.opted_out_kept} opted-out images kept, "
            f"{self.right_reason:.1%} of drops with the planted reason, "
            f"{self.wrongly_dropped:.2%} of the links to keep dropped, {self.right_places:.1%} of places right"
        )


def compare(truth_file: Path, dataset: Path) -> Truth:
    """Compare the ledger and the shards of a dataset with a truth.json."""
    planted = json.loads(truth_file.read_text())["links"]
    rows = pq.read_table(dataset / "ledger").to_pylist()
    ledger = {(row["page_url"], row["position"]): row for row in rows}
    links = [(link, ledger[link["page_url"], link["position"]]) for link in planted]
    has_places = any(row["after_sentence"] is not None for row in rows)
    sentences = _sentences_in_shards(dataset)
    kept = [(link, sentences[link["page_url"], link["image_url"]]) for link, row in links if row["reason"] is None]
    return Truth(
        kept=len(kept),
        on_own_sentence=_share(link["sentence"] == sentence for link, sentence in kept),
        exact_duplicates_dropped=_share(
            row["reason"] is not None for link, row in links if link["duplicate"] == "exact"
        ),
        reencoded_duplicates_dropped=_share(
            row["reason"] is not None for link, row in links if link["duplicate"] == "reencoded"
        ),
        distinct_dropped_as_duplicates=1
        - _share("duplicate" not in (row["reason"] or "") for link, row in links if not link["duplicate"]),
        opted_out_kept=sum(row["reason"] is None for link, row in links if link["reason"] == "opted_out"),
        right_reason=_share(row["reason"] == link["reason"] for link, row in links if link["reason"]),
        wrongly_dropped=1 - _share(row["reason"] is None for link, row in links if not link["reason"]),
        right_places=_share(
            (row["after_sentence"], row["inside_text"]) == (link["after_sentence"], link["inside_text"])
            for link, row in links
            if has_places
        ),
    )


def _sentences_in_shards(dataset: Path) -> dict[tuple[str, str], str]:
    """Return the sentence of each image by page and image URL, read from the shards with plain webdataset."""
    found: dict[tuple[str, str], str] = {}
    shards = [str(path) for path in sorted(dataset.glob("shard-*.tar"))]
    for sample in wds.WebDataset(shards, shardshuffle=False, empty_check=False):
        document: dict[str, Any] = json.loads(sample["json"])
        for info in document["image_info"]:
            found[document["url"], info["raw_url"]] = document["text_list"][info["matched_text_index"]]
    return found


def _share(outcomes: Iterable[bool]) -> float:
    known = list(outcomes)
    return sum(known) / len(known) if known else 1.0
