"""Documents as the cut stage leaves them."""

from mmc4_pipeline.cut_document import CutDocument, Placed
from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Reason
from schemas.score import ImageScore
from tests.pages import new_page


def document(number: int, *lengths: int, text: str = "Word. ", reason: Reason | None = None) -> CutDocument:
    """Return a document with an image of each given length, whose offsets grow with the document's number."""
    key = f"{number:032x}"
    texts = [text * 20] * 12
    links = [ImageLink(at, f"https://a.example/{number}/{at}.jpg", "", None, None) for at in range(len(lengths))]
    page = new_page(key, texts, links)
    placed = [
        Placed(
            Image(key, at, links[at].url, offset=1000 * number + at, length=length),
            ImageScore(at, {"similarity": [-0.123456] * 12}),
            at % 12,
            -0.123456,
            before=at % 12,
        )
        for at, length in enumerate(lengths)
    ]
    return CutDocument(page, placed if reason is None else [], {}, {}, {}, reason)
