"""A stage's folder: its plan, a note for each finished shard, and the manifest once all of them are done.

    plan.json             what the output depends on: recipe part, options, input. Written first.
    <data files>          named after their shard, each written to a temporary name and renamed.
    done/00003.json       written last for a shard: its files with size and sha256, and its counts.
    manifest.json         written once every shard is done: plan, files, counts added up, versions.

The notes are what resuming, progress and statistics rest on: unlike a runner's counters they are exact after retries.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.naming import shard_name
from mmc4_pipeline.storage import WrittenFile
from schemas.reasons import Stage
from schemas.statistics import Counts

FILES_AT_ONCE = 32  # that are looked at: on remote storage each look takes a while
PACKAGES = (  # whose versions the manifest records, if they are installed: PyTorch is an extra
    "mmc4-pipeline",
    "apache-beam",
    "numpy",
    "opencv-python-headless",
    "open_clip_torch",
    "pyarrow",
    "scipy",
    "torch",
)


@dataclass(frozen=True)
class StageFolder:
    """The folder of one stage (or of one dataset that the cut stage makes). Cheap to send to workers."""

    path: str
    stage: Stage

    def file(self, name: str) -> str:
        """Give the path of a file in the folder."""
        return storage.join(self.path, name)

    def shard_file(self, stem: str, shard: int, shards: int, extension: str = "parquet") -> str:
        """Give the path of a shard's file: "…/pages-00003-of-00012.parquet"."""
        return self.file(f"{shard_name(stem, shard, shards)}.{extension}")

    def begin(self, plan: dict[str, Any], shards: int, *, resume: bool) -> bool:
        """Start or resume the stage; tell whether there is anything left to do.

        Raises UserError where the folder holds a run of other input, recipe or options, or any run without `resume`.
        """
        if self.may_begin(plan, shards, resume=resume):
            storage.remove_leftovers(self.path)
        else:
            storage.write_json(self.file("plan.json"), self._whole(plan, shards))
        return not storage.exists(self.file("manifest.json"))

    def may_begin(self, plan: dict[str, Any], shards: int, *, resume: bool) -> bool:
        """Tell, without writing anything, whether the stage has begun before; raises UserError as `begin` does."""
        if not storage.exists(self.file("plan.json")):
            return False
        if not resume:
            message = f"{self.path}: already holds this stage; continue it with --resume, or choose another --output"
            raise UserError(message)
        self._refuse_changes(self._whole(plan, shards))
        return True

    def _whole(self, plan: dict[str, Any], shards: int) -> dict[str, Any]:
        """Give the plan as JSON has it: what is compared must not differ by tuples and lists."""
        whole = {"stage": self.stage.value, "shards": shards, **plan}
        return orjson.loads(orjson.dumps(whole))  # type: ignore[no-any-return]

    def _refuse_changes(self, plan: dict[str, Any]) -> None:
        before, now = _flat(storage.read_json(self.file("plan.json"))), _flat(plan)
        changes = [
            f"{key}: was {before.get(key, 'not set')}, is {now.get(key, 'not set')}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        if changes:
            message = (
                f"{self.path}: cannot resume, what it was made from has changed: {'; '.join(changes)}. "
                "Undo the change, choose another --output, or remove this folder and the stages after it"
            )
            raise UserError(message)

    def plan(self) -> dict[str, Any]:
        """Read what the stage was started with."""
        return storage.read_json(self.file("plan.json"))  # type: ignore[no-any-return]

    def _note(self, shard: int) -> str:
        return self.file(f"done/{shard:05d}.json")

    def done(self, notes: str = "done") -> set[int]:
        """Give the finished shards; `notes` names the folder of notes of a step within the stage."""
        return {
            int(path.rpartition("/")[2].removesuffix(".json"))
            for path in storage.matches_below(self.path, f"{notes}/*.json")
        }

    def finish_shard(self, shard: int, files: Iterable[WrittenFile], counts: dict[str, Counts], **extra: Any) -> None:
        """Note that a shard is finished; raises ArithmeticError if its counts don't add up."""
        for what, count in counts.items():
            count.check(f"{what} of {self.stage} shard {shard}")
        as_json = {what: count.to_json() for what, count in counts.items()}
        note = {"shard": shard, "files": storage.as_json(files), "counts": as_json, **extra}
        storage.write_json(self._note(shard), note)

    def counts(self, shards: Iterable[int]) -> dict[str, Counts]:
        """Add up what the notes of some finished shards say."""
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            return add_up(note["counts"] for note in pool.map(storage.read_json, map(self._note, shards)))

    def finish(self) -> dict[str, Any]:
        """Write the manifest from the notes of all shards and give it; raises UserError if some are missing."""
        plan = self.plan()
        missing = set(range(plan["shards"])) - self.done()
        if missing:
            message = (
                f"{self.path}: {len(missing)} of {plan['shards']} shards are not finished; run again with --resume"
            )
            raise UserError(message)
        read = (storage.read_json(self._note(shard)) for shard in range(plan["shards"]))
        notes = [{"counts": note["counts"], "files": note["files"]} for note in read]  # statistics are the bulk of them
        manifest = {
            **plan,
            "versions": _versions(),
            "counts": {what: count.to_json() for what, count in add_up(note["counts"] for note in notes).items()},
            "files": [file for note in notes for file in note["files"]],
        }
        storage.write_json(self.file("manifest.json"), manifest)
        return manifest

    def manifest(self) -> dict[str, Any]:
        """Read the manifest; raises UserError where the stage is not finished."""
        if not storage.exists(self.file("manifest.json")):
            message = f"{self.path}: the {self.stage} stage is not finished here; run `mmc4 {self.stage}` first"
            raise UserError(message)
        return storage.read_json(self.file("manifest.json"))  # type: ignore[no-any-return]


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def add_up(counts: Iterable[dict[str, Any]]) -> dict[str, Counts]:
    """Add up the counts of several shards, by what was counted."""
    total: dict[str, Counts] = {}
    for shard in counts:
        for what, count in shard.items():
            total.setdefault(what, Counts()).__iadd__(Counts.from_json(count))
    return total


def fingerprint(manifest: dict[str, Any]) -> str:
    """Give a short name for exactly these output files: what the next stage records as its input."""
    import hashlib

    listing = "\n".join(f"{file['name']} {file['sha256']}" for file in manifest["files"])
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Flatten nested objects to dotted keys, so that a change is named by its key.

    The order of filters is a leaf too: it decides which reason counts.
    """
    if not isinstance(value, dict) or not value:
        return {path: value}
    leaves = {f"{path} in order": ", ".join(value)} if path.endswith(".filters") else {}
    for name, item in value.items():
        leaves |= _flat(item, f"{path}.{name}".lstrip("."))
    return leaves
