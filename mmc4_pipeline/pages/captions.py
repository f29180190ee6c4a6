"""Find the captions of images: the `figcaption` of the `figure` around each."""

from collections.abc import Iterable

from selectolax.lexbor import LexborNode

from mmc4_pipeline.pages.text_around import NOT_TEXT

_MAX_LEVELS = 8  # from an image or a caption up to its figure
_MAX_CAPTION = 2000  # characters
# Of all captions of a page together: an image of a gallery has the gallery's, so short pages could have endless ones.
_MAX_CHARACTERS = 1 << 18


class Captions:
    """The captions of a page's figures, as long as they are not too long together."""

    def __init__(self, nodes: Iterable[LexborNode]) -> None:
        self._left = _MAX_CHARACTERS
        self._of_figure: dict[int, str] = {}
        for node in nodes:
            figure = _figure_around(node)
            text = " ".join(_text(node).split()) if figure else ""
            if figure and text and len(text) <= _MAX_CAPTION:
                self._of_figure.setdefault(figure.mem_id, text)

    def of(self, image: LexborNode) -> str | None:
        """Return the caption of an image, None if it has none."""
        figure = _figure_around(image) if self._of_figure else None
        caption = self._of_figure.get(figure.mem_id) if figure else None
        self._left -= len(caption or "")
        return caption if self._left >= 0 else None


def _figure_around(node: LexborNode) -> LexborNode | None:
    parent = node.parent
    for _ in range(_MAX_LEVELS):
        if parent is None or parent.tag == "figure":
            return parent
        parent = parent.parent
    return None


def _text(caption: LexborNode) -> str:
    """Return a caption's text without scripts and style sheets, which other parts of the page may still need."""
    if caption.css_first(", ".join(NOT_TEXT)) is None:
        return caption.text()
    pieces = (node for node in caption.traverse(include_text=True) if node.tag == "-text")
    return "".join(node.text_content or "" for node in pieces if node.parent and node.parent.tag not in NOT_TEXT)
