"""Lists that filters read: their hashes in the plan, and loading them in another process."""

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from filters.ads import Ads
from filters.bad_words import BadWords
from filters.base import DocumentText, LinkFilter, TextFilter
from filters.deny_list import DenyList
from filters.url import Url
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.loaded_filters import LoadedFilters
from schemas.page import ImageLink
from schemas.reasons import Reason
from tests.mmc4_pipeline.file_server import INPUTS

IMAGE = ImageLink(0, "https://ads.example/a.jpg", "", None, None)
IN_ANOTHER_PROCESS = """
import pickle, sys
from filters.base import LinkFilter
filters, image = pickle.load(sys.stdin.buffer)
print(filters.of_kind(LinkFilter)["ads"].decide(image, "https://page.example/"))
"""


@pytest.fixture
def listed(tmp_path: Path) -> LoadedFilters:
    paths = {name: tmp_path / f"{name}.txt" for name in ("words", "deny", "ads")}
    for name, line in (("words", "darn"), ("deny", "denied.example"), ("ads", "||ads.example^")):
        paths[name].write_text(f"{line}\n")
    words, deny, ads = map(str, paths.values())
    return LoadedFilters.read(
        {"bad_words": BadWords(words), "deny_list": DenyList(deny), "url": Url(("jpg",)), "ads": Ads(ads)},
        INPUTS,
    )


def test_the_plan_has_each_file_s_sha256(listed: LoadedFilters) -> None:
    lists = listed.sha256_by_path
    assert len(lists) == 3
    assert all(hashlib.sha256(Path(path).read_bytes()).hexdigest() == sha256 for path, sha256 in lists.items())
    assert LoadedFilters.read({"url": Url(("jpg",)), "ads": Ads()}, INPUTS).sha256_by_path is None


def test_filters_are_loaded_by_kind_in_the_recipe_s_order(listed: LoadedFilters) -> None:
    assert list(listed.of_kind(LinkFilter)) == ["deny_list", "url", "ads"]
    assert listed.of_kind(LinkFilter)["ads"].decide(IMAGE, "https://page.example/") == Reason.AD
    assert listed.of_kind(LinkFilter)["deny_list"].decide(IMAGE, "https://denied.example/") == Reason.DENIED
    assert listed.of_kind(TextFilter)["bad_words"].decide(DocumentText("Darn it", [])) == Reason.BAD_WORDS


def in_another_process(listed: LoadedFilters) -> subprocess.CompletedProcess[bytes]:
    sent = pickle.dumps((listed, IMAGE))
    return subprocess.run([sys.executable, "-c", IN_ANOTHER_PROCESS], input=sent, capture_output=True, check=False)


def test_another_process_reads_the_lists_itself(listed: LoadedFilters) -> None:
    assert in_another_process(listed).stdout.split() == [b"ad"]


def test_another_process_refuses_a_list_that_has_changed(listed: LoadedFilters) -> None:
    path = next(path for path in listed.sha256_by_path if path.endswith("deny.txt"))
    Path(path).write_text("nobody.example\n")
    assert b"UserError: " + path.encode() + b": " in in_another_process(listed).stderr


def test_a_list_that_can_t_be_read_or_used_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "deny.txt").write_text("example.com\nno entry\n")
    with pytest.raises(UserError, match=r"^filters\.deny_list: .*deny\.txt:2: 'no entry' .*sha256:"):
        LoadedFilters.read({"deny_list": DenyList(str(tmp_path / "deny.txt"))}, INPUTS)
    with pytest.raises(UserError, match=r"missing\.txt"):
        LoadedFilters.read({"ads": Ads(str(tmp_path / "missing.txt"))}, INPUTS)
