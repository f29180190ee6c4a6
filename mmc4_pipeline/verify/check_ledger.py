"""Checks the ledger: its bytes, and that each row is either kept or dropped. Adds up its rows."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.verify.check_shard import AGAIN, HashingReader
from schemas.manifest import WrittenFile

_COLUMNS = ["stage", "reason", "shard", "key", "sha256"]


@dataclass(slots=True)
class LedgerTotals:
    """The totals of the ledger: links kept, links dropped by stage and reason, and the files with rows of each shard.

    They are meaningful only if `whole`: all files are as they were written.
    """

    rows: int = 0
    kept: int = 0
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    files_of_shard: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    whole: bool = True

    def __iadd__(self, other: "LedgerTotals") -> Self:
        """Add the totals of further files."""
        self.rows += other.rows
        self.kept += other.kept
        for stage, reasons in other.dropped.items():
            self.dropped.setdefault(stage, Counter()).update(reasons)
        for shard, files in other.files_of_shard.items():
            self.files_of_shard.setdefault(shard, []).extend(files)
        self.problems += other.problems
        self.whole = self.whole and other.whole
        return self


def check_ledger_file(path: str, expected: WrittenFile) -> LedgerTotals:
    """Check one of the ledger's files, and return its totals if it is intact."""
    totals = LedgerTotals()
    try:
        with storage.open_read(path) as stream:
            if difference := HashingReader(stream).problem(expected):
                return LedgerTotals(problems=[f"{path}: {difference}"], whole=False)
        with storage.open_read(path) as stream:
            file = pq.ParquetFile(stream)
            for batch in file.iter_batches(columns=_COLUMNS):
                _add(path, pa.Table.from_batches([batch]), totals)
    except UserError:
        totals.problems.append(f"{path}: is in the manifest but cannot be read; {AGAIN}")
        totals.whole = False
    except (pa.ArrowException, OSError) as error:
        totals.problems.append(f"{path}: not readable as a ledger ({str(error).splitlines()[0]}); {AGAIN}")
        totals.whole = False
    return totals


def _add(path: str, rows: pa.Table, totals: LedgerTotals) -> None:
    counted = [([], "count_all"), ("key", "count"), ("sha256", "count")]
    groups = rows.group_by(["stage", "reason", "shard"]).aggregate(counted)
    for group in groups.to_pylist():
        stage, reason, shard, number = group["stage"], group["reason"], group["shard"], group["count_all"]
        totals.rows += number
        if reason is None:
            totals.kept += number
        else:
            totals.dropped.setdefault(stage or "no stage", Counter())[reason] += number
        if shard is not None and path not in totals.files_of_shard.setdefault(shard, []):
            totals.files_of_shard[shard].append(path)
        placed = shard is not None and group["key_count"] == number
        if (reason is None) != placed or (reason is None and (stage is not None or group["sha256_count"] != number)):
            rows_of = f"{number} rows with stage {stage}, reason {reason} and shard {shard}"
            totals.problems.append(f"{path}: {rows_of} are neither kept nor dropped; {AGAIN}")
