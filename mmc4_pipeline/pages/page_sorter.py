"""Pack the outcome of each page with its position; pages with their own text are filtered before packing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from filters.base import Filter, LinkFilter, PageFilter, TextFilter
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.pages.c4_lines import C4Lines, c4_lines
from mmc4_pipeline.pages.content import PageContent, rejected
from mmc4_pipeline.pages.guard import guarded
from mmc4_pipeline.pages.page import make_page
from mmc4_pipeline.pages.page_outcome import pack
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.pages.site_shards import position
from schemas.document import RejectedDocument
from schemas.page import OutcomeKind, Page, PageOutcome
from schemas.reasons import Reason
from schemas.statistics import Counts


@dataclass(frozen=True)
class PageSorter:
    """Reads pages and packs their outcomes, each with the position that determines its shard."""

    reader: PageReader
    filters: LoadedFilters

    def page(self, found: PageContent, text: str, sentences: list[str] | None = None) -> Page | RejectedDocument:
        """Make a page's record, or drop the page, with the recipe's filters. `sentences` are the text's, if known."""
        loaded, text_filters = self.filters.of_kind(Filter), self.filters.of_kind(TextFilter)
        link_filters = {key: item for key, item in loaded.items() if isinstance(item, LinkFilter | PageFilter)}
        recipe_filters = dict(self.filters.filters)
        return guarded(found.location, make_page, found, text, link_filters, text_filters, recipe_filters, sentences)

    def packed(self, outcomes: Iterable[PageContent | RejectedDocument]) -> Iterator[PageOutcome]:
        """Pack outcomes, and after them the count of lines if the texts are the pages' own.

        The count is at the position of the last page: some shard has to have it.
        """
        lines, last = Counts(), b""
        for outcome in outcomes:
            if isinstance(outcome, RejectedDocument):
                yield self._reject(outcome)
                continue
            last = position(outcome.location.url)
            if outcome.text is None:
                yield pack(last, OutcomeKind.CONTENT, outcome, outcome.location.source)
                continue
            cleaned = guarded(outcome.location, c4_lines, outcome.text)
            if isinstance(cleaned, RejectedDocument):
                yield self._reject(cleaned)
                continue
            lines += cleaned.counts
            page = self._with_own_text(outcome, cleaned)
            if isinstance(page, RejectedDocument):
                yield self._reject(page)
            else:
                yield pack(last, OutcomeKind.PAGE, page, outcome.location.source)
        if lines.seen:
            yield pack(last, OutcomeKind.COUNTS, {"lines": lines.to_json()})

    def _reject(self, reject: RejectedDocument) -> PageOutcome:
        return pack(position(reject.url or reject.source), OutcomeKind.REJECT, reject, reject.source)

    def _with_own_text(self, outcome: PageContent, cleaned: C4Lines) -> Page | RejectedDocument:
        if not cleaned.text:
            dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(cleaned.counts.dropped.items()))
            detail = f"none of the page's {cleaned.counts.seen} lines is prose by C4's rules ({dropped or 'no text'})"
            return rejected(outcome.location, Reason.NO_TEXT, detail)
        return self.page(outcome, cleaned.text)
