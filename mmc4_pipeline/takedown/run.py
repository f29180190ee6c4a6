"""Takes what a deny-list names out of all that is finished below a folder: stages, datasets, or one dataset alone."""

import hashlib
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import yaml
from msgspec.structs import replace

from filters.deny_list import DenyList, LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.dataset.write_shards import write_sizes
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.publish.card import card, write_card
from mmc4_pipeline.publish.croissant import write_croissant
from mmc4_pipeline.report.page import NAME as REPORT
from mmc4_pipeline.report.page import write_report
from mmc4_pipeline.stage_folder import StageFolder, add_up, fingerprint
from mmc4_pipeline.storage import HttpSettings, Inputs
from mmc4_pipeline.takedown.dataset import formats_of, take_out_of_dataset
from mmc4_pipeline.takedown.folders import Part, Parts, refuse_earlier_ledgers
from mmc4_pipeline.takedown.stages import (
    Gone,
    Out,
    take_out_images,
    take_out_locations,
    take_out_pages,
    take_out_scores,
)
from mmc4_pipeline.takedown.transaction import NewFiles, Staging
from schemas.manifest import CutPlan, Manifest, Plan, ShardNote, Takedown
from schemas.reasons import Stage
from schemas.statistics import Counts

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeniedList:
    """A deny-list by its path and the sha256 that it had when the takedown began."""

    path: str
    sha256: str

    def read(self) -> LoadedDenyList:
        """Give the list, read once a process; raises UserError where it has changed or is none."""
        return _read(self)


@cache
def _read(given: DeniedList) -> LoadedDenyList:
    content = Inputs(HttpSettings()).read_bytes(given.path)
    if hashlib.sha256(content).hexdigest() != given.sha256:
        message = f"{given.path}: has changed while the takedown ran; run it again"
        raise UserError(message)
    try:
        return DenyList(given.path).load(lambda _: content)
    except ValueError as error:
        raise UserError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Unit:
    """A shard of the locations, or the shard of that number of all stages after them."""

    locations: bool
    shard: int

    @property
    def name(self) -> str:
        """Give the name of the unit's note."""
        return f"{'locations-' if self.locations else ''}{self.shard:05d}"


@dataclass(slots=True)
class Report:
    """What a takedown did, or would do: what went out of each folder, how many files of it were written, of how many.

    `edited` are dataset cards with other text than `mmc4 card` writes, which were left as they are.
    """

    parts: dict[str, Out] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    files_in_all: dict[str, int] = field(default_factory=dict)
    edited: list[str] = field(default_factory=list)


def units_of(parts: Parts) -> list[Unit]:
    """Give the units of work."""
    after = [part.shards for part in parts.all() if part is not parts.locations]
    locations = parts.locations.shards if parts.locations else 0
    return [Unit(True, shard) for shard in range(locations)] + [  # noqa: FBT003 - as the field's name says
        Unit(False, shard)  # noqa: FBT003
        for shard in range(max(after, default=0))
    ]


def end_stopped(parts: Parts, *, dry_run: bool) -> bool:
    """End a takedown that was stopped as its files took their places; tell whether there was one.

    What was known of the parts no longer holds then. Raises UserError in a dry run, which must not write.
    """
    staging = Staging(parts.root)
    if staging.sealed and dry_run:
        message = f"{parts.root}: a takedown was stopped as its files took their places; run it without --dry_run"
        raise UserError(message)
    if staging.sealed:
        _end(parts, staging)
        return True
    return False


def take_down(
    parts: Parts,
    path: str,
    *,
    dry_run: bool = False,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Take out what the deny-list at `path` names; a dry run only says what would be.

    New files are written aside and take their places together at the end, so that a run that is stopped leaves either
    what was there or what `end_stopped` ends. `workers` processes look at shards side by side;
    `advance` is called after each unit. Raises UserError for a list that is none, a folder that is not finished, and
    files that are not as they were written.
    """
    given = DeniedList(path, hashlib.sha256(Inputs(HttpSettings()).read_bytes(path)).hexdigest())
    given.read()
    refuse_earlier_ledgers(parts)
    staging, report = Staging(parts.root), Report()
    if not dry_run:
        staging.begin({"list": given.sha256, "manifests": _manifest_hashes(parts)})
    notes = []
    for note in _run(parts, given, None if dry_run else staging, units_of(parts), workers):
        notes.append(note)
        advance()
    _add_up(parts, notes, report)
    if dry_run:
        return report
    if any(note["files"] for note in notes):
        journal = _journal(parts, given, staging, notes, report)
        staging.seal(journal)
        report.edited = journal["edited"]
        _end(parts, staging)
    else:
        staging.clear()
    return report


def _manifest_hashes(parts: Parts) -> dict[str, str]:
    return {
        part.name: hashlib.sha256(storage.read_bytes(part.folder.file("manifest.json"))).hexdigest()
        for part in parts.all()
    }


def _run(
    parts: Parts, given: DeniedList, staging: Staging | None, units: Sequence[Unit], workers: int
) -> Iterator[Json]:
    work = partial(_take_out, parts, given, staging)
    if workers == 1:
        yield from map(work, units)
        return
    # Spawned, not forked: Arrow and fsspec have threads of their own.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, units)


def _take_out(parts: Parts, given: DeniedList, staging: Staging | None, unit: Unit) -> Json:
    """Write the new files of a unit unless that is done; give its note: the files, and what went out of each part."""
    if staging and (note := staging.done(unit.name)) is not None:
        return note
    files, deny = NewFiles(staging), given.read()
    out: dict[str, Out] = {}
    before: dict[str, Json] = {}
    if unit.locations and parts.locations:
        out[parts.locations.name] = take_out_locations(parts.locations, unit.shard, deny, files)
    elif not unit.locations:
        gone = _take_out_of_stages(parts, unit.shard, deny, files, out)
        for part in (part for part in parts.datasets if unit.shard < part.shards):
            taken = take_out_of_dataset(part, unit.shard, deny, gone if part.name in parts.following else None, files)
            out[part.name], before[part.name] = taken.out, taken.before
    note = {
        "files": files.names,
        "out": {name: item.to_json() for name, item in out.items()},
        "before": before,
    }
    if staging:
        staging.finish_unit(unit.name, note)
    return note


def _take_out_of_stages(
    parts: Parts, shard: int, deny: LoadedDenyList, files: NewFiles, out: dict[str, Out]
) -> Gone | None:
    if parts.pages is None or shard >= parts.pages.shards:
        return None
    out[parts.pages.name], gone = take_out_pages(parts.pages, shard, deny, files)
    if parts.images and gone.links:
        out[parts.images.name] = take_out_images(parts.images, shard, gone, files)
    for part in parts.scores if gone.links else ():
        out[part.name] = take_out_scores(part, shard, gone, files)
    return gone


def _add_up(parts: Parts, notes: Sequence[Json], report: Report) -> None:
    for part in parts.all():
        report.parts[part.name], report.files[part.name] = Out(), 0
        report.files_in_all[part.name] = len(part.folder.manifest().files)
        listed = {part.path(file.name) for file in part.folder.manifest().files}
        for note in notes:
            report.parts[part.name] += Out(**note["out"].get(part.name, {}))
            report.files[part.name] += len(listed.intersection(note["files"]))


def _journal(parts: Parts, given: DeniedList, staging: Staging, notes: Sequence[Json], report: Report) -> Json:
    """Write the new plans and manifests, and give the journal: data come into their places first, manifests last."""
    data = [name for note in notes for name in note["files"]]
    files = NewFiles(staging)
    changed_names: dict[str, str] = {}  # of a stage's files as they were: the name of what they are now
    counts: dict[str, dict[str, Counts]] = {}  # by the same, the new counts
    datasets, edited = [], []
    for part in parts.all():
        old = part.folder.manifest()
        plan: Any = old.plan
        if isinstance(plan, CutPlan):
            before = _new_before(plan, counts, [note["before"].get(part.name, {}) for note in notes])
            plan = replace(plan, before=before)
        new = replace(_new_manifest(part, staging, data, old), plan=_renamed(plan, changed_names))
        changed_names[fingerprint(old)], counts[fingerprint(old)] = fingerprint(new), new.counts
        if new == old:
            continue
        if any(report.parts[part.name].to_json().values()):
            entry = Takedown(list=given.sha256, **report.parts[part.name].to_json())
            new = replace(new, takedowns=[*old.takedowns, entry])
        if storage.exists(part.folder.file("plan.json")):
            files.write_json(part.path("plan.json"), new.plan)
        files.write_json(part.path("manifest.json"), new.to_json())
        if part.folder.stage is Stage.CUT:
            datasets.append(_to_write_again(part, part.folder.manifest(CutPlan)))
            edited += [part.folder.file("README.md")] if datasets[-1]["edited"] else []
    order = sorted([*data, *files.names], key=lambda name: (name.endswith(".json"), name.endswith("manifest.json")))
    return {"files": order, "datasets": datasets, "edited": edited}


def _new_manifest(part: Part, staging: Staging, written: Sequence[str], old: Manifest[Plan]) -> Manifest[Plan]:
    """Give a part's manifest with the counts and files of its shards' notes, as they will be."""
    names = set(written)
    if not any(part.path(part.note_name(shard)) in names for shard in range(part.shards)):
        return old
    counts, in_order = [], []
    for shard in range(part.shards):
        name = part.path(part.note_name(shard))
        note: ShardNote = storage.read_json(staging.new(name), ShardNote) if name in names else part.note(shard)
        counts.append(note.counts)
        in_order += note.files
    return replace(old, counts=add_up(counts), files=in_order)


def _renamed(plan: Any, names: Mapping[str, str]) -> Any:
    """Return a plan with the new fingerprints of its inputs."""
    values = {name: getattr(plan.input, name) for name in plan.input.__struct_fields__}
    changed = {name: names[value] for name, value in values.items() if isinstance(value, str) and value in names}
    return replace(plan, input=replace(plan.input, **changed))


def _new_before(
    plan: CutPlan, counts: Mapping[str, dict[str, Counts]], changes: Sequence[Json]
) -> dict[Stage, dict[str, Counts]]:
    """Give the counts of the stages before: those of the stages that are there, else by what the ledger says."""
    result = {}
    for stage, known in plan.before.items():
        there = getattr(plan.input, stage.value)
        result[stage] = counts[there] if there in counts else _changed(known, [item.get(stage, {}) for item in changes])
    return result


def _changed(known: dict[str, Counts], changes: Sequence[Json]) -> dict[str, Counts]:
    """Add changes to counts; they may be less than nothing, which a Counter does not add."""
    result = {}
    for what, count in known.items():
        less = [change[what] for change in changes if what in change]
        dropped = dict(count.dropped)
        for reason, number in (pair for change in less for pair in change["dropped"].items()):
            dropped[reason] = dropped.get(reason, 0) + number
        result[what] = Counts(
            count.seen + sum(change["in"] for change in less),
            count.kept + sum(change["kept"] for change in less),
            Counter({reason: number for reason, number in sorted(dropped.items()) if number}),
        )
    return result


def _to_write_again(part: Part, old: Manifest[CutPlan]) -> Json:
    """Say what has to follow a dataset's new manifest: its card only where nobody has changed it."""
    readme, croissant = part.folder.file("README.md"), part.folder.file("croissant.json")
    names: Json = {"dataset": part.name, "card": None, "croissant": None, "edited": False}
    if storage.exists(readme):
        text = storage.read_bytes(readme).decode("utf-8", "replace")
        name = _pretty_name(text)
        own = name is not None and text == card(old, name)
        names |= {"card": name} if own else {"edited": True}
    if storage.exists(croissant):
        metadata = storage.read_json(croissant)
        names["croissant"] = {"name": metadata["name"], "url": metadata["url"]}
    return names


def _pretty_name(text: str) -> str | None:
    """Give the dataset's name from the front matter of its card."""
    try:
        front = yaml.safe_load(text.removeprefix("---\n").partition("\n---")[0])
    except yaml.YAMLError:
        return None
    name = front.get("pretty_name") if isinstance(front, dict) else None
    return name if isinstance(name, str) else None


def _end(parts: Parts, staging: Staging) -> None:
    """Put the new files into their places and write what follows from them; may be done again from its beginning."""
    journal = staging.put_in_place()
    by_name = {part.name: part for part in parts.datasets}
    for item in journal["datasets"]:
        part = by_name[item["dataset"]]
        _write_again(part, item)
    for folder, name in ((parts.pages, "read"), (parts.locations, "wanted")):
        if folder:  # left by a run that was stopped at the end of its stage
            storage.remove_folder(folder.folder.file(name))
    storage.remove_leftovers(parts.root)
    staging.clear()


def _write_again(part: Part, item: Json) -> None:
    folder: StageFolder = part.folder
    write_sizes(folder, formats_of(part))
    if storage.exists(folder.file(REPORT)):
        write_report(folder)
    if item["card"]:
        write_card(folder, item["card"])
    if item["croissant"]:
        write_croissant(folder, item["croissant"]["name"], item["croissant"]["url"])
