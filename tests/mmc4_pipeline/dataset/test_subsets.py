"""Subset relations: images that the full dataset lacks are found in the ledgers, by document and position."""

from dataclasses import replace
from pathlib import Path

import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.subsets import Missing, missing_from
from mmc4_pipeline.errors import UserError
from schemas.ledger import LedgerRow
from schemas.reasons import Reason, Stage


def kept(document: str, position: int) -> LedgerRow:
    url = f"https://a.example/{document}"
    place = {"shard": "shard-00000.tar", "key": document}
    return LedgerRow(url, f"{url}/{position}.jpg", position, document, sha256=f"{document}{position}", **place)


def dropped(document: str, position: int) -> LedgerRow:
    return replace(kept(document, position), stage=Stage.CUT, reason=Reason.NSFW, shard=None, key=None)


def dataset(path: Path, *shards: list[LedgerRow]) -> str:
    for number, rows in enumerate(shards):
        storage.write_records(f"{path}/ledger/ledger-{number:05d}-of-{len(shards):05d}.parquet", rows, LedgerRow)
    return str(path)


FULL = [[kept("a", 0), kept("a", 2), dropped("b", 0)], [], [kept("c", 1), dropped("c", 2)]]


def test_nothing_of_a_subset_is_missing(tmp_path: Path) -> None:
    full = dataset(tmp_path / "full", *FULL)
    core = dataset(tmp_path / "core", [dropped("a", 0), kept("a", 2), dropped("b", 0)], [], [dropped("c", 1)])
    assert list(missing_from(full, core)) == []
    assert list(missing_from(full, full)) == []


def test_ledgers_in_folders_are_compared(tmp_path: Path) -> None:
    full = dataset(tmp_path / "full", *FULL)
    core = dataset(tmp_path / "core", [kept("a", 0)], [kept("d", 4)], [])
    for folder in (full, core):
        for number in (1, 2):  # as if there were 1,000 shards between them
            name = f"ledger-0000{number}-of-00003.parquet"
            inner = Path(folder, "ledger", str(number))
            inner.mkdir()
            Path(folder, "ledger", name).rename(inner / name)
    assert [missing.ledger for missing in missing_from(full, core)] == [
        f"{core}/ledger/1/ledger-00001-of-00003.parquet"
    ]


def test_images_that_the_full_dataset_dropped_or_never_had_are_missing(tmp_path: Path) -> None:
    full = dataset(tmp_path / "full", *FULL)
    other_bytes = replace(kept("a", 2), sha256="other")
    core = dataset(tmp_path / "core", [kept("a", 0), other_bytes, kept("b", 0)], [kept("d", 4)], [kept("c", 2)])

    def missing(shard: int, document: str, position: int, *, whole: bool) -> Missing:
        url = f"https://a.example/{document}"
        ledger = f"{core}/ledger/ledger-0000{shard}-of-00003.parquet"
        return Missing(ledger, document, position, url, f"{url}/{position}.jpg", whole)

    assert list(missing_from(full, core)) == [
        missing(0, "a", 2, whole=False),
        missing(0, "b", 0, whole=True),
        missing(1, "d", 4, whole=True),
        missing(2, "c", 2, whole=False),
    ]


def test_ledgers_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    full = dataset(tmp_path / "full", *FULL)
    with pytest.raises(UserError, match=f"{tmp_path}/two"):
        list(missing_from(full, dataset(tmp_path / "two", [], [])))
    with pytest.raises(UserError, match=f"{tmp_path}/none: "):
        list(missing_from(full, str(tmp_path / "none")))
    core = dataset(tmp_path / "core", *FULL)
    damaged = tmp_path / "core/ledger/ledger-00002-of-00003.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"ledger-00002-of-00003\.parquet: "):
        list(missing_from(full, core))
