"""Split C4 text into sentences. No sentence spans lines, because C4's lines are the page's paragraphs."""

import sentencex

MAX_CHARACTERS = 100_000  # of a line given to the splitter: a page with one endless line must not block a worker


def sentences_of(text: str) -> list[str]:
    """Return the sentences of an English text in order, without surrounding spaces; empty for a text of spaces."""
    return [sentence for line in sentences_by_line(text) for sentence in line]


def sentences_by_line(text: str) -> list[list[str]]:
    """Return the sentences of each line; lines of spaces have none."""
    return [
        [
            sentence
            for part in _pieces(line.strip())
            for sentence in map(str.strip, sentencex.segment("en", part))
            if sentence
        ]
        for line in text.split("\n")
    ]


def _pieces(line: str) -> list[str]:
    return [line[start : start + MAX_CHARACTERS] for start in range(0, len(line), MAX_CHARACTERS)]
