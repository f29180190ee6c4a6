"""Loads the files that filters read (words, hosts, URL rules), once in each process.

They are not sent along with the work: a list may have ten million lines, and the loaded form can't always be pickled.
So every worker must be able to read the files, and they must not change while a stage runs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Self, TypeVar

from filters.base import FileContentFilter, FileLinkFilter, FileTextFilter, Filter
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import Inputs

Kind = TypeVar("Kind", bound=Filter)
_loaded: dict["LoadedFilters", dict[str, Filter]] = {}  # in this process, for one run
_lock = Lock()


@dataclass(frozen=True)
class LoadedFilters:
    """Filters by their key in the recipe, and the sha256 of each file that they read, by path."""

    filters: tuple[tuple[str, Filter], ...]
    inputs: Inputs
    lists: tuple[tuple[str, str], ...] = field(default=())

    @classmethod
    def read(cls, filters: Mapping[str, Filter], inputs: Inputs) -> Self:
        """Read the files of the filters; raises UserError if one can't be read or used."""
        loaded, lists = _load(filters, inputs)
        result = cls(tuple(filters.items()), inputs, tuple(sorted(lists.items())))
        with _lock:
            _loaded.clear()
            _loaded[result] = loaded
        return result

    @property
    def sha256_by_path(self) -> dict[str, str] | None:
        """Return the files' hashes as a stage's plan has them: None if the filters read no files."""
        return dict(self.lists) or None

    def of_kind(self, kind: type[Kind]) -> dict[str, Kind]:
        """Return the loaded filters of a kind, in order. Raises UserError if a file has changed since `read`."""
        with _lock:
            if self not in _loaded:
                loaded, lists = _load(dict(self.filters), self.inputs)
                if changed := next((path for path, sha256 in self.lists if lists[path] != sha256), None):
                    raise UserError(f"{changed}: changed during the stage; delete the stage's folder and run it again")
                _loaded[self] = loaded
            found = _loaded[self]
        return {key: item for key, item in found.items() if isinstance(item, kind)}


def _load(filters: Mapping[str, Filter], inputs: Inputs) -> tuple[dict[str, Filter], dict[str, str]]:
    """Return the loaded filters, and the sha256 of each file that was read for them."""
    lists: dict[str, str] = {}

    def read(path: str) -> bytes:
        content = inputs.read_bytes(path)
        lists[path] = hashlib.sha256(content).hexdigest()
        return content

    loaded: dict[str, Filter] = {}
    for key, item in filters.items():
        try:
            loaded[key] = (
                item.load(read) if isinstance(item, FileTextFilter | FileLinkFilter | FileContentFilter) else item
            )
        except ValueError as error:
            raise UserError(f"filters.{key}: {error}") from error
    return loaded, lists
