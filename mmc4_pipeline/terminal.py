"""Prints to the terminal without letting text from outside control it.

URLs, server messages and names in files come from strangers. A terminal obeys the control characters in them: they can
hide lines, change the window's title, or write to the clipboard.
"""

import re
from collections.abc import Iterable

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

# The C0 and C1 controls except tab and newline, the marks that reorder text (Unicode TR 36, 3.5) or are invisible, and
# lone surrogates.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text in which characters that control a terminal are written as \x1b or \u202e."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


class Console(RichConsole):
    """A console that prints text from outside as `printable` returns it, tables and progress bars included."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of anything that can be printed; rich's own control codes are marked as such."""
        for segment in super().render(renderable, options):
            if segment.control or not _CONTROL.search(segment.text):
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)
