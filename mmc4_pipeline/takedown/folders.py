"""Finds the finished folders that a takedown may have to change, and checks the files in them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.deny_list import LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import files_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.run_folders import folder_name, names_of, output_of, stage_folder
from mmc4_pipeline.stage_folder import StageFolder, fingerprint, note_name
from mmc4_pipeline.takedown.transaction import Transaction
from mmc4_pipeline.verify.check_shard import AGAIN, HashingReader
from schemas.arrow import arrow_schema
from schemas.ledger import ledger_record
from schemas.manifest import Manifest, ShardNote, StagePlan, WrittenFile
from schemas.reasons import Stage

_URLS = ("url", "page_url", "image_url")  # the columns, at any depth, with URLs that a list may name


@dataclass(frozen=True)
class FinishedFolder:
    """The folder of a finished stage or dataset. `name` is its path below the output, empty for a dataset alone.

    The manifest, which lists all files, is read once; `sha256` is that of its bytes.
    """

    name: str
    folder: StageFolder
    manifest: Manifest[Any]
    sha256: str

    @property
    def shards(self) -> int:
        """Return the number of shards."""
        return self.manifest.plan.shards  # type: ignore[no-any-return]

    def without_files(self) -> "FinishedFolder":
        """Return a copy for another process, which needs only the plan."""
        return replace(self, manifest=msgspec.structs.replace(self.manifest, files=[]))

    def path(self, name: str) -> str:
        """Return the path of one of its files below the output."""
        return f"{self.name}/{name}".lstrip("/")

    def note_name(self, shard: int) -> str:
        """Return the name of a shard's note, below the folder."""
        return note_name(shard)

    def note(self, shard: int) -> ShardNote:
        """Read a shard's note."""
        return self.folder.note(shard)

    def shard_name(self, stem: str, shard: int, extension: str = "parquet") -> str:
        """Return the name of one of a shard's files, below the folder."""
        path = self.folder.shard_file(stem, shard, self.shards, extension)
        return path.removeprefix(f"{self.folder.path}/")


@dataclass(frozen=True)
class OutputFolder:
    """All finished folders of an output, or a dataset alone.

    `following` has the names of the datasets that were cut from these pages and not from an earlier state of them.
    """

    root: str
    locations: FinishedFolder | None = None
    pages: FinishedFolder | None = None
    images: FinishedFolder | None = None
    scores: tuple[FinishedFolder, ...] = ()
    datasets: tuple[FinishedFolder, ...] = ()
    following: tuple[str, ...] = ()

    def without_files(self) -> "OutputFolder":
        """Return a copy for another process, which needs only the plans."""
        locations, pages, images = (
            folder and folder.without_files() for folder in (self.locations, self.pages, self.images)
        )
        scores, datasets = (
            tuple(folder.without_files() for folder in folders) for folders in (self.scores, self.datasets)
        )
        return replace(self, locations=locations, pages=pages, images=images, scores=scores, datasets=datasets)

    def all(self) -> Iterator[FinishedFolder]:
        """Yield all folders, in the order of the stages."""
        yield from (folder for folder in (self.locations, self.pages, self.images) if folder)
        yield from (*self.scores, *self.datasets)


def find_folders(path: str) -> OutputFolder:
    """Find the finished folders of an output, or a dataset alone.

    Raises UserError if the path is neither, if a stage is not finished, or if it is a dataset whose stages are still
    there: the next cut would bring back what was removed from the dataset.
    """
    root = path.rstrip("/") or "/"
    if any(storage.exists(storage.join(root, name)) for name in ("manifest.json", "plan.json")):
        dataset = _finished(root, "", Stage.CUT)
        above = output_of(dataset.folder)
        if any(storage.exists(stage_folder(above, stage).file("plan.json")) for stage in (Stage.PAGES, Stage.IMAGES)):
            raise UserError(f"{root}: the stages that it was cut from have the same images; give {above}")
        return OutputFolder(root, datasets=(dataset,))
    locations, pages, images = (
        _finished(root, folder_name(stage), stage)
        if storage.exists(stage_folder(root, stage).file("plan.json"))
        else None
        for stage in (Stage.LOCATE, Stage.PAGES, Stage.IMAGES)
    )
    scores, datasets = _finished_below(root, Stage.SCORE), _finished_below(root, Stage.CUT)
    output = OutputFolder(root, locations, pages, images, scores, datasets)
    if not any(output.all()):
        raise UserError(f"{root}: has no finished stage; give the --output of `mmc4 build`, or a dataset's folder")
    if (images or scores) and pages is None:
        raise UserError(
            f"{root}: pages/ is missing, so the pages of the images and scores are unknown; "
            "put it back, or remove images/ and scores/"
        )
    return replace(output, following=tuple(dataset.name for dataset in datasets if _follows(dataset, pages)))


def _finished_below(root: str, stage: Stage) -> tuple[FinishedFolder, ...]:
    """Return the folders of a stage; scores that others were computed from come first, because their plans do."""
    found = [_finished(root, folder_name(stage, name), stage) for name in names_of(root, stage)]
    return tuple(sorted(found, key=lambda folder: bool(getattr(folder.manifest.plan.input, "scores", None))))


def _finished(root: str, name: str, stage: Stage) -> FinishedFolder:
    folder = StageFolder(storage.join(root, name) if name else root, stage)
    path = folder.file("manifest.json")
    if not storage.exists(path):
        raise UserError(f"{folder.path}: not finished; finish it with --resume, or remove it")
    content = storage.read_bytes(path)
    if Transaction(folder.path, "export").committed:
        raise UserError(f"{folder.path}: `mmc4 export` was stopped while its files were moved into place; run it again")
    manifest = storage.parse_json(path, content, lambda data: Manifest.from_json(data, StagePlan))
    if manifest.plan.stage is not stage:
        raise UserError(f"{folder.path}: not of the {stage} stage; give an --output of `mmc4 build`, or a dataset")
    if not storage.exists(folder.note_file(0)):
        raise UserError(f"{folder.path}: the notes of its shards (done/) are missing; put them back")
    return FinishedFolder(name, folder, manifest, hashlib.sha256(content).hexdigest())


def _follows(dataset: FinishedFolder, pages: FinishedFolder | None) -> bool:
    return pages is not None and dataset.manifest.plan.input.pages == fingerprint(pages.manifest)


def mentions(path: str, deny: LoadedDenyList) -> bool:
    """Return whether a Parquet file of a stage or ledger has a denied URL. Only its columns of URLs are read."""
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


def refuse_earlier_ledgers(output: OutputFolder, shards: Sequence[int]) -> None:
    """Raise UserError if the ledger of one of these shards lacks columns, because an earlier version wrote it."""
    ledgers = {
        dataset.folder.file(dataset.shard_name("ledger/ledger", shard)): dataset.manifest.plan.input.all_columns
        for dataset in output.datasets
        for shard in shards
        if shard < dataset.shards
    }
    for path, columns in zip(ledgers, storage.concurrently(_columns, ledgers), strict=True):
        missing = [name for name in arrow_schema(ledger_record(ledgers[path])).names if name not in columns]
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


def refuse_changed_bytes(finished: FinishedFolder, note: ShardNote, names: Sequence[str]) -> None:
    """Raise UserError if a file differs from its sha256 in the note, so that a new hash never hides corruption."""
    expected = {file.name: file for file in files_of(note)}
    for name in names:
        if name in expected:
            with storage.open_read(finished.folder.file(name)) as stream:
                problem = HashingReader(stream).problem(expected[name])
            if problem:
                raise UserError(f"{finished.folder.file(name)}: {problem}")


def no_such_documents(path: str) -> UserError:
    """Return the error for a shard that does not have the documents that the ledger lists."""
    return UserError(f"{path}: its documents are not those in the ledger; {AGAIN}")


def with_files(note: ShardNote, new: Sequence[WrittenFile]) -> ShardNote:
    """Return a note in which new files replace those of the same names."""
    return msgspec.structs.replace(note, files=replaced(files_of(note), new))


def replaced(old: Sequence[WrittenFile], new: Sequence[WrittenFile]) -> list[WrittenFile]:
    """Return the files, of which new ones replace those of the same names."""
    by_name = {file.name: file for file in new}
    return [by_name.get(file.name, file) for file in old]
