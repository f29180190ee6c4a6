"""The third source of the pages stage: documents of a published interleaved dataset."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from beam_jobs.options.locate import ChoiceOptions, LocateOptions
from beam_jobs.options.pages import PagesOptions
from beam_jobs.page_sources import Outcome, PageSource
from filters.base import PageFilter
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.pages.captures import decide_captures
from mmc4_pipeline.pages.page_outcome import pack
from mmc4_pipeline.pages.page_sorter import PageSorter
from mmc4_pipeline.pages.site_shards import position
from mmc4_pipeline.published.files import LAYOUTS, find_published, read_published
from mmc4_pipeline.published.pages import page_of_published
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.storage import Inputs
from schemas.document import RejectedDocument
from schemas.manifest import PagesInput
from schemas.page import OutcomeKind, PageOutcome
from schemas.statistics import Counts


def check_published(options: PipelineOptions, recipe: Recipe) -> None:
    """Raise UserError if an option or the recipe needs something that a published dataset does not have."""
    own, choice = options.view_as(PagesOptions), options.view_as(ChoiceOptions)
    for other, values in (("c4", options.view_as(LocateOptions).c4), ("warcs", own.warcs)):
        if values:
            raise UserError(f"--published: has its own documents; leave out --{other}, or --published")
    if choice.sample is not None:
        raise UserError("--sample: chooses among documents of --c4; with --published, use --limit, or give fewer files")
    if choice.limit is not None and choice.limit < 1:
        raise UserError("--limit: must be at least 1")
    if own.page_source != "warc":
        raise UserError(f"--published: no pages are read; leave out --page_source {own.page_source}")
    if recipe.links.main_content:
        raise UserError(
            f"--published: no pages are read, but recipe {recipe.name} needs their main content; "
            "add --set links.main_content=false --set filters.main_content=null"
        )
    if keys := [*recipe.of_kind(PageFilter)]:
        off = " ".join(f"--set filters.{key}=null" for key in keys)
        raise UserError(
            f"--published: no pages are read, but recipe {recipe.name} has filters of what pages declare; add {off}"
        )


@dataclass(frozen=True, kw_only=True)
class PublishedPages(PageSource):
    """The documents of a published dataset. Each file is a part."""

    files: tuple[str, ...]
    layout: str
    first: dict[str, int]

    @classmethod
    def of(cls, options: PipelineOptions, recipe: Recipe, inputs: Inputs) -> "PublishedPages":
        """Find the files of --published, and with --limit the first ones.

        Raises UserError if one is missing or has an unknown layout, or if the recipe needs what the layout lacks.
        """
        limit = options.view_as(ChoiceOptions).limit
        found = find_published(inputs, options.view_as(PagesOptions).published, limit)
        if not LAYOUTS[found.layout].has_places and (needing := recipe.needing_places):
            raise UserError(
                f"--published: {found.layout} does not say where images are in the text, but recipe {recipe.name} "
                f"needs that for {', '.join(needing)}; use another recipe, or turn it off with --set"
            )
        return cls(
            inputs=inputs,
            parts_with_pages=len(found.sizes),
            unit="published files",
            options={},
            input=PagesInput(published=found.sizes, layout=found.layout, limit=limit, first=found.first),
            places=LAYOUTS[found.layout].has_places,
            remedy="Check --published, and the recipe's text filters",
            files=tuple(found.sizes),
            layout=found.layout,
            first=found.first,
        )

    def parts(self, pipeline: beam.Pipeline, done: frozenset[int]) -> PCollection[tuple[int, Iterable[str]]]:
        """Return each file; finished ones are recognised when they would be read."""
        files = [(part, [path]) for part, path in enumerate(self.files)]
        parts: PCollection[tuple[int, Iterable[str]]] = (
            pipeline | "Published files" >> beam.Create(files) | "Spread published files" >> beam.Reshuffle()
        )
        return parts

    def read(self, items: Iterable[str], sorter: PageSorter) -> Iterator[PageOutcome]:
        """Read all documents of a part's files, and count the files' records."""
        for path in items:
            records = Counts()
            rows = read_published(self.inputs, path, LAYOUTS[self.layout], self.first.get(path))
            for number, found in enumerate(rows, start=1):
                source = f"{path}:{number}"
                page = page_of_published(found, source, sorter)
                records.seen += 1
                records.kept += 1
                kind = OutcomeKind.REJECT if isinstance(page, RejectedDocument) else OutcomeKind.PAGE
                yield pack(position(page.url or source), kind, page, source)
            # Some shard has to count the file's records.
            yield pack(position(path), OutcomeKind.COUNTS, {"records": records.to_json()})

    def decide(self, outcomes: Iterable[tuple[str, Outcome]]) -> list[Outcome]:
        """Drop documents that were published twice, and mark others with the same URL."""
        return list(decide_captures(outcomes))
