"""What a folder consists of that a takedown may have to change: the stages of an output, or one dataset alone."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.deny_list import LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import files_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.stage_folder import FILES_AT_ONCE, StageFolder, fingerprint
from mmc4_pipeline.verify.check_shard import AGAIN, HashingReader
from schemas.arrow import arrow_schema
from schemas.ledger import LedgerRow
from schemas.manifest import CutPlan, ShardNote, WrittenFile
from schemas.reasons import Stage

_URLS = ("url", "page_url", "image_url")  # the columns, at any depth, by which something may be denied


@dataclass(frozen=True)
class Part:
    """A finished stage, or a dataset. `name` is its folder's path below the whole, empty for a dataset alone."""

    name: str
    folder: StageFolder
    shards: int

    def path(self, name: str) -> str:
        """Give a file's path below the whole."""
        return f"{self.name}/{name}".lstrip("/")

    def note_name(self, shard: int) -> str:
        """Give the name of a shard's note, in the folder."""
        return f"done/{shard:05d}.json"

    def note(self, shard: int) -> ShardNote:
        """Read a shard's note."""
        return self.folder.note(shard)

    def shard_name(self, stem: str, shard: int, extension: str = "parquet") -> str:
        """Give the name of one of a shard's files, in the folder."""
        path = self.folder.shard_file(stem, shard, self.shards, extension)
        return path.removeprefix(f"{self.folder.path}/")


@dataclass(frozen=True)
class Parts:
    """All parts that are there. `following` are the names of those datasets that were cut from these very stages."""

    root: str
    locations: Part | None = None
    pages: Part | None = None
    images: Part | None = None
    scores: tuple[Part, ...] = ()
    datasets: tuple[Part, ...] = ()
    following: tuple[str, ...] = ()

    def all(self) -> Iterator[Part]:
        """Yield all parts, in the order of the stages."""
        yield from (part for part in (self.locations, self.pages, self.images) if part)
        yield from (*self.scores, *self.datasets)


def find_parts(path: str) -> Parts:
    """Look at an output folder, or at a dataset alone.

    Raises UserError where it is neither, where a stage is not finished, and where what a dataset was cut from is still
    there, so that the next cut would bring back what was taken out of it.
    """
    root = path.rstrip("/") or "/"
    if any(storage.exists(storage.join(root, name)) for name in ("manifest.json", "plan.json")):
        dataset = _part(root, "", Stage.CUT)
        above = storage.above(root, 2)
        if any(storage.exists(storage.join(above, name, "plan.json")) for name in ("pages", "images")):
            message = f"{root}: what it was cut from is still there and has the same images; give {above}"
            raise UserError(message)
        return Parts(root, datasets=(dataset,))
    locations, pages, images = (
        _part(root, name, stage) if storage.exists(storage.join(root, name, "plan.json")) else None
        for name, stage in (("locations", Stage.LOCATE), ("pages", Stage.PAGES), ("images", Stage.IMAGES))
    )
    scores, datasets = _parts_below(root, "scores", Stage.SCORE), _parts_below(root, "dataset", Stage.CUT)
    parts = Parts(root, locations, pages, images, scores, datasets)
    if not any(parts.all()):
        message = f"{root}: nothing to take anything out of; give the --output of `mmc4 build`, or a dataset's folder"
        raise UserError(message)
    if (images or scores) and pages is None:
        message = f"{root}: pages/ is gone, which says whose images and scores these are; put it back, or remove them"
        raise UserError(message)
    return replace(parts, following=tuple(part.name for part in datasets if _follows(part, pages)))


def _parts_below(root: str, name: str, stage: Stage) -> tuple[Part, ...]:
    plans = storage.matches_below(storage.join(root, name), "*/plan.json")
    return tuple(_part(root, f"{name}/{plan.split('/')[-2]}", stage) for plan in plans)


def _part(root: str, name: str, stage: Stage) -> Part:
    folder = StageFolder(storage.join(root, name) if name else root, stage)
    if not storage.exists(folder.file("manifest.json")):
        message = f"{folder.path}: is not finished; finish it with --resume first, or remove it"
        raise UserError(message)
    manifest = folder.manifest()
    if manifest.plan.stage is not stage:
        message = f"{folder.path}: is not of the {stage} stage; give an --output of `mmc4 build`, or a dataset"
        raise UserError(message)
    if not storage.exists(folder.file("done/00000.json")):
        message = f"{folder.path}: lacks the notes of its shards (done/), which change with them; put them back"
        raise UserError(message)
    return Part(name, folder, manifest.plan.shards)


def _follows(dataset: Part, pages: Part | None) -> bool:
    wanted = dataset.folder.manifest(CutPlan).plan.input.pages
    return pages is not None and wanted == fingerprint(pages.folder.manifest())


def mentions(path: str, deny: LoadedDenyList) -> bool:
    """Tell whether a Parquet file of ours has a denied URL; only its columns of URLs are read."""
    with storage.open_read(path) as stream:
        file = pq.ParquetFile(pa.PythonFile(stream, mode="r"))
        columns = [file.schema.column(at).path for at in range(len(file.schema.names))]
        wanted = [column for column in columns if column.split(".")[-1] in _URLS]
        for batch in file.iter_batches(columns=wanted):
            for url in _distinct_texts(batch.columns):
                if deny.denies(url):
                    return True
    return False


def _distinct_texts(columns: Sequence[pa.Array]) -> Iterator[str]:
    for column in columns:
        flat = column
        while not pa.types.is_string(flat.type):
            flat = flat.flatten()[0] if pa.types.is_struct(flat.type) else flat.flatten()
        yield from (text for text in pc.unique(flat).to_pylist() if text)


def refuse_earlier_ledgers(parts: Parts) -> None:
    """Raise UserError if the ledger of a dataset lacks columns that statistics are counted from."""
    ledgers = [
        part.folder.file(part.shard_name("ledger/ledger", shard))
        for part in parts.datasets
        for shard in range(part.shards)
    ]
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        for path, columns in zip(ledgers, pool.map(_columns, ledgers), strict=True):
            missing = [name for name in arrow_schema(LedgerRow).names if name not in columns]
            if missing:
                raise UserError(
                    f"{path}: an earlier version of mmc4 wrote it, without {', '.join(missing)}. "
                    "Cut the dataset again, or run the takedown with the version named in manifest.json"
                )


def _columns(path: str) -> list[str]:
    try:
        with storage.open_read(path) as stream:
            return pq.read_schema(stream).names  # type: ignore[no-any-return]
    except pa.ArrowException as error:
        raise UserError(f"{path}: not readable as a ledger ({str(error).partition(chr(10))[0]}); {AGAIN}") from error


def refuse_changed_bytes(part: Part, note: ShardNote, names: Sequence[str]) -> None:
    """Raise UserError where a file is not as it was written: no bytes of unknown origin shall get a new sha256."""
    expected = {file.name: file for file in files_of(note)}
    for name in names:
        if name in expected:
            with storage.open_read(part.folder.file(name)) as stream:
                problem = HashingReader(stream).problem(expected[name])
            if problem:
                message = f"{part.folder.file(name)}: {problem}"
                raise UserError(message)


def no_such_documents(path: str) -> UserError:
    """Give the error for a shard that does not hold what the ledger says."""
    return UserError(f"{path}: its documents are not those of the ledger; {AGAIN}")


def with_files(note: ShardNote, new: Sequence[WrittenFile]) -> ShardNote:
    """Return a note with the new files in the places of those of the same names."""
    return msgspec.structs.replace(note, files=replaced(files_of(note), new))


def replaced(old: Sequence[WrittenFile], new: Sequence[WrittenFile]) -> list[WrittenFile]:
    """Return files, the new ones in the places of those of the same names."""
    by_name = {file.name: file for file in new}
    return [by_name.get(file.name, file) for file in old]
