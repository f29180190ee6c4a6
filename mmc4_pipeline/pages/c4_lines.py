"""Apply C4's rules for lines: which lines of a page are prose (Raffel et al. 2020, section 2.2).

The rules, their order and their numbers are those of C4's reference implementation (tensorflow_datasets,
text/c4_utils.py), with which the published C4 was made. C4's rules for whole pages see only lines that have passed
these, as the text filters here do, except in two cases: "lorem ipsum" in a line dropped for "javascript", and "{" in a
policy notice.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from schemas.statistics import Counts

MIN_WORDS = 5
MAX_WORD_CHARACTERS = 1000
END_MARKS = (".", "?", "!", '"')
ELLIPSIS = "..."
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_IN_A_MARK = re.compile(r"\d*|edit|citation needed")
_BRACKETS = re.compile(r"([\[\]])")


class LineReason(StrEnum):
    """Why a line was dropped."""

    LONG_WORD = "long_word"
    NO_END_MARK = "no_end_mark"
    TOO_FEW_WORDS = "too_few_words"
    JAVASCRIPT = "javascript"
    POLICY = "policy"


_RULES: tuple[tuple[LineReason, Callable[[str], bool]], ...] = (
    (LineReason.LONG_WORD, lambda line: any(len(word) > MAX_WORD_CHARACTERS for word in line.split())),
    (LineReason.NO_END_MARK, lambda line: not line.endswith(END_MARKS) or line.endswith(ELLIPSIS)),
    (LineReason.TOO_FEW_WORDS, lambda line: len(line.split()) < MIN_WORDS),
    (LineReason.JAVASCRIPT, lambda line: "javascript" in line.lower()),
    (LineReason.POLICY, lambda line: any(policy in line.lower() for policy in POLICIES)),
)


@dataclass(frozen=True, slots=True)
class C4Lines:
    """The lines kept of a text, and the counts of lines in all, kept, and dropped by each rule."""

    text: str
    counts: Counts


def c4_lines(text: str) -> C4Lines:
    """Keep the lines of a text that C4 keeps, without their citation marks. Empty lines are not counted."""
    kept, counts = [], Counts()
    for line in filter(None, map(str.strip, text.splitlines())):
        cleaned = without_citations(line)
        reason = broken_rule(cleaned)
        counts.seen += 1
        if reason is None:
            counts.kept += 1
            kept.append(cleaned)
        else:
            counts.dropped[reason.value] += 1
    return C4Lines("\n".join(kept), counts)


def without_citations(line: str) -> str:
    """Remove marks such as [1] and [citation needed], and the spaces that then remain at the ends."""
    if "[" not in line:
        return line.strip()
    # Removing one mark may create another ("[[1]2]"). `opened` has the places of brackets that may still begin a mark,
    # so that each part of the line is looked at once.
    kept: list[str] = []
    opened: list[int] = []
    for part in _BRACKETS.split(line):
        if part == "[":
            opened.append(len(kept))
        elif part == "]":
            start = opened.pop() if opened else None
            if start is not None and _IN_A_MARK.fullmatch("".join(kept[start + 1 :])):
                del kept[start:]
                continue
            opened.clear()  # what contains this bracket is not a mark
        kept.append(part)
    return "".join(kept).strip()


def broken_rule(line: str) -> LineReason | None:
    """Return the first rule that a stripped line breaks, or None."""
    return next((reason for reason, breaks in _RULES if breaks(line)), None)
