"""All access to files.

The functions read and write the run's own files, on any file system that fsspec supports. Files from outside the run
(Common Crawl, C4, lists, image shards) may also be read over HTTP: `Inputs` does that, with the user's HTTP settings.
"""

from mmc4_pipeline.storage.http.client import HttpSettings
from mmc4_pipeline.storage.paths import above, filesystem, inside, is_local, join
from mmc4_pipeline.storage.reading import (
    Inputs,
    concurrently,
    exists,
    for_each,
    matches,
    matches_below,
    modified_below,
    names_below,
    open_read,
    open_stream,
    read_bytes,
    read_range,
    read_ranges,
    size,
)
from mmc4_pipeline.storage.records import (
    distinct,
    is_whole_json,
    json_bytes,
    parse_json,
    read_json,
    read_records,
    write_json,
    write_records,
    write_table,
)
from mmc4_pipeline.storage.writing import (
    HashingWriter,
    remove,
    remove_folder,
    remove_leftovers,
    rename,
    write_atomically,
    write_bytes,
    written,
)

__all__ = [
    "HashingWriter",
    "HttpSettings",
    "Inputs",
    "above",
    "concurrently",
    "distinct",
    "exists",
    "filesystem",
    "for_each",
    "inside",
    "is_local",
    "is_whole_json",
    "join",
    "json_bytes",
    "matches",
    "matches_below",
    "modified_below",
    "names_below",
    "open_read",
    "open_stream",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_range",
    "read_ranges",
    "read_records",
    "remove",
    "remove_folder",
    "remove_leftovers",
    "rename",
    "size",
    "write_atomically",
    "write_bytes",
    "write_json",
    "write_records",
    "write_table",
    "written",
]
