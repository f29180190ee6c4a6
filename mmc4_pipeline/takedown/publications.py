"""Rewrites the files derived from a dataset's manifest: sizes.json, the report, the card and Croissant metadata."""

import msgspec
import yaml

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.write_shards import write_indexes
from mmc4_pipeline.publish.card import card, write_card
from mmc4_pipeline.publish.croissant import write_croissant
from mmc4_pipeline.report.page import NAME as REPORT
from mmc4_pipeline.report.page import write_report
from mmc4_pipeline.takedown.dataset import formats_of
from mmc4_pipeline.takedown.folders import FinishedFolder
from schemas.manifest import CutPlan


class Croissant(msgspec.Struct, frozen=True):
    """The name and URL in a dataset's Croissant metadata."""

    name: str
    url: str


class Publications(msgspec.Struct, frozen=True):
    """What to rewrite of a dataset: its card by the dataset's name there, its Croissant metadata.

    `edited_card` is the path of a card that differs from what `mmc4 card` writes. It is left unchanged.
    """

    dataset: str
    card: str | None = None
    croissant: Croissant | None = None
    edited_card: str | None = None

    @classmethod
    def of(cls, dataset: FinishedFolder) -> "Publications":
        """Return what to rewrite, by the dataset's files and manifest before the takedown."""
        readme, metadata = dataset.folder.file("README.md"), dataset.folder.file("croissant.json")
        name = _card_name(dataset, readme) if storage.exists(readme) else None
        return cls(
            dataset=dataset.name,
            card=name,
            croissant=storage.read_json(metadata, Croissant) if storage.exists(metadata) else None,
            edited_card=readme if name is None and storage.exists(readme) else None,
        )


def rewrite(dataset: FinishedFolder, found: Publications) -> None:
    """Write what follows from a dataset's new manifest."""
    folder = dataset.folder
    write_indexes(folder, formats_of(dataset))
    if storage.exists(folder.file(REPORT)):
        write_report(folder)
    if found.card is not None:
        write_card(folder, found.card)
    if found.croissant is not None:
        write_croissant(folder, found.croissant.name, found.croissant.url)


def _card_name(dataset: FinishedFolder, readme: str) -> str | None:
    """Return the dataset's name in its card, None if the card is not as `mmc4 card` writes it."""
    text = storage.read_bytes(readme).decode("utf-8", "replace")
    try:
        front = yaml.safe_load(text.removeprefix("---\n").partition("\n---")[0])
    except yaml.YAMLError:
        return None
    name = front.get("pretty_name") if isinstance(front, dict) else None
    return name if isinstance(name, str) and text == card(dataset.folder.manifest(CutPlan), name) else None
