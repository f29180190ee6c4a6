"""Images from shards that img2dataset wrote: found by URL, measured as if fetched, with a row for every link."""

import hashlib
import re
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.from_img2dataset.join import join, wanted_by_bucket
from mmc4_pipeline.images.from_img2dataset.prefetched import PrefetchedImages
from mmc4_pipeline.images.from_img2dataset.shards import read_shard, shard_files
from mmc4_pipeline.images.process_shard import FetchedShard, decide_shard
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.tar import read_image
from schemas.page import ImageLink, Page
from schemas.reasons import Reason
from tests.mmc4_pipeline.file_server import INPUTS
from tests.mmc4_pipeline.images.from_img2dataset.written_shards import Row, write_shard
from tests.mmc4_pipeline.images.one_shard import fetch_shard
from tests.pages import MOMENT, new_page

RECIPE = load_recipe("mmc4")
SITE = "https://a.example/"


def jpeg(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def page(key: str, *links: str) -> Page:
    made = [ImageLink(position, SITE + link, "", None, None, reason=None) for position, link in enumerate(links)]
    return new_page(key, links=made)


@dataclass(frozen=True)
class Joined:
    """All shards of a folder as a source of images: each fetch is a join of its own, in several buckets."""

    shards: PrefetchedImages
    buckets: int = 3

    def fetch(self, requests: Sequence[ImageRequest]) -> Iterator[FetchResult]:
        wanted, images = defaultdict(list), defaultdict(list)
        for bucket, block in wanted_by_bucket(7, [request.url for request in requests], self.buckets):
            wanted[bucket].append(block)
        for number in reversed(range(len(self.shards.tars))):  # an engine may deliver them in any order
            for bucket, block in self.shards.by_bucket(number, self.buckets):
                images[bucket].append(block)
        found = [item for bucket in range(self.buckets) for item in join(wanted[bucket], images[bucket])]
        assert {shard for shard, _ in found} <= {7}
        return self.shards.found(block for _, block in found).fetch(requests)


def prefetched(folder: Path, max_bytes: int = 1 << 20) -> Joined:
    """Return all shards of a folder as a source."""
    tars = tuple(shard_files(INPUTS, [str(folder)]))
    return Joined(PrefetchedImages(INPUTS, tars, str(folder / "index"), max_bytes))


def take(source: Joined, pages: list[Page], tar: Path) -> FetchedShard:
    # No request may be made to this address: an image that is not in the shards must not be fetched.
    return fetch_shard(pages, RECIPE, FetchSettings(routes=("https://[::1]/{url}",)), str(tar), source=source)


def test_every_link_has_the_row_of_its_url(tmp_path: Path, photo: Callable[..., np.ndarray]) -> None:
    good, other = jpeg(photo(1)), jpeg(photo(2))
    first = write_shard(
        tmp_path / "shards",
        0,
        [
            Row(SITE + "good.jpg", good, original_width=320, original_height=240, sha256="ab" * 32),
            Row(SITE + "gone.jpg", None, "failed_to_download", "HTTP Error 404: Not Found"),
            Row("https://b.example/unwanted.jpg", jpeg(photo(9))),
        ],
    )
    write_shard(tmp_path / "shards", 1, [Row(SITE + "other.jpg", other), Row(SITE + "page.jpg", b"<html>")])
    pages = [page("k1", "good.jpg", "gone.jpg", "missing.jpg"), page("k2", "other.jpg#part", "page.jpg", "good.jpg")]
    result = take(prefetched(tmp_path / "shards"), pages, tmp_path / "images.tar")
    assert [(row.key, row.position, row.reason, row.http_status) for row in result.images] == [
        ("k1", 0, None, None),
        ("k1", 1, Reason.HTTP_ERROR, 404),
        ("k1", 2, Reason.NOT_FETCHED, None),
        ("k2", 0, None, None),
        ("k2", 1, Reason.NOT_AN_IMAGE, None),
        ("k2", 2, None, None),
    ]
    received, _, missing, second, _, again = result.images
    assert (received.route, missing.error) == (str(first), "in none of the image shards")
    assert (received.sha256, second.sha256) == ("ab" * 32, hashlib.sha256(other).hexdigest())
    assert (received.offset, second.url) == (again.offset, SITE + "other.jpg#part")
    with (tmp_path / "images.tar").open("rb") as tar:
        for row, body in ((received, good), (second, other)):
            assert read_image(tar, row.offset or 0, row.length or 0) == body


def test_the_size_is_that_of_the_image_on_the_web_not_of_the_resized_one(
    tmp_path: Path, photo: Callable[..., np.ndarray]
) -> None:
    square = jpeg(photo(1, 256, 256))  # all images have this size with resize_mode=border
    rows = [
        Row(SITE + "banner.jpg", square, original_width=728, original_height=90),
        Row(SITE + "long.jpg", square, original_width=900, original_height=300),
        Row(SITE + "good.jpg", square, original_width=1200, original_height=900),
        Row(SITE + "turned.jpg", jpeg(photo(2, 320, 240)), original_width=240, original_height=320),
    ]
    write_shard(tmp_path / "shards", 0, rows)
    links = ("banner.jpg", "long.jpg", "good.jpg", "turned.jpg")
    result = take(prefetched(tmp_path / "shards"), [page("k", *links)], tmp_path / "images.tar")
    assert [(row.width, row.height) for row in result.images] == [(728, 90), (900, 300), (1200, 900), (320, 240)]
    decisions = [row.reason for row in decide_shard(result.images, RECIPE, {})]
    assert decisions == [Reason.TOO_SMALL, Reason.ASPECT_RATIO, None, None]


def test_if_several_shards_have_a_url_the_first_image_counts(tmp_path: Path, photo: Callable[..., np.ndarray]) -> None:
    failed = ("failed_to_download", "HTTP Error 503: Service Unavailable")
    write_shard(tmp_path / "shards", 0, [Row(SITE + "a.jpg", None, *failed), Row(SITE + "b.jpg", None, *failed)])
    one = write_shard(tmp_path / "shards", 1, [Row(SITE + "a.jpg", jpeg(photo(1)))])
    write_shard(tmp_path / "shards", 2, [Row(SITE + "a.jpg", jpeg(photo(2))), Row(SITE + "b.jpg", None, "", "other")])
    source = prefetched(tmp_path / "shards")
    results = source.fetch([ImageRequest(SITE + "a.jpg", MOMENT), ImageRequest(SITE + "b.jpg", MOMENT)])
    a, b = sorted(results, key=lambda result: result.url)
    assert (a.route, a.body) == (str(one), jpeg(photo(1)))
    assert (b.route, b.status) == (source.shards.tars[0], 503)


def test_pages_without_links_and_shards_without_rows(tmp_path: Path) -> None:
    write_shard(tmp_path / "shards", 0, [])
    write_shard(tmp_path / "shards", 1, [Row(SITE + "a.jpg", None, "failed_to_download", "HTTP Error 410: Gone")])
    source = prefetched(tmp_path / "shards")
    assert take(source, [page("k")], tmp_path / "none.tar").images == []
    (row,) = take(source, [page("k", "a.jpg")], tmp_path / "one.tar").images
    assert (row.reason, row.http_status) == (Reason.HTTP_ERROR, 410)


def test_an_image_larger_than_allowed_is_not_read(tmp_path: Path, photo: Callable[..., np.ndarray]) -> None:
    small, large = jpeg(photo(1)), jpeg(photo(2, 1000, 1000))
    write_shard(tmp_path / "shards", 0, [Row(SITE + "large.jpg", large), Row(SITE + "small.jpg", small)])
    source = prefetched(tmp_path / "shards", max_bytes=len(small))
    results = {
        result.url: result
        for result in source.fetch([ImageRequest(SITE + f"{n}.jpg", MOMENT) for n in ("large", "small")])
    }
    assert (results[SITE + "large.jpg"].reason, results[SITE + "large.jpg"].body) == (Reason.TOO_LARGE, b"")
    assert results[SITE + "small.jpg"].body == small


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        ("failed_to_download", "Use of image disallowed by X-Robots-Tag directive", Reason.OPTED_OUT),
        ("failed_to_download", "HTTP Error 403: Forbidden", Reason.HTTP_ERROR),
        ("failed_to_download", "<urlopen error timed out>", Reason.TIMEOUT),
        ("failed_to_download", "The read operation timed out", Reason.TIMEOUT),
        ("failed_to_download", "<urlopen error [Errno -2] Name or service not known>", Reason.HOST_UNAVAILABLE),
        ("failed_to_download", "Remote end closed connection without response", Reason.HOST_UNAVAILABLE),
        ("failed_to_download", "IncompleteRead(512 bytes read, 1024 more expected)", Reason.CORRUPT),
        ("failed_to_download", "<urlopen error unknown url type: data>", Reason.HTTP_ERROR),
        ("failed_to_download", "hash mismatch", Reason.CORRUPT),
        ("failed_to_resize", "Image decoding error", Reason.CORRUPT),
        ("failed_to_resize", "image too small", Reason.TOO_SMALL),
        ("failed_to_resize", "image area too large", Reason.TOO_LARGE),
        ("failed_to_resize", "aspect ratio too large", Reason.ASPECT_RATIO),
    ],
)
def test_img2datasets_message_becomes_a_reason(tmp_path: Path, status: str, error: str, reason: Reason) -> None:
    (image,) = read_shard(INPUTS, str(write_shard(tmp_path, 0, [Row(SITE, None, status, error)])))
    assert (image.reason, image.error, image.offset) == (reason, error, None)


def test_patterns_match_tars(tmp_path: Path) -> None:
    tars = [str(write_shard(tmp_path / "x [1]", number, [Row(SITE)])) for number in (0, 1, 2)]
    folder = str(tmp_path / "x [1]")
    assert shard_files(INPUTS, [folder]) == tars
    assert shard_files(INPUTS, [tars[2], folder]) == tars
    write_shard(tmp_path / "y", 7, [Row(SITE)])
    write_shard(tmp_path / "y", 8, [Row(SITE)])
    assert [path[-5:] for path in shard_files(INPUTS, [f"{tmp_path}/y/{{00007..00008}}.tar"])] == ["7.tar", "8.tar"]
    assert [path[-5:] for path in shard_files(INPUTS, [f"{tmp_path}/y/*7.tar"])] == ["7.tar"]
    for nothing in (f"{tmp_path}/z", f"{tmp_path}/y/9*.tar"):
        with pytest.raises(UserError, match=re.escape(f"--images_from {nothing}")):
            shard_files(INPUTS, [nothing])


def test_an_incomplete_shard_is_refused_by_its_name(tmp_path: Path, photo: Callable[..., np.ndarray]) -> None:
    tar = write_shard(tmp_path, 3, [Row(SITE, jpeg(photo(1)))])
    whole, table = tar.read_bytes(), tar.with_suffix(".parquet").read_bytes()
    tar.with_suffix(".parquet").write_bytes(table[:-10])  # as after img2dataset was killed
    with pytest.raises(UserError, match=r"00003\.parquet: "):
        read_shard(INPUTS, str(tar))
    tar.with_suffix(".parquet").write_bytes(table)
    tar.write_bytes(whole[:300])
    with pytest.raises(UserError, match=r"00003\.tar: "):
        read_shard(INPUTS, str(tar))
    tar.write_bytes(b"")
    with pytest.raises(UserError, match=r"00003\.tar: "):
        read_shard(INPUTS, str(tar))
    tar.write_bytes(whole[:2000])  # the image itself is truncated
    with pytest.raises(UserError, match=r"00003\.tar: "):
        read_shard(INPUTS, str(tar))


@pytest.mark.parametrize("stream", [True, False])
def test_a_tar_that_ends_anywhere_too_early_is_refused(
    tmp_path: Path, photo: Callable[..., np.ndarray], *, stream: bool
) -> None:
    """Between two files and within a header too, where tarfile itself takes the end of the file for that of the tar."""
    path = write_shard(tmp_path, 3, [Row(SITE, jpeg(photo(1))), Row(f"{SITE}2", jpeg(photo(2)))])
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        starts = [member.offset for member in tar]
        end = tar.offset
    store = f"memory://{tmp_path}/00003"
    for suffix in ("tar", "parquet"):
        storage.write_bytes(f"{store}.{suffix}", (tmp_path / f"00003.{suffix}").read_bytes())
    name = f"{store}.tar" if stream else str(path)
    assert len(read_shard(INPUTS, name)) == 2
    for length in [*starts, *(start + 100 for start in starts), end, end + 100]:
        storage.write_bytes(name, whole[:length])
        with pytest.raises(UserError, match=r"00003\.tar: "):
            read_shard(INPUTS, name)
