"""The join of wanted URLs with fetched images: whatever the buckets and the order, the same as looking up each URL."""

from collections import defaultdict
from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mmc4_pipeline.images.from_img2dataset.join import images_by_bucket, join, key_of, unpack_found, wanted_by_bucket
from schemas.prefetched_image import PrefetchedImage
from schemas.reasons import Reason

URLS = [f"https://{name}.example/photo.jpg" for name in "abcdefgh"] + ["", "https://ü.example/\ud800"]


def record(url: str, offset: int | None) -> PrefetchedImage:
    if offset is None:
        return PrefetchedImage(url, http_status=404, error="gone", reason=Reason.HTTP_ERROR)
    return PrefetchedImage(url, offset, 10 + offset, 320, 240, "ab" * 32)


image_shards = st.lists(
    st.lists(st.builds(record, st.sampled_from(URLS), st.none() | st.integers(0, 2**40)), max_size=8), max_size=5
)
page_shards = st.lists(st.lists(st.sampled_from(URLS), max_size=6), max_size=5)


def looked_up(url: str, shards: Sequence[Sequence[PrefetchedImage]]) -> tuple[int, PrefetchedImage] | None:
    """Return the first image of a URL, or else its first record, without a join."""
    records = [(number, image) for number, shard in enumerate(shards) for image in shard if image.url == url]
    images = [one for one in records if one[1].reason is None]
    return next(iter(images + records), None)


@given(image_shards, page_shards, st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_join_finds_what_looking_up_each_url_finds(
    images: list[list[PrefetchedImage]], pages: list[list[str]], buckets: int, random: Random
) -> None:
    sides: dict[int, tuple[list[bytes], list[bytes]]] = defaultdict(lambda: ([], []))
    for shard, urls in enumerate(pages):
        for bucket, block in wanted_by_bucket(shard, urls, buckets):
            sides[bucket][0].append(block)
    for number, records in enumerate(images):
        for bucket, block in images_by_bucket(number, records, buckets):
            sides[bucket][1].append(block)
    blocks: dict[int, list[bytes]] = defaultdict(list)
    for wanted, fetched in sides.values():
        random.shuffle(wanted)
        random.shuffle(fetched)
        for shard, block in join(wanted, fetched):
            blocks[shard].append(block)
    for shard, urls in enumerate(pages):
        found = unpack_found(blocks[shard])
        expected = {key_of(url): one for url in urls if (one := looked_up(url, images))}
        assert found.keys() == expected.keys()
        for key, (number, image) in expected.items():
            assert found[key] == (number, replace(image, url=""))  # the page shard has the URL
