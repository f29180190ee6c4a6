from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.dataset.statistics import statistics_of_documents
from schemas.image import Image
from schemas.page import ImageLink
from schemas.placement import Placement
from schemas.reasons import Drop, Reason, Stage
from schemas.statistics import Statistics

MakeDocument = Callable[..., CutDocument]
SITES = ["a.example", "b.example", "c.example"]
PROBABILITY = st.none() | st.floats(0, 1, width=32)
PLANS = st.lists(
    st.fixed_dictionaries(
        {
            "similarities": st.lists(st.floats(-1, 1, width=32), max_size=6),
            "size": st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
            "reason": st.sampled_from([None, Reason.DOCUMENT]),
            "heads": st.tuples(PROBABILITY, PROBABILITY),
            "url": st.sampled_from([f"https://{site}/1" for site in SITES]),
        }
    ),
    max_size=12,
)


def test_statistics_count_what_was_planted(make_document: MakeDocument) -> None:
    kept = make_document("a" * 32, [0.31, 0.15], size=(640, 410), heads=(0.1, 1.0), url="https://a.example/1")
    dropped = make_document("b" * 32, [-1.0, 1.0], reason=Reason.DOCUMENT, heads=(0.0, None), url="https://b.example/1")
    assert statistics_of_documents([kept, dropped], 0).to_json() == {
        "matched_similarity": {"7": 1, "15": 1},
        "best_similarity": {"-25": 1, "7": 1, "15": 1, "49": 1},
        "images": {"2": 1},
        "sentences": {"4": 1},
        "share_illustrated": {"10": 1},
        "short_side": {"8": 2},
        "decoded_short_side": {"6": 2, "8": 2},
        "stored_bytes": {"2": 2},
        "nsfw": {"0": 2, "5": 2},
        "face": {"49": 2},
        "ad": {},
        "place_distance": {},
        "placement": {"images": 0, "page": 0, "best": 0, "matched": 0},
        "sites": {
            "count": 2,
            "top": {
                "a.example": {"links": 2, "wanted": 2, "kept": 2, "documents": 1, "dropped": {}},
                "b.example": {"links": 2, "wanted": 2, "kept": 0, "documents": 0, "dropped": {"document": 2}},
            },
        },
        "duplicates": [],
        "published": {"changes": {}, "same": 0, "other": 0},
    }


def test_kept_documents_without_images_and_pages_that_were_taken_down(make_document: MakeDocument) -> None:
    imageless = make_document("a" * 32, [], sentences=["One.", "Two."], url="https://a.example/1")
    document = make_document("b" * 32, [0.3], url="https://a.example/2")
    taken_down = make_document("c" * 32, [0.3], url="sha256:00", reason=Reason.DENIED)
    found = statistics_of_documents([imageless, document, taken_down], 0)
    assert (found.images, found.sentences, found.share_illustrated) == ({0: 1, 1: 1}, {2: 1, 3: 1}, {0: 1, 6: 1})
    assert (found.sites.count, list(found.sites.top)) == (1, ["a.example"])
    assert (found.sites.top["a.example"].documents, found.sites.top["a.example"].links) == (2, 1)


def test_images_that_share_a_sentence_illustrate_it_once(make_document: MakeDocument) -> None:
    document = make_document("a" * 32, [0.3, 0.2], sentences=["One.", "Two."])
    for place, expected in ((0, {10: 1}), (1, {19: 1})):
        object.__setattr__(document.placed[1], "sentence", place)
        assert statistics_of_documents([document], 0).share_illustrated == expected


def test_images_with_a_place_are_counted_by_their_distance_from_the_most_similar_sentence(
    make_document: MakeDocument,
) -> None:
    made = make_document(
        "a" * 32, [0.3, 0.2, 0.1], sentences=["One.", "Two.", "Three.", "Four."]
    )  # most similar: 0, 1, 2
    for places, distances, page in (
        ([3, None, 1], {3: 1, 0: 1}, -500_000 + 100_000),  # after the last sentence; before the third
        ([-1, 0, -1], {0: 2, 2: 1}, 300_000 + 200_000 - 500_000),
        ([None, None, None], {}, 0),
    ):
        links = [
            msgspec.structs.replace(link, after_sentence=after)
            for link, after in zip(made.page.links, places, strict=True)
        ]
        found = statistics_of_documents([replace(made, page=replace(made.page, links=links))], 0)
        placed = [
            similarity
            for similarity, after in zip((300_000, 200_000, 100_000), places, strict=True)
            if after is not None
        ]
        assert found.place_distance == distances
        assert found.placement == Placement(len(placed), page, sum(placed), sum(placed))


def test_duplicates_are_grouped_by_hash_and_reason_with_the_first_as_an_example(make_document: MakeDocument) -> None:
    def dropped(key: str, duplicates: Sequence[tuple[int, Reason]]) -> CutDocument:
        made: CutDocument = make_document(key, [])
        links, images, reasons = [], {}, {}
        for at, (phash, reason) in enumerate(duplicates):
            url = f"https://{key[0]}.example/{at}.jpg" + "x" * 1000
            links.append(ImageLink(at, url, "", None, None))
            place = {"offset": 512 * (at + 1), "length": 9}
            images[at] = Image(key, at, url, width=200, height=200, phash=phash, reason=reason, **place)
            reasons[at] = (Stage.IMAGES, Drop(reason))
        page = replace(made.page, links=links)
        return CutDocument(page, [], reasons, images, {}, Reason.DOCUMENT)

    big, inside, everywhere = 2**64 - 1, Reason.DOCUMENT_DUPLICATE, Reason.CORPUS_DUPLICATE
    shard = statistics_of_documents([dropped("a" * 32, [(1, inside), (big, everywhere), (big, everywhere)])], 3)
    other = statistics_of_documents([dropped("b" * 32, [(big, everywhere), (1, everywhere), (2, Reason.TOO_SMALL)])], 1)
    for total in (added([shard, other]), added([other, shard])):
        found = [(item["count"], item["reason"], item["phash"]) for item in total.to_json()["duplicates"]]
        assert found == [
            (3, "corpus_duplicate", "f" * 16),
            (1, "corpus_duplicate", f"{1:016x}"),
            (1, "document_duplicate", f"{1:016x}"),
        ]
        example = total.duplicates.largest()[0]
        assert (example.shard, example.offset, example.length) == (1, 512, 9)
        assert example.url.startswith("https://b.example/0.jpg")
        assert len(example.url) == 300


def added(parts: Sequence[Statistics]) -> Statistics:
    """Add statistics up as a report does: each read back from a shard's note."""

    def add(total: Statistics, part: Statistics) -> Statistics:
        total += Statistics.from_json(part.to_json())
        return total

    return reduce(add, parts, Statistics())


@settings(max_examples=50)
@given(plans=PLANS)
def test_statistics_of_shards_add_up_to_those_of_the_whole_in_any_grouping(
    make_document: MakeDocument, plans: list[dict[str, Any]]
) -> None:
    documents = [make_document(f"{number:032x}", **plan) for number, plan in enumerate(plans)]
    parts = [
        statistics_of_documents([document for document in documents if document.page.site == site], number)
        for number, site in enumerate(SITES)  # as shards hold whole sites
    ]
    whole = statistics_of_documents(documents, 0)
    left, right = added([added(parts[:2]), parts[2]]), added([parts[0], added(parts[1:])])
    assert whole == left == right == added([parts[2], parts[0], parts[1]])
    assert Statistics.from_json(whole.to_json()) == whole
    kept = [document for document in documents if document.reason is None]
    assert whole.images.total() == whole.share_illustrated.total() == len(kept)
    assert whole.scores["matched_similarity"].total() == sum(len(document.placed) for document in kept)
    scored = [score for document in documents for score in document.scores.values()]
    assert whole.scores["best_similarity"].total() == whole.decoded_short_side.total() == len(scored)
    assert whole.scores["nsfw"].total() == sum(score.number("nsfw") is not None for score in scored)
    for _, site in [*whole.sites.by_kept(), *whole.sites.by_dropped()]:
        assert site.links == site.kept + site.dropped.total()


def test_statistics_of_an_earlier_version_can_still_be_read() -> None:
    earlier = {"images": {"2": 7}, "best_similarity": {"-3": 1, "12": 5}}
    read = Statistics.from_json(earlier)
    assert (read.images, read.scores) == ({2: 7}, {"best_similarity": {-3: 1, 12: 5}})
    assert (read.short_side.total(), read.sites.count, read.duplicates.largest()) == (0, 0, [])
