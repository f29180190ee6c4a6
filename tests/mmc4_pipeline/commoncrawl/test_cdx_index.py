"""Look-ups in a CDXJ index: the same captures as reading all of it, with few requests."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmc4_pipeline.commoncrawl.cdx_index import PAGE, Block, CdxIndex, LookUpCost, key_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import HttpSettings, Inputs
from schemas.capture import Capture
from tests.cdx import CRAWL, WARC, line, write_index
from tests.mmc4_pipeline.file_server import INPUTS, FileServer


def indexed(root: Path, lines: list[bytes], **sizes: int) -> CdxIndex:
    """Write an index of these lines and open it."""
    write_index(root, lines, **sizes)
    return CdxIndex(Inputs(HttpSettings()), str(root), CRAWL)


def look_up(index: CdxIndex, urls: set[str]) -> list[Capture]:
    blocks: dict[Block, set[str]] = {}
    for url in urls:
        for block in index.blocks(key_of(url) or b""):
            blocks.setdefault(block, set()).add(url)
    return [capture for block in sorted(blocks) for capture in index.captures(block, blocks[block])]


URLS = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from(["", "1", "2", "a b", "!", "%20", "~"]), st.integers(0, 3)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(URLS, st.integers(1, 5), st.booleans(), st.sampled_from([16, 100, 1 << 16]))
def test_look_ups_find_what_reading_everything_finds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]], of_block: int, whole: bool, page: int
) -> None:
    urls = [(f"http://{host}.example/{path}", f"2019042012000{second}") for host, path, second in rows]
    index = indexed(tmp_path_factory.mktemp("index"), [line(*row) for row in urls], of_block=of_block)
    index.whole, index.page_bytes = whole, page
    for url in {url for url, _ in urls} | {"http://c.example/none", "http://0.example/", "http://zz.example/"}:
        found = sorted(capture.fetch_time.second for capture in look_up(index, {url}))
        assert found == sorted(int(second[-1]) for other, second in urls if other == url)


def test_a_capture_has_the_values_of_its_line(tmp_path: Path) -> None:
    url = "https://www.example.com/a?b=2&a=1"
    (found,) = look_up(indexed(tmp_path, [line(url, "20190420130102", offset="99", length="12")]), {url})
    assert (found.url, found.warc_filename, found.offset, found.length) == (url, WARC, 99, 12)
    assert found.fetch_time.isoformat() == "2019-04-20T13:01:02+00:00"


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "404"},
        {"filename": WARC.replace("/warc/", "/crawldiagnostics/")},
        {"filename": WARC.replace("/warc/", "/robotstxt/")},
        {"offset": "x"},
        {"length": ""},
        {"timestamp": "20191320120000"},
        {"timestamp": "2019"},
    ],
)
def test_other_lines_are_no_captures(tmp_path: Path, changed: dict[str, str]) -> None:
    good, url = line("http://a.example/good"), "http://a.example/a"
    bad = line(url, **changed)
    index = indexed(tmp_path, [good, bad, b"com,example)/a no json\n", b"zz)/ \xff {}\n"])
    assert look_up(index, {url}) == []
    assert len(look_up(index, {"http://a.example/good"})) == 1


def test_urls_with_the_same_key_are_told_apart(tmp_path: Path) -> None:
    urls = ["http://a.example/a", "http://a.example/A", "https://www.a.example/a/"]
    assert len({key_of(url) for url in urls}) == 1
    index = indexed(tmp_path, [line(url) for url in urls])
    for url in urls:
        assert [capture.url for capture in look_up(index, {url})] == [url]


@pytest.mark.parametrize("whole", [False, True])
def test_few_requests_find_a_capture_among_many(
    tmp_path: Path, serve: Callable[[dict[str, bytes]], FileServer], *, whole: bool
) -> None:
    random = np.random.default_rng(1)
    urls = [f"http://{random.integers(0, 2**60):x}.example/page" for _ in range(30_000)]
    index = indexed(tmp_path, [line(url) for url in urls], of_block=10, blocks_of_file=10_000)
    assert index.size > 2 * PAGE
    folder = Path(index.cluster_path).parent
    served = {f"/cc-index/collections/{CRAWL}/indexes/{path.name}": path.read_bytes() for path in folder.iterdir()}
    server = serve(served)
    remote = CdxIndex(INPUTS, server.address, CRAWL, whole=whole)
    assert [capture.url for capture in look_up(remote, {urls[77]})] == [urls[77]]
    blocks = [request for request in server.finished() if request.path.endswith(".gz")]
    assert 1 <= len(blocks) <= 2  # two if the key is the first one of a block
    assert sum(request.sent for request in blocks) < 2_000
    assert len({request.start for request in server.requests if request.path.endswith("cluster.idx")}) <= 4


@pytest.mark.parametrize(
    "cluster", [b"no tabs\n", b"key\tcdx-00000.gz\tx\t1\t1\n", b"k\tcdx-00000.gz\n", b"x" * (2 << 20)]
)
def test_a_damaged_cluster_file_is_an_error(tmp_path: Path, cluster: bytes) -> None:
    index = indexed(tmp_path, [line("http://a.example/")])
    Path(index.cluster_path).write_bytes(cluster)
    with pytest.raises(UserError, match=r"cluster\.idx: .*--index columnar"):
        index.blocks(b"zzz")


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"x" * 1000, mtime=0)[:-9]], ids=["empty", "no gzip", "truncated"]
)
def test_a_damaged_block_is_an_error(tmp_path: Path, content: bytes) -> None:
    index = indexed(tmp_path, [line("http://a.example/")])
    (block,) = index.blocks(key_of("http://a.example/") or b"")
    (Path(index.cluster_path).parent / block.file).write_bytes(content)
    with pytest.raises(UserError, match=r"cdx-00000\.gz: .*--index columnar"):
        list(index.captures(block, {"http://a.example/"}))


@pytest.mark.parametrize(
    "url", ["", "not a url", "http://", "http://[broken/", "\ud800", "http://a.example/" + "x" * 10_000]
)
def test_any_string_has_a_key_or_none(url: str) -> None:
    key_of(url)


def test_the_cost_of_look_ups_grows_until_all_blocks_are_read() -> None:
    cluster = 100_000_000  # of a crawl with 2.5 billion captures
    costs = [LookUpCost.of(cluster, 10**power) for power in range(10)]
    assert [cost.read for cost in costs] == sorted(cost.read for cost in costs)
    assert costs[3].read == pytest.approx(0.35e9, rel=0.05)  # 1,000 documents
    assert costs[9].requests == pytest.approx(cluster / 120, rel=0.01)
    assert LookUpCost.of(cluster, 100_000).as_bytes < 286e9 < LookUpCost.of(cluster, 356_317).as_bytes
