"""OmniCorpus-CC and OmniCorpus-CC-210M in Parquet (huggingface.co/datasets/OpenGVLab/OmniCorpus-CC).

`general_metadata` is a struct with the page's URL; the names of folders have the crawl. `metadata` has the size and
hashes of each image, which are measured again.
"""

from mmc4_pipeline.published.layout import Kind, Layout, PublishedDocument, Row, crawl_time, list_of, text_of
from mmc4_pipeline.published.sequence import document_of_sequence


class OmniCorpus(Layout):
    """OmniCorpus' layout."""

    name = "omnicorpus"
    fields = {"images": Kind.LIST, "texts": Kind.LIST, "general_metadata.url": Kind.TEXT}

    def document(self, row: Row, path: str) -> PublishedDocument:
        """Return the document of a row."""
        url = text_of(row, "general_metadata.url")
        return document_of_sequence(url, list_of(row, "images"), list_of(row, "texts"), crawled=crawl_time(path))
