"""Counts the documents and images of a published dataset, from the beginning of one of its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from filters.base import PageFilter
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.estimate.corpus import PAGE_BYTES, Corpus
from mmc4_pipeline.estimate.estimate import TEXT_SECONDS
from mmc4_pipeline.estimate.needs import Needs, Prices, Resources, Work
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.pages.page_sorter import PageSorter
from mmc4_pipeline.published.files import first_documents
from mmc4_pipeline.published.pages import page_of_published
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.storage import Inputs, for_each
from schemas.page import Page
from schemas.reasons import Stage


@dataclass(frozen=True, slots=True)
class PublishedDataset:
    """A published dataset, or as many of its files as the first documents are in; `bytes` are those of the files.

    The other figures are of a sample: different image links per document that pass the recipe's rules, the share of the
    documents that have such links, and their sentences.
    """

    layout: str
    documents: int
    files: int
    bytes: int
    links_per_document: float
    with_images: float
    sentences_per_document: float

    def corpus(self, image_bytes: float, links_per_document: float | None) -> Corpus:
        """Return what becomes of the documents. The publisher has chosen the images: all that still respond count."""
        return Corpus(
            self.documents,
            image_bytes,
            links_per_document or self.links_per_document,
            with_images=self.with_images,
            sentences_per_document=self.sentences_per_document,
            scored_share=1.0,
            published_share=1.0,
            published_documents=self.with_images,
        )

    def pages_needs(self, resources: Resources, prices: Prices) -> Needs:
        """Return the needs of the pages stage, which reads the files and nothing of Common Crawl."""
        pages = self.documents * PAGE_BYTES
        work = Work(
            requests=self.files,
            read=self.bytes,
            stored=pages,
            temporary=pages,
            core_seconds=self.documents * TEXT_SECONDS,
        )
        return Needs.of("pages", "", work, resources, prices)


def published_dataset(
    inputs: Inputs, patterns: Sequence[str], recipe: Recipe, limit: int | None = None
) -> PublishedDataset:
    """Count the documents of the files that match, `limit` at most: by the first file, and by the sizes of all.

    Raises UserError for a pattern without a match, a file of another layout, and a dataset without any image.
    """
    paths = inputs.matches_of("--published", list(patterns))
    sizes = list(for_each(paths, inputs.size).values())
    sample = next(filter(None, (first_documents(inputs, path) for path in paths)), None)
    if sample is None:
        raise UserError(f"--published {' '.join(patterns)}: the files have no documents")
    reader = PageReader(recipe.links, recipe.text_source, bool(recipe.of_kind(PageFilter)))
    sorter = PageSorter(reader, LoadedFilters.read(recipe.of_stage(Stage.PAGES), inputs))
    found = [page_of_published(row, sample.path, sorter) for row in sample.documents]
    links = [
        (page, number)
        for page in found
        if isinstance(page, Page) and (number := len({link.url for link in page.links if link.reason is None}))
    ]
    if not links:
        raise UserError(
            f"{sample.path}: none of its first {len(found)} documents has an image that recipe {recipe.name} allows"
        )
    total = max(1, round(sample.rows * sum(sizes) / inputs.size(sample.path)))
    documents = min(total, limit or total)
    share = documents / total
    return PublishedDataset(
        layout=sample.layout,
        documents=documents,
        files=ceil(len(paths) * share),
        bytes=round(sum(sizes) * share),
        links_per_document=sum(number for _, number in links) / len(found),
        with_images=len(links) / len(found),
        sentences_per_document=sum(len(page.sentences) for page, _ in links) / len(links),
    )
