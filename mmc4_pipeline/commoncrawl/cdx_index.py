"""Look up captures in Common Crawl's CDXJ index, without reading all of it as the columnar index must be.

The index is a sorted list of lines `SURT TIMESTAMP {JSON}` in blocks of 3,000, each a gzip member of a file cdx-*.gz.
`cluster.idx` has one line per block: the block's first `SURT TIMESTAMP`, its file, offset, length and number, separated
by tabs (the ZipNum format of pywb). A SURT is a URL with its host reversed, `org,example)/path`. For a crawl of
2.5 billion captures, cluster.idx has about 100 MB and a block 0.25 MB.
"""

import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import msgspec
from surt import surt

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import Inputs, join
from mmc4_pipeline.storage.http.client import BYTES_OF_A_REQUEST
from schemas.capture import Capture

PAGE = 1 << 16  # bytes of cluster.idx that are read at a time when only some of its lines are needed
PAGES_OF_KEY = 4  # that bisection reads for a key, when the first few steps were made for other keys before
# The means of a line of cluster.idx and of a block, in bytes, for a crawl of 2.5 billion captures.
BYTES_OF_LINE, _BYTES_OF_BLOCK = 120, 250_000
_MAX_LINE = 1 << 20  # bytes; the longest URLs that a crawler stores have a few thousand
_MAX_BLOCK = 256 << 20  # bytes of a decompressed block; real ones have about 2 MB
_DAMAGED = "is damaged; check --cc_root, or use --index columnar"


def key_of(url: str) -> bytes | None:
    """Return the key under which the index lists a URL, None for one that has no such form."""
    try:
        return bytes(surt(url), "utf-8", "surrogatepass")
    except Exception:  # noqa: BLE001 - the package raises various errors for what is not a URL
        return None


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """A block of the index: the name of its file, and the offset and length of its gzip member in bytes."""

    file: str
    offset: int
    length: int


class _Row(msgspec.Struct):
    """The JSON of a line. All values are strings, numbers included; a line that lacks one of them is not a capture."""

    url: str
    status: str = ""
    filename: str = ""
    offset: str = ""
    length: str = ""


_ROW = msgspec.json.Decoder(_Row)


@dataclass
class CdxIndex:
    """The CDXJ index of a crawl below `cc_root`. `whole` is whether to read all of cluster.idx with one request.

    Otherwise lines are found by bisection, which reads some pages of 64 KiB for each key, each once.
    """

    inputs: Inputs
    cc_root: str
    crawl: str
    whole: bool = False
    page_bytes: int = PAGE
    _pages: dict[int, bytes] = field(default_factory=dict, repr=False)

    def _path(self, name: str) -> str:
        return join(self.cc_root, f"cc-index/collections/{self.crawl}/indexes/{name}")

    @property
    def cluster_path(self) -> str:
        """Return the path of cluster.idx."""
        return self._path("cluster.idx")

    @cached_property
    def size(self) -> int:
        """Return the size of cluster.idx in bytes. Raises UserError if it does not exist."""
        return self.inputs.size(self.cluster_path)

    def blocks(self, key: bytes) -> list[Block]:
        """Return the blocks that may list captures with this key, in order.

        Raises UserError if cluster.idx is damaged.
        """
        first, after = key + b" ", key + b"!"  # "!" is the character after the space
        start = self._first_at_or_after(first)
        position = self._line_start(start - 1) if start else 0  # the block before may contain the key too
        found: list[Block] = []
        while position < self.size:
            line = self._line(position)
            begin, *place = line.rstrip(b"\n").split(b"\t")
            if begin >= after:
                break
            found.append(self._block(place))
            position += len(line)
        return found

    def _first_at_or_after(self, key: bytes) -> int:
        """Return the position of the first line that begins with this key or a later one."""
        low, high = 0, self.size
        while low < high:
            start = self._line_start((low + high) // 2)
            line = self._line(start)
            if line.partition(b"\t")[0] < key:
                low = start + len(line)
            else:
                high = start
        return low

    def _block(self, place: list[bytes]) -> Block:
        try:
            file, offset, length, *_ = place
            return Block(file.decode("ascii"), int(offset), int(length))
        except ValueError as error:
            raise UserError(f"{self.cluster_path}: {_DAMAGED}") from error

    def _line_start(self, position: int) -> int:
        """Return where the line begins that contains the byte at this position."""
        end = position
        while end > 0:
            first = (end - 1) // self._page_bytes * self._page_bytes
            newline = self._page(first).rfind(b"\n", 0, end - first)
            if newline >= 0:
                return first + newline + 1
            if position - first > _MAX_LINE:
                raise UserError(f"{self.cluster_path}: {_DAMAGED}")
            end = first
        return 0

    def _line(self, start: int) -> bytes:
        """Return the line that begins at this position, with its newline."""
        parts, at = [], start
        while at < self.size:
            first = at // self._page_bytes * self._page_bytes
            page = self._page(first)
            newline = page.find(b"\n", at - first)
            end = first + newline + 1 if newline >= 0 else first + len(page)
            parts.append(page[at - first : end - first])
            at = end
            if newline >= 0:
                break
            if at - start > _MAX_LINE or not page:
                raise UserError(f"{self.cluster_path}: {_DAMAGED}")
        return b"".join(parts)

    @property
    def _page_bytes(self) -> int:
        return max(1, self.size) if self.whole else self.page_bytes

    def _page(self, first: int) -> bytes:
        if first not in self._pages:
            if self.whole:
                self._pages[first] = self.inputs.read_bytes(self.cluster_path)
            else:
                self._pages[first] = self.inputs.read_range(self.cluster_path, first, self.page_bytes)
        return self._pages[first]

    def captures(self, block: Block, urls: Collection[str]) -> Iterator[Capture]:
        """Yield the successful captures of these URLs that a block lists. Raises UserError if it is damaged."""
        path = self._path(block.file)
        keys = {key_of(url) for url in urls}
        for line in _inflated(path, self.inputs.read_range(path, block.offset, block.length)).splitlines():
            key, _, rest = line.partition(b" ")
            if key in keys:
                capture = _capture(rest)
                if capture is not None and capture.url in urls:
                    yield capture


def _inflated(path: str, member: bytes) -> bytes:
    try:
        inflating = zlib.decompressobj(wbits=31)
        data = inflating.decompress(member, _MAX_BLOCK)
        if inflating.eof:
            return data
    except zlib.error:
        pass
    raise UserError(f"{path}: {_DAMAGED}")


def _capture(timestamp_and_json: bytes) -> Capture | None:
    """Return a line's capture, None if it was not successful or lacks a value: the columnar index has no row for it."""
    timestamp, _, json = timestamp_and_json.partition(b" ")
    try:
        row = _ROW.decode(json)
        if row.status != "200" or "/warc/" not in row.filename:
            return None
        moment = datetime.strptime(timestamp.decode("ascii"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        return Capture(row.url, moment, row.filename, int(row.offset), int(row.length))
    except (msgspec.MsgspecError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class LookUpCost:
    """What looking up documents reads: bytes and requests. They are spread evenly over the blocks."""

    read: int
    requests: int

    @classmethod
    def of(cls, cluster_size: int, documents: int) -> "LookUpCost":
        """Return the cost by the size of cluster.idx and the number of documents."""
        of_cluster = min(cluster_size, documents * PAGES_OF_KEY * PAGE)
        blocks = _expected_blocks(max(1.0, cluster_size / BYTES_OF_LINE), documents)
        requests = blocks + (1 if of_cluster == cluster_size else documents * PAGES_OF_KEY)
        return cls(round(of_cluster + _BYTES_OF_BLOCK * blocks), round(requests))

    @property
    def as_bytes(self) -> int:
        """Return the cost in bytes, with requests counted as the bytes that could be read in their place."""
        return self.read + self.requests * BYTES_OF_A_REQUEST


def _expected_blocks(blocks: float, urls: int) -> float:
    """Return how many different blocks that many URLs are expected to be in."""
    return blocks * (1 - (1 - 1 / blocks) ** urls)
