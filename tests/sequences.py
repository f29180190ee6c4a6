"""Documents of a dataset as sequences of texts and images, so that formats can be compared element by element."""

from pathlib import Path
from typing import Any

from mmc4_pipeline.formats.base import Format
from mmc4_pipeline.formats.registry import known_formats
from mmc4_pipeline.sequence import in_order, joined, place_of

Element = str | tuple[str, bytes | None]  # a text, or an image's URL with its bytes, None if only links are stored


def sequences(dataset: Path, name: str) -> dict[str, list[tuple[str, list[Element]]]]:
    """Return the URL and the sequence of each document in a format's shards, by the shard's name."""
    item = known_formats()[name]()
    found = {}
    for path in sorted((dataset / item.folder).glob(f"shard-*.{item.extension}")):
        with path.open("rb") as stream:
            found[path.name.partition(".")[0]] = [
                (item.view(stored).url, sequence(item, stored)) for stored in item.read_shard(stream, str(path))
            ]
    return found


def sequence(item: Format, stored: dict[str, Any]) -> list[Element]:
    """Return the sequence of a document, in which sentences without an image between them are one text."""
    view = item.view(stored)
    images = [(url, item.jpeg(stored, number)) for number, url in enumerate(view.image_urls)]
    if "texts" in stored:
        remaining = iter(images)
        return [text if text is not None else next(remaining) for text in stored["texts"]]
    document = stored.get("json", stored)
    parts = joined(in_order(document["text_list"], list(map(place_of, document["image_info"]))))
    return [part if isinstance(part, str) else images[part] for part in parts]


def links_of(found: list[tuple[str, list[Element]]]) -> list[tuple[str, list[Element]]]:
    """Return the same documents without the images' bytes."""
    return [(url, [part if isinstance(part, str) else (part[0], None) for part in parts]) for url, parts in found]


def assert_all_formats_hold_the_same(dataset: Path) -> None:
    """Assert that each format has the documents, texts, images and order of the OpenFlamingo shards."""
    expected = sequences(dataset, "openflamingo")
    assert sum(map(len, expected.values())) > 10
    for name in known_formats():
        found = sequences(dataset, name)
        assert found.keys() == expected.keys(), name
        for shard, documents in found.items():
            same = expected[shard] if known_formats()[name].needs_images else links_of(expected[shard])
            assert documents == same, (name, shard)
