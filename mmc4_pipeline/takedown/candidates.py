"""Finds the shards in which a deny-list may match something, by the URL filters in their notes. No other is read."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from filters.deny_list import LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import files_of
from mmc4_pipeline.stage_notes import ALL_NOTES, read_notes
from mmc4_pipeline.takedown.folders import FinishedFolder
from mmc4_pipeline.url_filter import RATE, may_have
from schemas.manifest import ShardNote

_MAX_ENTRIES = round(1 / RATE)  # with more, most filters have one by mistake


def candidates(finished: FinishedFolder, deny: LoadedDenyList, known: Collection[int] = ()) -> set[int]:
    """Return the shards of a folder that must be read; `known` are already known to be among them.

    These are the shards whose filter may have an entry of the list, and those without a filter of their present files:
    an earlier version wrote them. With a long list all shards are read. A shard that shares a file with one of these is
    included too, if the file is listed in its note: the file may have to be rewritten.
    """
    path, entries = finished.folder.file(ALL_NOTES), deny.entries()
    if len(entries) > _MAX_ENTRIES or not storage.exists(path):
        return set(range(finished.shards))
    listed = {file.name: file for file in files_of(finished.manifest)}
    found, unseen = set(known), set(range(finished.shards))
    begun: dict[int, int] = {}  # the last of the dataset's shards so far, and the shard whose note lists its files
    for note in read_notes(path, urls=True):
        unseen.discard(note.shard)
        begun = {number: begun.get(number, note.shard) for number in note.documents_in_shard or {}} or begun
        is_current = all(listed.get(file.name) == file for file in files_of(note))
        if note.shard in found or not is_current or _may_name(note, entries):
            found.update([note.shard, *begun.values()])
    return found | unseen


def _may_name(note: ShardNote, entries: NDArray[np.uint64]) -> bool:
    return note.urls is None or may_have(note.urls, entries)
