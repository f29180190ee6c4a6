"""Sources of the pages stage: located documents in Common Crawl, and whole WARC files.

A source is read in parts, because reading a crawl can take days: a resumed run does not read a finished part again.
"""

import zlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby
from math import ceil
from typing import Any

import apache_beam as beam
import msgspec
import numpy as np
from apache_beam.pvalue import PCollection

from beam_jobs.options.pages import PagesOptions
from mmc4_pipeline import storage
from mmc4_pipeline.commoncrawl.by_range import pages_by_range
from mmc4_pipeline.commoncrawl.by_scan import pages_by_scan
from mmc4_pipeline.commoncrawl.by_wat import pages_by_wat
from mmc4_pipeline.commoncrawl.from_warcs import documents_of_warc, warc_files
from mmc4_pipeline.documents.fields import DocumentFields
from mmc4_pipeline.naming import shard_of
from mmc4_pipeline.pages.captures import decide_captures
from mmc4_pipeline.pages.page_outcome import pack
from mmc4_pipeline.pages.page_sorter import PageSorter
from mmc4_pipeline.pages.site_shards import POSITION, SiteShards, divide, in_order, position
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from mmc4_pipeline.storage import Inputs
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.manifest import LocatePlan, PagesInput
from schemas.page import OutcomeKind, Page, PageOutcome
from schemas.statistics import Counts

READERS = {"warc": pages_by_range, "wat": pages_by_wat, "warc_scan": pages_by_scan}
_LOCATIONS_PER_PACK = 1000
_LOCATIONS = msgspec.msgpack.Decoder(list[Location])

_DEFAULT_FIELDS = DocumentFields()
Outcome = Page | RejectedDocument


@dataclass(frozen=True, kw_only=True)
class PageSource(ABC):
    """Where pages come from. `options` and `input` are for the stage's plan, `remedy` for its error message.

    `parts_with_pages` are the parts in which there is anything to read, and `unit` is what they are called. `places` is
    whether the text of the pages is read, so that images have places in it. `c4` are the files with the documents'
    texts, empty if the texts are the pages' own. Only the rows in `c4_first` are read of a file that it lists, and only
    texts are needed whose key is not after `last_key`.
    """

    inputs: Inputs
    parts_with_pages: int
    options: dict[str, Any]
    input: PagesInput
    remedy: str
    places: bool = True
    unit: str = "parts of the crawl"
    c4: tuple[str, ...] = ()
    c4_fields: DocumentFields = _DEFAULT_FIELDS
    c4_first: dict[str, int] = field(default_factory=dict)
    last_key: str | None = None

    @abstractmethod
    def parts(self, pipeline: beam.Pipeline, done: frozenset[int]) -> PCollection[tuple[int, Iterable[Any]]]:
        """Return each part's number with what is to be read for it; `done` are the parts that are finished."""

    def site_shards(self, limit: int) -> SiteShards | None:
        """Divide the documents into shards; None if they are counted only while they are read."""
        return None

    @abstractmethod
    def read(self, items: Iterable[Any], sorter: PageSorter) -> Iterator[PageOutcome]:
        """Read a part and yield its outcomes, packed."""

    @abstractmethod
    def decide(self, outcomes: Iterable[tuple[str, Outcome]]) -> list[Outcome]:
        """Decide about all of a shard's outcomes, each given with the source of its document."""


@dataclass(frozen=True, kw_only=True)
class LocatedPages(PageSource):
    """The pages of the documents that the locate stage found in a crawl."""

    locations: tuple[str, ...]
    cc_root: str
    page_source: str
    number_of_parts: int
    counted: tuple[str, ...]
    documents: int

    @classmethod
    def of(cls, located: StageFolder, own: PagesOptions, recipe: Recipe, inputs: Inputs) -> "LocatedPages":
        """Divide the locate stage's output into parts and shards; raises UserError if that stage is not finished."""
        manifest = located.manifest(LocatePlan)
        locations = [located.file(name) for name in manifest.names_of("locations")]
        kept = manifest.counts["documents"].kept
        names = {name for path in locations for name in storage.distinct(path, "warc_filename")}
        # Single records: as many per part as per shard. Whole files: one per part, as far as their hashes differ,
        # because an interrupted part is read again.
        shards = ceil(kept / own.documents_per_shard)
        parts = max(1, min(shards, len(names)) if own.page_source == "warc" else len(names))
        return cls(
            inputs=inputs,
            parts_with_pages=len({shard_of(name, parts) for name in names}),
            options={"page_source": own.page_source},
            input=PagesInput(locations=fingerprint(manifest)),
            remedy="Check --cc_root and --page_source",
            places=own.page_source != "wat",
            c4=tuple(manifest.plan.input.c4) if recipe.text_source == "c4" else (),
            c4_fields=DocumentFields(**manifest.plan.input.c4_fields),
            c4_first=manifest.plan.input.c4_first,
            last_key=_last_key(locations) if manifest.plan.input.sample else None,
            locations=tuple(locations),
            cc_root=manifest.plan.input.cc_root,
            page_source=own.page_source,
            number_of_parts=parts,
            counted=tuple(located.file(name) for name in manifest.names_of("positions")),
            documents=kept,
        )

    def site_shards(self, limit: int) -> SiteShards:
        """Divide the documents into shards, as the locate stage has counted them."""
        found = (np.frombuffer(storage.read_bytes(path), POSITION) for path in self.counted)
        return divide(in_order(found, self.documents), limit)

    def parts(self, pipeline: beam.Pipeline, done: frozenset[int]) -> PCollection[tuple[int, Iterable[Any]]]:
        """Return the locations of each part; those of finished parts are not needed."""
        new = (
            pipeline
            | "Location files" >> beam.Create(self.locations)
            | "Read locations" >> beam.FlatMap(self._by_part, done).with_output_types(tuple[int, Any])
        )
        # Joined before the GroupByKey, because after it Flink's job server cannot fuse the steps that Flatten joins.
        # Their types are declared, because it does not join collections with different coders.
        before = pipeline | "Parts read before" >> beam.Create(
            [(part, None) for part in sorted(done)]
        ).with_output_types(tuple[int, Any])
        parts: PCollection[tuple[int, Iterable[Any]]] = (
            (new, before) | beam.Flatten() | "Group by part" >> beam.GroupByKey()
        )
        return parts

    def _by_part(self, path: str, done: frozenset[int]) -> Iterator[tuple[int, bytes]]:
        """Yield the locations of each part, packed: as objects they would take most of a local runner's memory."""
        packs: dict[int, list[Location]] = defaultdict(list)
        for location in storage.read_records(path, Location):
            part = shard_of(location.warc_filename, self.number_of_parts)
            if part not in done:
                packs[part].append(location)
                if len(packs[part]) == _LOCATIONS_PER_PACK:
                    yield part, _packed(packs.pop(part))
        for part, pack_of_part in packs.items():
            yield part, _packed(pack_of_part)

    def read(self, items: Iterable[bytes], sorter: PageSorter) -> Iterator[PageOutcome]:
        """Read the pages at a part's locations, one WARC file after the other."""
        pages_of = READERS[self.page_source]
        locations = chain.from_iterable(_LOCATIONS.decode(zlib.decompress(item)) for item in items)
        ordered = sorted(locations, key=lambda location: (location.warc_filename, location.offset, location.key))
        for warc_filename, of_file in groupby(ordered, key=lambda location: location.warc_filename):
            outcomes = pages_of(self.inputs, self.cc_root, warc_filename, list(of_file), sorter.reader)
            yield from sorter.packed(outcomes)

    def decide(self, outcomes: Iterable[tuple[str, Outcome]]) -> list[Outcome]:
        """Return the outcomes: the locate stage has already decided which captures are documents."""
        return [outcome for _, outcome in outcomes]


def _last_key(locations: list[str]) -> str:
    """Return the largest key: a sample has the documents with the smallest ones."""
    return max((key for path in locations for key in storage.distinct(path, "key")), default="")


def _packed(locations: list[Location]) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(locations), 1)


@dataclass(frozen=True, kw_only=True)
class WarcPages(PageSource):
    """All HTML pages of some WARC files. Each file is a part."""

    warcs: tuple[str, ...]

    @classmethod
    def of(cls, own: PagesOptions, inputs: Inputs) -> "WarcPages":
        """Find the WARC files of --warcs; raises UserError if one is missing."""
        files = warc_files(inputs, own.warcs)
        sizes = storage.for_each(files, inputs.size)
        return cls(
            inputs=inputs,
            parts_with_pages=len(files),
            options={},
            input=PagesInput(warcs=sizes),
            remedy="Check --warcs, and the recipe's text filters",
            warcs=tuple(files),
        )

    def parts(self, pipeline: beam.Pipeline, done: frozenset[int]) -> PCollection[tuple[int, Iterable[Any]]]:
        """Return each WARC file; finished ones are recognised when they would be read."""
        files = [(part, [path]) for part, path in enumerate(self.warcs)]
        parts: PCollection[tuple[int, Iterable[Any]]] = (
            pipeline | "WARC files" >> beam.Create(files) | "Spread WARC files" >> beam.Reshuffle()
        )
        return parts

    def read(self, items: Iterable[str], sorter: PageSorter) -> Iterator[PageOutcome]:
        """Read all pages of a part's WARC files, and count the files' records."""
        for path in items:
            records = Counts()
            yield from sorter.packed(documents_of_warc(self.inputs, path, sorter.reader, records))
            # Some shard has to count the file's records.
            yield pack(position(path), OutcomeKind.COUNTS, {"records": records.to_json()})

    def decide(self, outcomes: Iterable[tuple[str, Outcome]]) -> list[Outcome]:
        """Decide which captures of a URL are documents."""
        return list(decide_captures(outcomes))
