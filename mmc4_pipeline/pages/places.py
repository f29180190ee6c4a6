"""Find the places of a page's images among the sentences of its document.

Both texts are compared by their letters and digits only (letters.py). A document's text is that of its page in the same
order, with lines missing. So its lines are looked for one after the other, then the long sentences of lines that are
not there as a whole. At last, short sentences are looked for next to what was found: elsewhere they may be anything.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise

from mmc4_pipeline.pages.letters import MARK, SEPARATOR, letters

_LONG = 12  # letters, as in the shortest lines of C4, which have five words
# How many times the page is read at most. A long text of which nothing is found would take quadratic time.
_MAX_READS = 100

Span = tuple[int, int]  # start and end in a page's letters


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an image: `after_sentence` and `inside_text` as in `ImageLink`, null if it is not known."""

    after_sentence: int | None = None
    inside_text: bool | None = None


def places_of(lines: Sequence[Sequence[str]], around: str, images: int) -> list[Place]:
    """Return the places of a page's images; `lines` has its document's sentences, `around` is from `text_around`.

    The last images have no place if the page was too long.
    """
    parts = around.split(SEPARATOR)
    spans = find_sentences(lines, "".join(parts))
    found = [(number, *span) for number, span in enumerate(spans) if span]
    if not found:
        return [Place()] * images
    numbers, starts, ends = zip(*found, strict=True)
    offsets = list(accumulate(map(len, parts)))[:-1]
    places = [
        Place(numbers[at - 1] if (at := bisect_right(ends, offset)) else -1, starts[0] < offset < ends[-1])
        for offset in offsets
    ]
    return places + [Place()] * (images - len(places))


def find_sentences(lines: Sequence[Sequence[str]], text: str) -> list[Span | None]:
    """Return where each sentence is in the letters of a page, in order; None if it is not found.

    Of a line that is there several times, the occurrence is used with which as many lines as possible are found, the
    last line ends first, and the others are as near to it as possible.
    """
    search = _Search(text)
    sentences = _letters_of(lines)
    starts = search.in_order(["".join(line) for line in sentences], 0, len(text))
    return _spans(sentences, starts, 0, len(text), search.sentences)


def _letters_of(lines: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the letters of each sentence; of all sentences at once, because that takes a third of the time."""
    joined = MARK.join(sentence.replace(MARK, "") for line in lines for sentence in line)
    found = iter(letters(joined).split(SEPARATOR))
    return [list(islice(found, len(line))) for line in lines]


def _spans(
    groups: Sequence[Sequence[str]],
    starts: Sequence[int | None],
    low: int,
    high: int,
    find_between: Callable[[Sequence[str], int, int], list[Span | None]],
) -> list[Span | None]:
    """Return the spans of the strings of groups, whose starts are given; `find_between` finds those of other groups."""
    spans: list[Span | None] = []
    pending: list[str] = []
    for group, start in zip(groups, starts, strict=True):
        if start is None:
            pending += group
            continue
        spans += find_between(pending, low, start)
        bounds = list(accumulate(map(len, group), initial=start))
        spans += pairwise(bounds)
        pending, low = [], bounds[-1]
    return spans + find_between(pending, low, high)


class _Search:
    """Finds strings in a text, until it has been read _MAX_READS times."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._backwards = text[::-1]
        self._left = _MAX_READS * len(text)

    def in_order(self, wanted: Sequence[str], low: int, high: int) -> list[int | None]:
        """Return the starts of the long strings between two offsets, each after the one before; None if not found."""
        starts: list[int | None] = []
        for item in wanted:
            start = self._first(item, low, high) if len(item) >= _LONG else None
            starts.append(start)
            low = low if start is None else start + len(item)
        return self._moved_together(wanted, starts)

    def _first(self, item: str, low: int, high: int) -> int | None:
        if self._left < 0:
            return None
        start = self._text.find(item, low, high)
        self._left -= (high if start < 0 else start + len(item)) - low
        return None if start < 0 else start

    def _moved_together(self, wanted: Sequence[str], starts: list[int | None]) -> list[int | None]:
        """Replace each start by the last one before the next string. All together, the text is read once."""
        limit = -1
        for at in reversed(range(len(starts))):
            start = starts[at]
            if start is None:
                continue
            if start + len(wanted[at]) < limit:
                start = self._last(wanted[at], start, limit)
            starts[at] = limit = start
        return starts

    def _last(self, item: str, low: int, high: int) -> int:
        """Return the last of the starts between two offsets. str.rfind would take quadratic time."""
        end = len(self._text)
        found = self._backwards.find(item[::-1], end - high, end - low)
        return end - found - len(item)

    def sentences(self, wanted: Sequence[str], low: int, high: int) -> list[Span | None]:
        """Return where sentences are between two offsets, in order: long ones anywhere, short ones next to these."""
        if not wanted:
            return []
        return _spans([[item] for item in wanted], self.in_order(wanted, low, high), low, high, self._next_to)

    def _next_to(self, wanted: Sequence[str], low: int, high: int) -> list[Span | None]:
        """Return the spans of the first strings that directly follow `low` and of the last ones that end at `high`."""
        first: list[Span | None] = []
        for item in wanted if low > 0 else ():  # nothing was found at the edges of the page
            if not item or not self._text.startswith(item, low, high):
                break
            first.append((low, low + len(item)))
            low += len(item)
        last: list[Span | None] = []
        for item in reversed(wanted[len(first) :]) if high < len(self._text) else ():
            if not item or not self._text.endswith(item, low, high):
                break
            last.append((high - len(item), high))
            high -= len(item)
        return first + [None] * (len(wanted) - len(first) - len(last)) + last[::-1]
