"""The lists that filters read: words, hosts, URL rules. Each process reads them for itself.

They are not sent along with the work: a list may have ten million lines, and what is made of one can't always be sent.
So the files must be where every worker can read them, and stay as they are while a stage runs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Self, TypeVar

from filters.base import Filter
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import Inputs

Kind = TypeVar("Kind", bound=Filter)
_ready: dict["LoadedFilters", dict[str, Filter]] = {}  # of this process: those of one run
_lock = Lock()


@dataclass(frozen=True)
class LoadedFilters:
    """Filters by their key in the recipe, and the sha256 of each file that they read, by path."""

    filters: tuple[tuple[str, Filter], ...]
    inputs: Inputs
    lists: tuple[tuple[str, str], ...] = field(default=())

    @classmethod
    def read(cls, filters: Mapping[str, Filter], inputs: Inputs) -> Self:
        """Read the files of the filters; raises UserError for one that can't be read or used."""
        ready, lists = _prepare(filters, inputs)
        result = cls(tuple(filters.items()), inputs, tuple(sorted(lists.items())))
        with _lock:
            _ready.clear()
            _ready[result] = ready
        return result

    def plan(self) -> dict[str, Any]:
        """Give what a stage's plan says of the files; nothing where there are none."""
        return {"lists": dict(self.lists)} if self.lists else {}

    def ready(self, kind: type[Kind]) -> dict[str, Kind]:
        """Give the filters of a kind, ready to decide. Raises UserError where a file has changed since `read`."""
        with _lock:
            if self not in _ready:
                ready, lists = _prepare(dict(self.filters), self.inputs)
                for path, sha256 in self.lists:
                    if lists[path] != sha256:
                        message = f"{path}: has changed while the stage ran; run it again from its start"
                        raise UserError(message)
                _ready[self] = ready
            found = _ready[self]
        return {key: item for key, item in found.items() if isinstance(item, kind)}


def _prepare(filters: Mapping[str, Filter], inputs: Inputs) -> tuple[dict[str, Filter], dict[str, str]]:
    lists: dict[str, str] = {}

    def read(path: str) -> bytes:
        content = inputs.read_bytes(path)
        lists[path] = hashlib.sha256(content).hexdigest()
        return content

    ready: dict[str, Filter] = {}
    for key, item in filters.items():
        try:
            ready[key] = item.prepared(read)
        except ValueError as error:
            message = f"filters.{key}: {error}"
            raise UserError(message) from error
    return ready, lists
