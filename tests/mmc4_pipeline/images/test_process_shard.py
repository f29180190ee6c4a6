"""A shard of sites over real HTTP: each image is fetched once and found by its offset, with the same bytes each run."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from mmc4_pipeline.images.faces import FaceDetector, find_detector
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.process_shard import FetchedShard, decide_shard, wanted_links
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.tar import read_image
from schemas.image import Image
from schemas.page import Page
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.one_shard import fetch_shard
from tests.mmc4_pipeline.images.site import Site, jpeg, page

RECIPE = load_recipe("mmc4")


def fetch(pages: list[Page], path: Path, detector: FaceDetector | None = None, **settings: object) -> FetchedShard:
    fast = FetchSettings(**{"allow_private_hosts": True, "delay_per_host": 0.0, **settings})
    return fetch_shard(pages, RECIPE, fast, str(path), detector=detector)


def test_rows_are_in_document_order_and_have_the_result_of_each_link(
    site: Site, tmp_path: Path, photo: Callable[..., np.ndarray]
) -> None:
    good, small, png = jpeg(photo(1)), jpeg(photo(2, 100, 400)), cv2.imencode(".png", photo(3, 900, 600))[1].tobytes()
    site.files = {
        "/good.jpg": (good, {}),
        "/small.jpg": (small, {}),
        "/large.png": (png, {"X-Robots-Tag": "nofollow"}),
        "/page.jpg": (b"<html>", {}),
        "/no.jpg": (good, {"X-Robots-Tag": "noai"}),
        "/truncated.jpg": (good[:2000], {}),
    }
    first = page("k1", *(site.address + name for name in ("/good.jpg", "/no.jpg", "/page.jpg")))
    second = page(
        "k2", *(site.address + name for name in ("/x.jpg", "/small.jpg", "/large.png", "/truncated.jpg")), dropped=(0,)
    )
    result = fetch([first, second], tmp_path / "images.tar")
    assert [(row.key, row.position, row.reason) for row in result.images] == [
        ("k1", 0, None),
        ("k1", 1, Reason.OPTED_OUT),
        ("k1", 2, Reason.NOT_AN_IMAGE),
        ("k2", 1, None),  # too small, but the recipe's filters decide that later
        ("k2", 2, None),
        ("k2", 3, Reason.CORRUPT),
    ]
    assert "/x.jpg" not in site.requested
    received, _, refused, too_small, large, truncated = result.images
    assert (received.width, received.height, received.format, received.byte_size) == (320, 240, "jpeg", len(good))
    assert (large.width, large.height, large.format, large.robots_tag) == (900, 600, "png", "nofollow")
    assert (too_small.width, too_small.offset) == (100, None)  # measured, but not stored in the tar
    assert (truncated.offset, refused.offset, truncated.byte_size) == (None, None, 2000)
    with (tmp_path / "images.tar").open("rb") as tar:
        assert read_image(tar, received.offset or 0, received.length or 0) == good
        stored = cv2.imdecode(np.frombuffer(read_image(tar, large.offset or 0, large.length or 0), np.uint8), 1)
    assert stored.shape == (533, 800, 3)
    decisions = [(row.reason, row.filter) for row in decide_shard(result.images, RECIPE, {})]
    assert decisions == [
        (None, None),
        (Reason.OPTED_OUT, "consent"),
        (Reason.NOT_AN_IMAGE, None),
        (Reason.TOO_SMALL, "resolution"),
        (None, None),
        (Reason.CORRUPT, None),
    ]


def test_faces_are_detected_in_stored_images(site: Site, tmp_path: Path, photo: Callable[..., np.ndarray]) -> None:
    portrait = np.asarray(cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2BGR))
    large = np.asarray(cv2.resize(portrait, (1600, 1600)))  # stored with 800 pixels: the face is 150 of them wide
    images = {
        "/face.jpg": portrait,
        "/large.jpg": large,
        "/none.jpg": photo(1),
        "/small.jpg": portrait[40:160, 150:300],
    }
    site.files = {name: (jpeg(pixels), {}) for name, pixels in images.items()} | {"/page.jpg": (b"<html>", {})}
    pages = [page("k1", *(site.address + name for name in site.files))]
    result = fetch(pages, tmp_path / "images.tar", find_detector(RECIPE.face_detector))
    face, large_face, none, too_small, no_image = (row.face_detections for row in result.images)
    assert (none, too_small, no_image) == ([], None, None)
    assert face is not None
    assert large_face is not None
    assert np.array(large_face)[:, :4] == pytest.approx(np.array(face)[:, :4] * 800 / 512, abs=12)
    undetected = fetch(pages, tmp_path / "images.tar")
    assert {row.face_detections for row in undetected.images} == {None}  # type: ignore[arg-type]


def test_an_image_on_many_pages_is_requested_and_stored_once(
    site: Site, tmp_path: Path, photo: Callable[..., np.ndarray]
) -> None:
    site.files = {"/a.jpg": (jpeg(photo(1)), {}), "/b.jpg": (jpeg(photo(2)), {})}
    pages = [
        page(f"k{number}", site.address + "/a.jpg", site.address + f"/a.jpg#{number}", site.address + "/b.jpg")
        for number in range(5)
    ]
    result = fetch(pages, tmp_path / "images.tar")
    assert site.requested == {"/a.jpg": 1, "/b.jpg": 1}
    assert len(result.images) == 15
    assert len({row.offset for row in result.images}) == 2
    assert [row.url for row in result.images[:2]] == [site.address + "/a.jpg", site.address + "/a.jpg#0"]


def test_two_runs_write_the_same_bytes(site: Site, tmp_path: Path, photo: Callable[..., np.ndarray]) -> None:
    site.files = {f"/{number}.jpg": (jpeg(photo(number)), {}) for number in range(30)}
    pages = [
        page(f"k{number}", *(f"{site.address}/{number * 3 + item}.jpg" for item in range(3))) for number in range(10)
    ]
    first, second = (fetch(pages, tmp_path / name) for name in ("one.tar", "two.tar"))
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert first.images == second.images
    assert first.tar.sha256 == second.tar.sha256
    offsets = [row.offset for row in first.images]
    assert offsets == sorted(offsets)


def test_if_the_first_route_fails_the_row_has_the_one_that_did_not(
    site: Site, tmp_path: Path, photo: Callable[..., np.ndarray]
) -> None:
    archive = site.address + "/archive/{timestamp}/x.jpg?of={url}"
    site.files = {"/archive/20190425125754/x.jpg": (jpeg(photo(1)), {}), "/bad.jpg": (b"<html>", {})}
    result = fetch(
        [page("k", site.address + "/gone.jpg", site.address + "/bad.jpg")],
        tmp_path / "images.tar",
        routes=("{url}", archive),
    )
    assert [(row.reason, row.route, row.http_status) for row in result.images] == [(None, archive, 200)] * 2
    assert [row.url for row in result.images] == [site.address + "/gone.jpg", site.address + "/bad.jpg"]


def test_a_shard_without_images_is_written(tmp_path: Path) -> None:
    result = fetch([page("k")], tmp_path / "images.tar")
    assert result.images == []
    assert (tmp_path / "images.tar").exists()


def test_wanted_links_are_those_without_a_reason() -> None:
    assert [link.position for link in wanted_links(page("k", "a", "b", "c", dropped=(1,)))] == [0, 2]


def test_decisions_are_per_document_and_use_what_was_learned() -> None:
    def row(key: str, position: int, phash: int) -> Image:
        return Image(key, position, f"https://a.example/{phash}", width=300, height=300, phash=phash)

    images = [row("k1", 0, 0), row("k1", 1, 1), row("k2", 0, 0), row("k2", 1, (1 << 64) - 1)]
    decided = decide_shard(images, RECIPE, {"corpus_duplicates": [(1 << 64) - 1]})
    assert [image.reason for image in decided] == [None, Reason.DOCUMENT_DUPLICATE, None, Reason.CORPUS_DUPLICATE]
