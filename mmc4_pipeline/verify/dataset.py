"""Checks a whole dataset: each file, each shard against the ledger, all counts, and that it is a subset of another."""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import ShardFile, files_of, is_ledger, shards_of
from mmc4_pipeline.dataset.subsets import missing_from
from mmc4_pipeline.dataset.write_shards import DatasetSettings, is_stored
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.base import FinishedShard, Format
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.verify.check_ledger import LedgerTotals, check_ledger_file
from mmc4_pipeline.verify.check_shard import AGAIN, Checked, HashingReader, check_shard
from schemas.manifest import CutPlan, Manifest, WrittenFile
from schemas.reasons import Stage
from schemas.statistics import Counts


@dataclass(slots=True)
class Report:
    """The extent of a check, and its problems. A problem is one line: the file, what is wrong, and what to do."""

    files: int = 0
    bytes: int = 0
    documents: int = 0
    images: int = 0
    links: int = 0
    problems: list[str] = field(default_factory=list)


def verify(
    folder: StageFolder,
    whole: StageFolder | None = None,
    *,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Check a finished dataset, and that it is a subset of `whole` if that is given.

    `workers` processes check shards in parallel; `advance` is called after each file. Raises UserError only if the
    manifest can't be read: all other problems are in the report.
    """
    manifest = folder.manifest(CutPlan)
    files, shards = files_of(manifest), shards_of(manifest)
    names = {shard.file.name for shard in shards}
    report = Report(files=len(files), bytes=sum(file.bytes for file in files))
    ledger = LedgerTotals()
    of_ledger = [file for file in files if is_ledger(file.name)]
    for part in storage.concurrently(lambda file: check_ledger_file(folder.file(file.name), file), of_ledger):
        ledger += part
        advance()
    others = [file for file in files if not is_ledger(file.name) and file.name not in names]
    for problems in storage.concurrently(lambda file: list(_check_other(folder.file(file.name), file)), others):
        report.problems += problems
        advance()
    report.links = ledger.rows
    report.problems += ledger.problems
    totals = {name: Checked() for name in DatasetSettings.of(manifest).formats}
    indexed: dict[str, list[FinishedShard]] = {}
    for shard, checked in zip(shards, _check_shards(folder, shards, ledger, workers), strict=True):
        report.problems += checked.problems
        totals[shard.format_name] += checked
        indexed.setdefault(shard.format_name, []).append(FinishedShard(shard.file, checked.documents))
        advance()
    first = next(iter(totals.values()))
    report.documents, report.images = first.documents, first.images
    for name, item in DatasetSettings.of(manifest).formats.items():
        if totals[name].whole:
            report.problems += _check_index(folder, item, indexed.get(name, []))
    report.problems += _unlisted(folder, files, shards, ledger)
    report.problems += _check_counts(folder, manifest, totals, ledger)
    if whole is not None and ledger.whole:
        report.problems += _check_subset(folder, whole)
    return report


def _check_shards(
    folder: StageFolder, shards: list[ShardFile], ledger: LedgerTotals, workers: int
) -> Iterator[Checked]:
    work = (
        [folder.file(shard.file.name) for shard in shards],
        shards,
        [_ledgers_of(shard, ledger) for shard in shards],
    )
    if workers == 1:
        yield from map(check_shard, *work)
        return
    # Spawned, not forked: Arrow and fsspec have threads of their own.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(check_shard, *work)


def _check_index(folder: StageFolder, item: Format, shards: list[FinishedShard]) -> Iterator[str]:
    """Yield the files describing a format's shards that are not there, or not as they would be written now."""
    if item.names_beside(""):
        for problems in storage.concurrently(partial(_check_beside, folder, item), shards):
            yield from problems
    for name, content in item.index_files(folder.path, shards):
        path = folder.file(name)
        if not storage.exists(path):
            yield f"{path}: is missing; {AGAIN}"
        elif not is_stored(content, path):
            yield f"{path}: does not describe the shards; {AGAIN}"


def _check_beside(folder: StageFolder, item: Format, shard: FinishedShard) -> list[str]:
    found = []
    for name, content in item.described(folder.path, shard).items():
        path = folder.file(name)
        if not storage.exists(path):
            found.append(f"{path}: is missing; {AGAIN}")
        elif storage.read_bytes(path) != content:
            found.append(f"{path}: does not describe the shard; {AGAIN}")
    return found


def _ledgers_of(shard: ShardFile, ledger: LedgerTotals) -> list[str] | None:
    return ledger.files_of_shard.get(shard.in_ledger, []) if ledger.whole else None


def _check_other(path: str, expected: WrittenFile) -> Iterator[str]:
    """Check the bytes of a file that is neither a shard nor a part of the ledger."""
    try:
        with storage.open_read(path) as stream:
            difference = HashingReader(stream).problem(expected)
    except UserError:
        yield f"{path}: is in the manifest but cannot be read; {AGAIN}"
    else:
        if difference:
            yield f"{path}: {difference}"


def _unlisted(
    folder: StageFolder, files: list[WrittenFile], shards: list[ShardFile], ledger: LedgerTotals
) -> Iterator[str]:
    """Yield shards and ledger files that the manifest doesn't list; readers that use a pattern would read them too."""
    listed = {file.name for file in files}
    places = {(f"{shard.format.folder}/".lstrip("/"), f"shard-*.{shard.format.extension}") for shard in shards}
    for place, pattern in sorted(places | {("ledger/", "*.parquet")}):
        for inner in ("", "[0-9]*/"):
            for name in storage.names_below(folder.path, place + inner + pattern):
                if name not in listed:
                    yield f"{folder.file(name)}: is not in the manifest; remove it"
    for name in sorted(ledger.files_of_shard.keys() - listed) if ledger.whole else ():
        yield f"{folder.file(name)}: the ledger names this shard, the manifest does not; {AGAIN}"


def _check_counts(
    folder: StageFolder, manifest: Manifest[CutPlan], formats: Mapping[str, Checked], ledger: LedgerTotals
) -> Iterator[str]:
    """Yield the counts of the manifest that do not add up, or differ from those of the shards or the ledger."""
    path, kept = folder.file("manifest.json"), {what: count.kept for what, count in manifest.counts.items()}
    stages = {**manifest.plan.before, Stage.CUT: manifest.counts}
    for stage, parts in stages.items():
        for what, count in parts.items():
            total = count.kept + count.dropped.total()
            if count.seen != total:
                yield _count(path, f"{what} that went into {stage}", count.seen, f"{total} kept and dropped")
    for name, shards in formats.items():
        if shards.whole and kept["documents"] != shards.documents:
            yield _count(path, "documents kept", kept["documents"], f"{shards.documents} in the {name} shards")
        if shards.whole and kept["links"] != shards.images:
            yield _count(path, "links kept", kept["links"], f"{shards.images} images in the {name} shards")
    if ledger.whole:
        yield from _compare_with_ledger(path, kept["links"], stages, ledger)


def _compare_with_ledger(
    path: str, kept: int, stages: Mapping[Stage, Mapping[str, Counts]], ledger: LedgerTotals
) -> Iterator[str]:
    if kept != ledger.kept:
        yield _count(path, "links kept", kept, f"{ledger.kept} in the ledger")
    for stage, parts in stages.items():
        if "links" not in parts:  # locate knows documents only
            continue
        expected, found = parts["links"].dropped, ledger.dropped.get(stage, Counter[str]())
        for reason in sorted(expected.keys() | found.keys()):
            if expected[reason] != found[reason]:
                what = f"links dropped in {stage} for {reason}"
                yield _count(path, what, expected[reason], f"{found[reason]} in the ledger")


def _count(path: str, what: str, expected: int, found: str) -> str:
    return f"{path}: {expected} {what}, but {found}; {AGAIN}"


def _check_subset(folder: StageFolder, whole: StageFolder) -> Iterator[str]:
    try:
        for document, images in groupby(missing_from(whole.path, folder.path), key=lambda image: image.document):
            urls = [image.image_url for image in images]
            more = f" and {len(urls) - 1} more" if len(urls) > 1 else ""
            message = f"{folder.path}: document {document} has an image that {whole.path} lacks: {urls[0]}{more}"
            yield f"{message}; cut both from the same scores, with a recipe that extends the other's"
    except UserError as error:  # one more problem: the others are still reported
        yield str(error)
