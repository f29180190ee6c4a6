"""Reads and writes a stage's folder: its plan, a note for each finished shard, and the manifest of the whole stage.

    plan.json             what the output depends on: part of the recipe, options, input. Written first.
    <data files>          named after their shard, each written under a temporary name and then renamed.
    done/00003.json       a shard's note: its files with size and sha256, and its counts. Written after the files.
    notes.parquet         all notes in one file, so that readers need not read thousands of small ones.
    manifest.json         written when every shard has a note: the plan, all files, total counts, package versions.

A note means that its shard is finished. Resuming, progress and statistics rely on the notes, which, unlike a runner's
counters, are exact after retries. A step within a stage has a folder of notes of its own, such as `fetched/`.

Of more than 10,000 shards, the data files are in subfolders of 1,000 shards (018/pages-018249-of-182500.parquet), and
the notes from number 10,000 on in subfolders of 10,000 (done/18/182499.json).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, overload

import msgspec
import orjson

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.naming import in_stage_folder, numbered, shard_name
from mmc4_pipeline.stage_notes import ALL_NOTES, read_notes, writing_notes
from schemas.manifest import AnyPlan, Json, Manifest, Plan, ShardNote, StagePlan, WrittenFile
from schemas.reasons import Stage
from schemas.statistics import Counts

PACKAGES = (  # whose versions the manifest has, if they are installed: PyTorch is an extra
    "mmc4-pipeline",
    "apache-beam",
    "numpy",
    "opencv-python-headless",
    "open_clip_torch",
    "pyarrow",
    "scipy",
    "torch",
)


DONE = "done"  # the folder of the shards' notes


def note_name(shard: int, notes: str = DONE) -> str:
    """Return the name of a shard's note: "done/00003.json"."""
    return f"{numbered(notes, shard)}.json"


@dataclass(frozen=True)
class StageFolder:
    """The folder of one stage (or of one dataset that the cut stage makes). Cheap to send to workers."""

    path: str
    stage: Stage

    def file(self, name: str) -> str:
        """Return the path of a file in the folder; raises UserError if the name leads out of it."""
        return storage.inside(self.path, name)

    def shard_file(self, stem: str, shard: int, shards: int, extension: str = "parquet") -> str:
        """Return the path of a shard's file: "…/pages-00003-of-00012.parquet"."""
        folder, slash, name = f"{shard_name(stem, shard, shards)}.{extension}".rpartition("/")
        return self.file(folder + slash + in_stage_folder(name))

    def begin(self, plan: Plan, *, resume: bool) -> bool:
        """Start or resume the stage; return whether there is anything left to do.

        Raises UserError if the folder holds a run of other input, recipe or options, or any run without `resume`.
        """
        if self.may_begin(plan, resume=resume):
            storage.remove_leftovers(self.path)
            self._remove_broken_notes()
        else:
            storage.write_json(self.file("plan.json"), plan)
        return not self.is_finished()

    def has_begun(self) -> bool:
        """Return whether the stage has a plan."""
        return storage.is_whole_json(self.file("plan.json"))

    def is_finished(self) -> bool:
        """Return whether the stage has a manifest."""
        return storage.is_whole_json(self.file("manifest.json"))

    def may_begin(self, plan: Plan, *, resume: bool) -> bool:
        """Return, without writing anything, whether the stage has begun before; raises UserError as `begin` does."""
        if not self.has_begun():
            return False
        if not resume:
            raise UserError(
                f"{self.path}: already holds this stage; continue it with --resume, or choose another --output"
            )
        self._refuse_changes(orjson.loads(storage.json_bytes(plan)))
        return True

    def _remove_broken_notes(self) -> None:
        """Remove the notes that a power loss left empty or cut short, so that their shards are done again.

        What a step within the stage has left for a shard may be broken although the shard's own note is not.
        """
        if not storage.is_local(self.path):
            return
        name = f"{'[0-9]' * 5}*.json"
        notes = [
            note for pattern in (f"*/{name}", f"*/[0-9]*/{name}") for note in storage.matches_below(self.path, pattern)
        ]
        for note, is_whole in zip(notes, storage.concurrently(storage.is_whole_json, notes), strict=True):
            if not is_whole:
                for path in {note, self.note_file(_shard_of(note))}:
                    if storage.exists(path):
                        storage.remove(path)

    def _refuse_changes(self, plan: Json) -> None:
        """Raise UserError if the stored plan differs, and name each key that does."""
        before, now = _flat(storage.read_json(self.file("plan.json"), Json)), _flat(plan)
        changes = [
            f"{key}: was {before.get(key, 'not set')}, is {now.get(key, 'not set')}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        if changes:
            raise UserError(
                f"{self.path}: cannot resume, because the stage's input, recipe or options have changed: "
                f"{'; '.join(changes)}. "
                "Undo the change, choose another --output, or remove this folder and those of later stages"
            )

    def plan(self) -> StagePlan:
        """Read what the stage was started with."""
        return storage.read_json(self.file("plan.json"), StagePlan)  # type: ignore[no-any-return]

    def note_file(self, shard: int, notes: str = DONE) -> str:
        """Return the path of a shard's note; `notes` is the folder of notes of a step within the stage."""
        return self.file(note_name(shard, notes))

    def done(self, notes: str = DONE) -> set[int]:
        """Return the finished shards; `notes` is the folder of notes of a step within the stage."""
        return set(map(_shard_of, storage.matches_below(self.path, f"{notes}/**/*.json")))

    def finish_shard(self, note: ShardNote) -> None:
        """Write the note of a finished shard; raises ArithmeticError if its counts don't add up."""
        for what, count in note.counts.items():
            count.check(f"{what} of {self.stage} shard {note.shard}")
        ordered = {what: count.in_order() for what, count in note.counts.items()}
        storage.write_json(self.note_file(note.shard), msgspec.structs.replace(note, counts=ordered))

    def note(self, shard: int) -> ShardNote:
        """Read the note of a finished shard."""
        return storage.read_json(self.note_file(shard), ShardNote)  # type: ignore[no-any-return]

    def counts(self, shards: Iterable[int]) -> dict[str, Counts]:
        """Add up the counts of some finished shards."""
        return add_up(note.counts for note in storage.concurrently(self.note, shards))

    def notes(self) -> Iterator[ShardNote]:
        """Yield the notes of the finished shards, in order: from one file if the stage is finished."""
        if storage.exists(self.file(ALL_NOTES)):
            return read_notes(self.file(ALL_NOTES))
        return storage.concurrently(self.note, sorted(self.done()))

    def finish(self) -> Manifest[StagePlan]:
        """Write the manifest from the notes of all shards and return it; raises UserError if some are missing.

        It may run again, or twice at the same time: the same notes give the same bytes. The notes are read in parallel
        and few of them are in memory.
        """
        plan = self.plan()
        missing = set(range(plan.shards)) - self.done()
        if missing:
            raise UserError(
                f"{self.path}: {len(missing)} of {plan.shards} shards are not finished; run again with --resume"
            )
        files: list[WrittenFile] = []
        with storage.write_atomically(self.file(ALL_NOTES)) as stream, writing_notes(stream) as write:

            def counts() -> Iterator[dict[str, Counts]]:
                for note in storage.concurrently(self.note, range(plan.shards)):
                    write(note)
                    files.extend(note.files)
                    yield note.counts

            total = add_up(counts())
        manifest = Manifest(plan=plan, versions=_versions(), counts=total, files=files)
        storage.write_json(self.file("manifest.json"), manifest.to_json())
        return manifest

    @overload
    def manifest(self) -> Manifest[StagePlan]: ...

    @overload
    def manifest(self, plan: type[AnyPlan]) -> Manifest[AnyPlan]: ...

    def manifest(self, plan: Any = StagePlan) -> Manifest[Any]:
        """Read the manifest, with the plan of that type; raises UserError if the stage is not finished."""
        path = self.file("manifest.json")
        if not self.is_finished():
            raise UserError(f"{self.path}: the {self.stage} stage is not finished here; run `mmc4 {self.stage}` first")
        return storage.parse_json(path, storage.read_bytes(path), lambda data: Manifest.from_json(data, plan))


def _shard_of(note: str) -> int:
    return int(note.rpartition("/")[2].removesuffix(".json"))


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def add_up(counts: Iterable[Mapping[str, Counts]]) -> dict[str, Counts]:
    """Add up the counts of several shards, by what was counted."""
    total: dict[str, Counts] = {}
    for shard in counts:
        for what, count in shard.items():
            total.setdefault(what, Counts())
            total[what] += count
    return {what: count.in_order() for what, count in total.items()}


def fingerprint(manifest: Manifest[Any]) -> str:
    """Return a short hash of these output files' names and contents; the next stage records it as its input."""
    listing = "\n".join(f"{file.name} {file.sha256}" for file in manifest.files)
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Flatten nested objects to dotted keys, so that a change is named by its key.

    The order of filters is a key of its own: it decides which reason a link is dropped for.
    """
    if not isinstance(value, dict) or not value:
        return {path: value}
    leaves = {f"{path} in order": ", ".join(value)} if path.endswith(".filters") else {}
    for name, item in value.items():
        leaves |= _flat(item, f"{path}.{name}".lstrip("."))
    return leaves
