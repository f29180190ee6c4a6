"""Find the files of a published dataset, recognise their layout by their fields, and read their documents."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mmc4_pipeline.documents.rows import is_parquet
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.published.layout import InvalidRowError, Kind, Layout, PublishedDocument
from mmc4_pipeline.published.lines import first_rows, rows_of_lines
from mmc4_pipeline.published.mint1t import Mint1t
from mmc4_pipeline.published.mmc4 import Mmc4
from mmc4_pipeline.published.obelics import Obelics
from mmc4_pipeline.published.omnicorpus import OmniCorpus
from mmc4_pipeline.published.parquet import kinds_of_columns, rows_of_parquet
from mmc4_pipeline.storage import Inputs, for_each
from mmc4_pipeline.storage.foreign_parquet import footer

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (Mmc4(), Obelics(), OmniCorpus(), Mint1t())}
_KINDS: dict[type, Kind] = {str: Kind.TEXT, list: Kind.LIST, dict: Kind.OBJECT}
_MAX_FIELDS = 1000  # characters
_MAX_DETAIL = 300  # characters: a message may quote the row
_SAMPLED = 500  # documents by which a dataset is estimated
_INSPECTED = 100  # lines in which a document is looked for, to recognise a layout


@dataclass(frozen=True, slots=True)
class PublishedFiles:
    """The files of a dataset with their sizes in bytes, and the name of their layout.

    `first` has the number of rows that are read of a file of which not all are read.
    """

    sizes: dict[str, int]
    layout: str
    first: dict[str, int] = field(default_factory=dict)


def find_published(inputs: Inputs, patterns: list[str], limit: int | None = None) -> PublishedFiles:
    """Return the files that match the patterns, sorted, or only as many as the first `limit` documents are in.

    Raises UserError for a pattern without a match, a file of another layout, and files of several layouts.
    """
    paths, first = inputs.matches_of("--published", patterns), dict[str, int]()
    if limit is not None:
        paths, first = _first_files(inputs, paths, limit)
    known = for_each(paths, lambda path: (inputs.size(path), layout_of(inputs, path)))
    layouts = {name: path for path, (_, name) in known.items() if name is not None}
    if len(layouts) > 1:
        examples = ", ".join(f"{path} is {name}" for name, path in sorted(layouts.items()))
        raise UserError(f"--published: files of several layouts ({examples}); build a dataset from each of them")
    if not layouts:
        raise UserError(f"--published {' '.join(patterns)}: the files have no documents")
    return PublishedFiles({path: size for path, (size, _) in known.items()}, next(iter(layouts)), first)


def _first_files(inputs: Inputs, paths: list[str], limit: int) -> tuple[list[str], dict[str, int]]:
    """Return the files in which the first rows are, and how many rows are read of the last one."""
    remaining = limit
    for number, path in enumerate(paths, start=1):
        if is_parquet(path):
            rows = footer(inputs, path)[0].num_rows
        else:
            rows = sum(1 for _ in islice(rows_of_lines(inputs, path, whole=False), remaining))
        if rows >= remaining:
            return paths[:number], {path: remaining}
        remaining -= rows
    return paths, {}


@dataclass(frozen=True, slots=True)
class FirstDocuments:
    """The first documents of a file, each read or why it is invalid, and about how many rows the file has."""

    path: str
    layout: str
    documents: list[PublishedDocument | str]
    rows: int


def first_documents(inputs: Inputs, path: str) -> FirstDocuments | None:
    """Return some hundred documents at the beginning of a file, None if it is empty; little more of it is read.

    Raises UserError if its layout is not known.
    """
    name = layout_of(inputs, path)
    if name is None:
        return None
    layout = LAYOUTS[name]
    if is_parquet(path):
        documents = list(read_published(inputs, path, layout, _SAMPLED))
        return FirstDocuments(path, name, documents, footer(inputs, path)[0].num_rows)
    lines, share = first_rows(inputs, path, _SAMPLED)
    documents = [row if isinstance(row, str) else document_of_row(layout, row, path) for row in lines]
    return FirstDocuments(path, name, documents, round(len(lines) / share))


def layout_of(inputs: Inputs, path: str) -> str | None:
    """Return the name of a file's layout, None if the file is empty.

    Raises UserError, with the fields that were found, if the layout is not known.
    """
    found: list[dict[str, Kind]] = []
    for kinds in _kinds(inputs, path):
        for layout in LAYOUTS.values():
            if all(kinds.get(name) is kind for name, kind in layout.fields.items()):
                return layout.name
        found.append(kinds)
    if not found:
        return None
    fields = ", ".join(f"{name} ({kind.value})" for name, kind in max(found, key=len).items())[:_MAX_FIELDS] or "none"
    known = "; ".join(f"{layout.name}: {', '.join(layout.fields)}" for layout in LAYOUTS.values())
    raise UserError(f"{path}: not a layout of published datasets that mmc4 can read (found: {fields}; known: {known})")


def _kinds(inputs: Inputs, path: str) -> Iterator[dict[str, Kind]]:
    """Yield the kinds of the fields in the first rows, no kinds for an invalid one."""
    if is_parquet(path):
        yield kinds_of_columns(inputs, path)
        return
    for row in islice(rows_of_lines(inputs, path, whole=False), _INSPECTED):
        fields = row.items() if isinstance(row, dict) else ()
        yield {name: _KINDS.get(type(value), Kind.OTHER) for name, value in fields}


def read_published(
    inputs: Inputs, path: str, layout: Layout, first: int | None = None
) -> Iterator[PublishedDocument | str]:
    """Yield the document of each row, or why it is invalid; of the `first` rows only if given.

    Raises UserError if the file is truncated or corrupt, or if it expands without bounds.
    """
    if is_parquet(path):
        kinds = kinds_of_columns(inputs, path)
        optional = (name for name in layout.optional if kinds.get(name) is Kind.TEXT)
        rows = rows_of_parquet(inputs, path, [*layout.fields, *optional])
    else:
        rows = rows_of_lines(inputs, path, whole=first is None)
    for row in islice(rows, first):
        yield row if isinstance(row, str) else document_of_row(layout, row, path)


def document_of_row(layout: Layout, row: dict[str, Any], path: str) -> PublishedDocument | str:
    """Return the document of a row of the file at that path, or why it is invalid, whatever it contains."""
    try:
        return layout.document(row, path)
    except InvalidRowError as error:
        return str(error)
    except (MemoryError, OSError):  # the machine, not the row
        raise
    except Exception as error:  # noqa: BLE001 - no row may end a stage, whatever the splitter of sentences makes of it
        return f"reading the document failed ({type(error).__name__}: {error})"[:_MAX_DETAIL]
