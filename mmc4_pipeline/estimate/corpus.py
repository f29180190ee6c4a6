"""What becomes of C4's documents on the way to a dataset: images and sentences per document, and their sizes."""

from dataclasses import dataclass

from mmc4_pipeline.estimate.host_limits import sites_with
from mmc4_pipeline.estimate.web import DEAD, DISTINCT, HANGING, LINKS_PER_DOCUMENT, MISSING, SHARED_SHARE

# MMC4 (arXiv:2304.06939; totals of version 1.1): of 365 million documents 115 million had images, 1.37 billion in all;
# 101.2 million documents with 571 million images remained.
_WITH_IMAGES, _PUBLISHED_DOCUMENTS, _PUBLISHED_OF_RECEIVED = 115 / 365, 101.2 / 365, 571 / 1370
# 60 real pages with their 594 image links, by the recipe mmc4: of the bodies received, the share that is an image and
# may be used; and of those images the share that is large enough, not too narrow and not twice in its document.
_USABLE, _SCORED = 0.87, 0.55
_RESPONDING = (1 - MISSING) * (1 - (1 - SHARED_SHARE) * (DEAD + HANGING))
# C4's English part: 156 billion tokens and 305 GB (compressed) in 365 million documents; 23 tokens per sentence were
# measured on real pages.
_SENTENCES, C4_BYTES = 156e9 / 365e6 / 23, 305e9 / 365e6
# Bytes per document or image of the files that hold no images, on the same 60 pages, less their longer texts.
LOCATION_BYTES, PAGE_BYTES, IMAGE_ROW_BYTES, SCORE_BYTES, LEDGER_BYTES = 175, 2200, 170, 300, 60
BASE64 = 4 / 3
IMAGE_BYTES = 83_000.0


@dataclass(frozen=True, slots=True)
class Corpus:
    """The documents of a run, and their images, with their average sizes in bytes as received and as stored.

    `with_images` is the share of the documents that have images, and `sentences_per_document` is theirs. Of the images
    that are received and may be used, `scored_share` are kept by the images stage and `published_share` by the last
    one; `published_documents` is the share of the documents that are in the dataset.
    """

    documents: int
    image_bytes: float = IMAGE_BYTES
    links_per_document: float = LINKS_PER_DOCUMENT
    with_images: float = _WITH_IMAGES
    sentences_per_document: float = _SENTENCES
    scored_share: float = _SCORED
    published_share: float = _PUBLISHED_OF_RECEIVED
    published_documents: float = _PUBLISHED_DOCUMENTS

    @property
    def requests(self) -> float:
        """Requests for images, each distinct URL of a shard once, and for robots.txt of each site once."""
        return self.distinct + sites_with(self.documents)

    @property
    def distinct(self) -> float:
        """The distinct image links that pass the rules for URLs."""
        return self.documents * self.links_per_document * DISTINCT

    @property
    def bodies(self) -> float:
        """Responses with a body."""
        return self.distinct * _RESPONDING

    @property
    def received(self) -> float:
        """The images that are received and may be used."""
        return self.bodies * _USABLE

    @property
    def scored(self) -> float:
        """The images that the images stage keeps."""
        return self.received * self.scored_share

    @property
    def published(self) -> float:
        """The images of the dataset."""
        return self.received * self.published_share

    @property
    def sentences(self) -> float:
        """The sentences of the documents that have images; those of other documents are not scored."""
        return self.documents * self.with_images * self.sentences_per_document

    @property
    def published_text_bytes(self) -> float:
        """The bytes of the texts and matrices in the dataset's documents (uncompressed)."""
        return self.documents * self.published_documents * 6000
