"""Images whose content is denied, over real HTTP: nothing of them is stored, and their URL is only a hash."""

import hashlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from filters.base import ContentFilter
from filters.denied_content import DeniedContent
from mmc4_pipeline.dataset.cut import cut_shard, ledger_rows
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.decoding.decode import Decoded, decode
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.process_shard import FetchedShard, decide_shard
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.storage import HttpSettings, Inputs
from schemas.page import Page
from schemas.reasons import Reason, Stage
from tests.mmc4_pipeline.images.one_shard import fetch_shard
from tests.mmc4_pipeline.images.site import Site, jpeg, page

RECIPE = load_recipe("mmc4")


def fetch(pages: list[Page], folder: Path, entries: list[str]) -> FetchedShard:
    (folder / "list.txt").write_text("\n".join(entries))
    filters = {"denied_content": DeniedContent(str(folder / "list.txt"))}
    loaded = LoadedFilters.read(filters, Inputs(HttpSettings())).of_kind(ContentFilter)
    settings = FetchSettings(allow_private_hosts=True, delay_per_host=0.0)
    return fetch_shard(pages, RECIPE, settings, str(folder / "images.tar"), content_filters=loaded)


def test_nothing_of_a_denied_image_is_recorded(site: Site, tmp_path: Path, photo: Callable[..., np.ndarray]) -> None:
    bodies = {
        name: jpeg(photo(number)) for number, name in enumerate(("/kept.jpg", "/md5.jpg", "/sha.jpg", "/near.jpg"))
    }
    bodies["/broken.jpg"] = bodies["/kept.jpg"][:3000]
    decoded = decode(bodies["/near.jpg"], RECIPE.images)
    assert isinstance(decoded, Decoded)
    entries = [
        hashlib.md5(bodies["/md5.jpg"]).hexdigest(),
        hashlib.sha256(bodies["/sha.jpg"]).hexdigest(),
        f"phash:{decoded.phash ^ 0b101:016x}",
        hashlib.sha1(bodies["/broken.jpg"]).hexdigest(),
    ]
    site.files = {name: (body, {}) for name, body in bodies.items()}
    pages = [page("k1", *(site.address + name for name in bodies))]
    fetched = fetch(pages, tmp_path, entries)
    rows = decide_shard(fetched.images, RECIPE, {})
    assert [(row.reason, row.filter) for row in rows] == [(None, None)] + 4 * [(Reason.DENIED, "denied_content")]
    assert rows[0].url == site.address + "/kept.jpg"
    for row, name in zip(rows[1:], list(bodies)[1:], strict=True):
        assert row.url == "sha256:" + hashlib.sha256((site.address + name).encode()).hexdigest()
        assert (row.sha256, row.phash, row.width, row.byte_size, row.route, row.offset) == (None,) * 6
    tar = (tmp_path / "images.tar").read_bytes()
    assert bodies["/kept.jpg"] in tar
    assert not any(bodies[name][-1000:] in tar for name in ("/md5.jpg", "/sha.jpg", "/near.jpg"))
    without_kept = [page("k1", *(site.address + name for name in bodies), dropped=(0,))]
    for document in cut_shard(without_kept, rows[1:], [], load_recipe("mmc4", ("filters.document=null",))):
        ledger = {row.position: row for row in ledger_rows(document, None)}
        for row in rows[1:]:
            shown = ledger[row.position]
            assert (shown.image_url, shown.stage, shown.reason) == (row.url, Stage.IMAGES, Reason.DENIED)


@pytest.mark.skipif(find_spec("pdqhash") is not None, reason="pdqhash is installed")
def test_pdq_hashes_need_their_package(site: Site, tmp_path: Path, photo: Callable[..., np.ndarray]) -> None:
    site.files = {"/a.jpg": (jpeg(photo(1)), {})}
    with pytest.raises(UserError, match=r"mmc4-pipeline\[pdq\]"):
        fetch([page("k1", site.address + "/a.jpg")], tmp_path, ["pdq:" + "f0" * 32])


@pytest.mark.skipif(find_spec("pdqhash") is None, reason="needs the extra pdq, which is compiled when it is installed")
def test_pictures_are_found_by_their_pdq_hash(site: Site, tmp_path: Path, photo: Callable[..., np.ndarray]) -> None:
    import pdqhash

    bits, _ = pdqhash.compute(np.asarray(photo(1, 640, 480)[:, :, ::-1]))
    listed = int.from_bytes(np.packbits(bits).tobytes(), "big") ^ 0b111
    site.files = {"/same.jpg": (jpeg(photo(1, 640, 480)), {}), "/other.jpg": (jpeg(photo(2, 640, 480)), {})}
    pages = [page("k1", *(site.address + name for name in site.files))]
    fetched = fetch(pages, tmp_path, [f"pdq:{listed:064x}"])
    assert [row.reason for row in fetched.images] == [Reason.DENIED, None]
