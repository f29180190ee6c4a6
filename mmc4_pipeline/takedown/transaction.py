"""Replaces many files as one: the new ones are written aside, and take their places together once all are there.

takedown/plan.json        what is done, and to which files; another run's leavings are thrown away
takedown/new/…            the new files, each by its path below the folder
takedown/done/NAME.json   written last for a unit of work, which a run that was stopped does not do again
takedown/journal.json     written once all new files are there: from here on the only way is forward
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mmc4_pipeline import storage
from mmc4_pipeline.storage import HashingWriter
from schemas.manifest import WrittenFile

Json = dict[str, Any]
NAME = "takedown"


class Staging:
    """The new files of a folder, while they wait beside the old ones."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._folder = storage.join(root, NAME)
        self._journal = self._path("journal.json")

    def _path(self, name: str) -> str:
        return storage.join(self._folder, name)

    def begin(self, plan: Json) -> None:
        """Begin, or go on where a run of the same plan was stopped."""
        path = self._path("plan.json")
        if storage.exists(path) and storage.read_json(path) == plan:
            storage.remove_leftovers(self._folder)
            return
        self.clear()
        storage.write_json(path, plan)

    def new(self, name: str) -> str:
        """Give the path at which the new file waits that will be `name` below the folder."""
        return self._path(f"new/{name}")

    def done(self, unit: str) -> Json | None:
        """Give the note of a unit of work that is done."""
        path = self._path(f"done/{unit}.json")
        return storage.read_json(path) if storage.exists(path) else None

    def finish_unit(self, unit: str, note: Json) -> None:
        """Note that a unit's new files are all there."""
        storage.write_json(self._path(f"done/{unit}.json"), note)

    @property
    def sealed(self) -> bool:
        """Tell whether all new files are there, so that what is left to do is to put them into their places."""
        return storage.exists(self._journal)

    def seal(self, journal: Json) -> None:
        """Say that all new files are there: `files` in the order in which they are to take their places."""
        storage.write_json(self._journal, journal)

    def put_in_place(self) -> Json:
        """Put the files into their places, those that are not there yet, and give the journal."""
        journal: Json = storage.read_json(self._journal)
        for name in journal["files"]:
            if storage.exists(self.new(name)):
                storage.rename(self.new(name), storage.join(self.root, name))
        return journal

    def clear(self) -> None:
        """Remove all of it; the journal first, because what is listed there is in its place."""
        if self.sealed:
            storage.filesystem(self._journal).rm(self._journal)
        storage.remove_folder(self._folder)


class NewFiles:
    """The files that one unit of work writes. Without a staging folder (a dry run) what is written goes nowhere."""

    def __init__(self, staging: Staging | None) -> None:
        self._staging = staging
        self.names: list[str] = []

    @contextmanager
    def open(self, name: str) -> Iterator[HashingWriter]:
        """Write a new file, which will be `name` below the folder."""
        self.names.append(name)
        if self._staging is None:
            yield HashingWriter(_Nowhere())  # type: ignore[arg-type]
            return
        with storage.write_atomically(self._staging.new(name)) as writer:
            yield writer

    def write_records(self, name: str, records: Iterable[Any], record: type) -> WrittenFile:
        """Write records as Parquet."""
        with self.open(name) as writer:
            storage.write_table(writer, records, record)
        return storage.written(name, writer)

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file."""
        with self.open(name) as writer:
            writer.write(storage.json_bytes(value))


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)
