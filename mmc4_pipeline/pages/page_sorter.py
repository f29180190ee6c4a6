"""Pack the outcome of each page for the shard of its site; pages with their own text are filtered before packing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from filters.base import LinkFilter, TextFilter
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.naming import shard_of, site_of
from mmc4_pipeline.pages.c4_lines import C4Lines, c4_lines
from mmc4_pipeline.pages.content import PageContent, rejected
from mmc4_pipeline.pages.page import make_page
from mmc4_pipeline.pages.page_outcome import pack
from mmc4_pipeline.pages.page_reader import PageReader
from schemas.document import RejectedDocument
from schemas.page import OutcomeKind, Page, PageOutcome
from schemas.reasons import Reason
from schemas.statistics import Counts


@dataclass(frozen=True)
class PageSorter:
    """Sorts the outcomes of pages into shards, by the page's site."""

    shards: int
    reader: PageReader
    filters: LoadedFilters

    def shard(self, url: str) -> int:
        """Return the shard of a page."""
        return shard_of(site_of(url), self.shards)

    def page(self, found: PageContent, text: str) -> Page | RejectedDocument:
        """Make a page's record, or drop the page, with the recipe's filters."""
        link_filters, text_filters = self.filters.of_kind(LinkFilter), self.filters.of_kind(TextFilter)
        return make_page(found, text, link_filters, text_filters, dict(self.filters.filters))

    def packed(self, outcomes: Iterable[PageContent | RejectedDocument]) -> Iterator[PageOutcome]:
        """Pack outcomes for their shards, and also the counts of lines if the texts are the pages' own."""
        lines: dict[int, Counts] = defaultdict(Counts)
        for outcome in outcomes:
            if isinstance(outcome, RejectedDocument):
                yield self._reject(outcome)
                continue
            shard = self.shard(outcome.location.url)
            if outcome.text is None:
                yield pack(shard, OutcomeKind.CONTENT, outcome, outcome.location.source)
                continue
            cleaned = c4_lines(outcome.text)
            lines[shard] += cleaned.counts
            page = self._with_own_text(outcome, cleaned)
            if isinstance(page, RejectedDocument):
                yield self._reject(page)
            else:
                yield pack(shard, OutcomeKind.PAGE, page, outcome.location.source)
        for shard, counts in lines.items():
            yield pack(shard, OutcomeKind.COUNTS, {"lines": counts.to_json()})

    def _reject(self, reject: RejectedDocument) -> PageOutcome:
        return pack(self.shard(reject.url), OutcomeKind.REJECT, reject, reject.source)

    def _with_own_text(self, outcome: PageContent, cleaned: C4Lines) -> Page | RejectedDocument:
        if not cleaned.text:
            dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(cleaned.counts.dropped.items()))
            detail = f"none of the page's {cleaned.counts.seen} lines is prose by C4's rules ({dropped or 'no text'})"
            return rejected(outcome.location, Reason.NO_TEXT, detail)
        return self.page(outcome, cleaned.text)
