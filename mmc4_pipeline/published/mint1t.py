"""MINT-1T's HTML part in Parquet (huggingface.co/datasets/mlfoundations/MINT-1T-HTML).

`url` is the page's and `cc_dump` its crawl. The other columns have one entry per image or page that is measured again.
"""

from mmc4_pipeline.published.layout import Kind, Layout, PublishedDocument, Row, crawl_time, list_of, text_of
from mmc4_pipeline.published.sequence import document_of_sequence


class Mint1t(Layout):
    """MINT-1T's layout."""

    name = "mint1t"
    fields = {"images": Kind.LIST, "texts": Kind.LIST, "url": Kind.TEXT}
    optional = ("cc_dump",)

    def document(self, row: Row, path: str) -> PublishedDocument:
        """Return the document of a row."""
        crawled = crawl_time(str(row.get("cc_dump")))
        return document_of_sequence(text_of(row, "url"), list_of(row, "images"), list_of(row, "texts"), crawled=crawled)
