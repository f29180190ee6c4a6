"""The columns of scores: each scorer declares its own. Ledger, statistics, report and card follow from them."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Shape(StrEnum):
    """What a column has a value for."""

    IMAGE = "image"  # a number for each image
    PAIR = "image and sentence"  # a number for each image and each sentence of its document: a matrix per document
    DOCUMENT = "document"  # a number for each document
    TEXT = "text"  # a text for each image


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """A column of scores. Any of its values may be null.

    `name` is in lower case, with digits and underscores. `range` is the lowest and the highest value of a number: the
    report's histograms have it, and a missing pair of an image and a sentence counts as the lowest value. `qualified`
    is "FOLDER.column", the name in recipes if several scores of a dataset declare a column of this name.
    """

    name: str
    shape: Shape
    description: str
    range: tuple[float, float] = (0.0, 1.0)
    qualified: str | None = None

    def is_named(self, name: str) -> bool:
        """Return whether a recipe that was accepted means this column of its dataset by a name."""
        if self.qualified is None:
            return self.name == name.rpartition(".")[2]
        return name in (self.name, self.qualified)


SIMILARITY = "similarity"  # the column that documents are published with
GENERATED_CAPTION = "generated_caption"  # the column that documents are published with as `caption`
CLIP_COLUMNS = (  # in the order of the files, so that earlier versions' files are read like new ones
    Column(SIMILARITY, Shape.PAIR, "CLIP's cosine similarity", (-1.0, 1.0)),
    Column("nsfw", Shape.IMAGE, "probability that the image is not safe for work"),
    Column("face", Shape.IMAGE, "probability that the image shows a face"),
    Column("ad", Shape.IMAGE, "probability that the image is an advertisement, estimated with CLIP"),
)


class LedgerColumn(msgspec.Struct, frozen=True):
    """A column of the ledger that shows a column of scores. A matrix has two: `best_` and `matched_`."""

    name: str
    description: str
    column: Column

    @property
    def is_matched(self) -> bool:
        """Whether it has values of the assigned sentence, which only kept images have."""
        return self.column.shape is Shape.PAIR and self.name == matched(self.column.name)


def best(name: str) -> str:
    """Return the ledger's column with the highest value of an image in a matrix."""
    return f"best_{name}"


def matched(name: str) -> str:
    """Return the ledger's column with a matrix's value for the sentence that an image was assigned to."""
    return f"matched_{name}"


def ledger_columns(columns: Iterable[Column]) -> list[LedgerColumn]:
    """Return the ledger's columns for columns of scores: numbers and texts first, then matrices."""
    columns = list(columns)
    found = [LedgerColumn(item.name, item.description, item) for item in columns if item.shape is not Shape.PAIR]
    for item in columns:
        if item.shape is Shape.PAIR:
            found += [
                LedgerColumn(best(item.name), f"{item.description}: the highest for any sentence", item),
                LedgerColumn(
                    matched(item.name),
                    f"{item.description}: for the sentence that the image was assigned to; null if it was dropped",
                    item,
                ),
            ]
    return found
