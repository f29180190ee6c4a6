"""Replaces many files at once: the new files are written to a folder of their own and moved into place at the end.

A takedown does so in the folder takedown/, an export in export/:

takedown/plan.json        what is done, and to which files; the files of a run with another plan are deleted
takedown/new/…            the new files, each at its path below the folder
takedown/done/NAME.json   written last for a unit of work, which a run that is started again does not repeat
takedown/journal.json     written once all new files are there: from then on the transaction can only be completed
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import HashingWriter
from schemas.manifest import WrittenFile

Json = dict[str, Any]
Record = TypeVar("Record")


class HasFiles(Protocol):
    """A journal: a record that lists files."""

    @property
    def files(self) -> list[str]:
        """The files, in the order in which they are moved into place."""


AnyJournal = TypeVar("AnyJournal", bound=HasFiles)


class Transaction:
    """The new files of a folder until they replace the former ones. `command` is that of `mmc4` which makes them."""

    def __init__(self, root: str, command: str = "takedown") -> None:
        self.root = root
        self._command = command
        self._folder = storage.join(root, command)
        self._journal = self._path("journal.json")

    def _path(self, name: str) -> str:
        return storage.inside(self._folder, name)

    def begin(self, plan: Json) -> None:
        """Begin, or continue a stopped run with the same plan."""
        path = self._path("plan.json")
        if storage.exists(path) and storage.read_json(path) == plan:
            storage.remove_leftovers(self._folder)
            return
        self.clear()
        storage.write_json(path, plan)

    def refuse_another(self, key: str, value: Any) -> None:
        """Raise UserError if the committed transaction's plan does not have this value.

        Without that check, a folder from somebody else could come with a journal of its own.
        """
        path = self._path("plan.json")
        if not storage.exists(path) or storage.read_json(path).get(key) != value:
            raise UserError(
                f"{self._folder}: `mmc4 {self._command}` with another {key} was stopped while its files were moved "
                f"into place; run it again with that {key}. If you did not start it, do not trust this folder: remove "
                f"{self._folder} and run `mmc4 verify`"
            )

    def new(self, name: str) -> str:
        """Return the path of the new file that will replace `name` in the folder."""
        return storage.inside(self.folder_of_new, name)

    @property
    def folder_of_new(self) -> str:
        """Return the folder that has the new files, each at its path below the folder."""
        return self._path("new")

    def unit(self, name: str, record: type[Record]) -> Record | None:
        """Return the note of a unit of work, None if the unit is not finished."""
        path = self._path(f"done/{name}.json")
        return storage.read_json(path, record) if storage.exists(path) else None

    def finish_unit(self, name: str, note: Any) -> None:
        """Write the note of a unit of work once all of its new files are written."""
        storage.write_json(self._path(f"done/{name}.json"), note)

    @property
    def committed(self) -> bool:
        """Return whether all new files are written, so that they only have to be moved into place."""
        return storage.exists(self._journal)

    def commit(self, journal: HasFiles) -> None:
        """Write the journal: all new files are written, and `journal.files` is the order in which to move them."""
        storage.write_json(self._journal, journal)

    def apply(self, record: type[AnyJournal]) -> AnyJournal:
        """Move the new files into place, except those that are there already, and return the journal."""
        journal: AnyJournal = storage.read_json(self._journal, record)
        for name in journal.files:
            if storage.exists(self.new(name)):
                storage.rename(self.new(name), storage.inside(self.root, name))
        return journal

    def clear(self) -> None:
        """Remove the transaction's folder; the journal first, because the files that it lists are in place."""
        if self.committed:
            storage.filesystem(self._journal).rm(self._journal)
        storage.remove_folder(self._folder)


class NewFiles:
    """The new files of one unit of work. Without a transaction, in a dry run, their bytes are discarded."""

    def __init__(self, transaction: Transaction | None) -> None:
        self._transaction = transaction
        self.names: list[str] = []

    @contextmanager
    def open(self, name: str) -> Iterator[HashingWriter]:
        """Open a new file, which will replace `name` in the folder."""
        self.names.append(name)
        if self._transaction is None:
            yield HashingWriter(_Nowhere())  # type: ignore[arg-type]
            return
        with storage.write_atomically(self._transaction.new(name)) as writer:
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
