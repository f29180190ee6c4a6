"""Chooses the index in which documents are located: look-ups for few documents, the whole columnar index for many."""

import logging
from math import ceil
from typing import Any

from beam_jobs.locate_cdx import CdxLookUps
from beam_jobs.locate_columnar import ColumnarIndex
from mmc4_pipeline import storage
from mmc4_pipeline.commoncrawl.cdx_index import PAGE, PAGES_OF_KEY, CdxIndex, LookUpCost
from mmc4_pipeline.commoncrawl.index import index_files, row_groups
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.storage import Inputs

_log = logging.getLogger(__name__)

URLS_PER_FILTER = 4 << 20  # a filter's file is then 5 MB for all of C4, and some 13 MB at most
_DOCUMENTS_PER_GROUP = 500  # documents whose blocks of the CDXJ index are read one after the other


def choose_index(
    kind: str,
    inputs: Inputs,
    cc_root: str,
    crawl: str,
    folder: StageFolder,
    expected: int,
    shards: int,
    *,
    several_crawls: bool = False,
) -> tuple[ColumnarIndex | CdxLookUps, dict[str, Any]]:
    """Return the index of that kind (auto, columnar or cdx), and its description for the plan.

    `expected` is the number of documents. If each of them names its crawl, they are looked up, unless the user decides
    otherwise: nobody knows the crawls before the documents are read. Raises UserError if the index is missing or has no
    rows.
    """
    cdx = CdxIndex(inputs, cc_root, crawl)
    groups = max(1, ceil(expected / _DOCUMENTS_PER_GROUP))
    if several_crawls and kind != "columnar":
        found = CdxLookUps(inputs=inputs, cc_root=cc_root, crawl=crawl, whole=None, groups=groups, shards=shards)
        return found, {"index": {}}
    columnar = {} if kind == "cdx" else _columnar_sizes(cdx, must_exist=kind == "columnar")
    if not columnar or (kind == "auto" and _is_cdx_cheaper(cdx, expected, sum(columnar.values()))):
        _log.info("locate: looking up about %d documents in the CDXJ index", expected)
        whole = cdx.size <= expected * PAGES_OF_KEY * PAGE
        found = CdxLookUps(inputs=inputs, cc_root=cc_root, crawl=crawl, whole=whole, groups=groups, shards=shards)
        return found, {"index": {cdx.cluster_path: cdx.size}}
    return _columnar(inputs, crawl, columnar, folder, expected, shards)


def _columnar(
    inputs: Inputs, crawl: str, sizes: dict[str, int], folder: StageFolder, expected: int, shards: int
) -> tuple[ColumnarIndex, dict[str, Any]]:
    files = list(sizes)
    groups = storage.for_each(files, lambda path: row_groups(inputs, path))
    rows = sum(map(sum, groups.values()))
    if not rows:
        raise UserError(
            f"{files[0]}: the index has no rows in any of its {len(files)} files; check --cc_root and --crawl"
        )
    index = ColumnarIndex(
        folder=folder,
        inputs=inputs,
        crawl=crawl,
        groups=tuple((path, group) for path in files for group, size in enumerate(groups[path]) if size),
        rows=rows,
        filters=max(1, ceil(expected / URLS_PER_FILTER)),
        shards=shards,
    )
    return index, {"index": sizes, "index_rows": rows}


def _columnar_sizes(cdx: CdxIndex, *, must_exist: bool) -> dict[str, int]:
    """Return the sizes of the columnar index's files; nothing if only the CDXJ index exists, unless it must exist."""
    try:
        return storage.for_each(index_files(cdx.inputs, cdx.cc_root, cdx.crawl), cdx.inputs.size)
    except UserError:
        if must_exist or not cdx.inputs.exists(cdx.cluster_path):
            raise
        return {}


def _is_cdx_cheaper(cdx: CdxIndex, documents: int, columnar: int) -> bool:
    """Return whether look-ups cost less than reading the bytes of the columnar index; False without a CDXJ index."""
    exists = cdx.inputs.exists(cdx.cluster_path)
    return exists and LookUpCost.of(cdx.size, documents).as_bytes < columnar
