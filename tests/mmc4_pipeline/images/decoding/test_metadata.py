"""What surrounds a picture: junk, damaged and endless metadata neither lose it nor cost more than their size."""

import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image as PillowImage

from mmc4_pipeline.images.decoding.decode import decode
from mmc4_pipeline.images.decoding.header import Undecodable
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.decoding.files import after_start, chunk, jpeg, png, riff, segment, tiff, webp
from tests.mmc4_pipeline.images.decoding.pictures import SETTINGS, Photo, decoded, near, pillow, saved, stored


def rgb(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, :, ::-1]


BETWEEN = {
    "one byte": b"\0",
    "seven bytes": b"\0" * 7,
    "text": b"<!-- served by -->",
    "a stuffed byte": b"\xff\0",
    "fill bytes": b"\xff" * 9,
    "a restart mark": b"\xff\xd0",
    "thirty comments": segment(0xFE, b"x" * 65_000) * 30,
}


@pytest.mark.parametrize("place", [b"\xff\xdb", b"\xff\xc0", b"\xff\xda"])
@pytest.mark.parametrize("junk", BETWEEN)
def test_bytes_between_the_segments_of_a_jpeg(photo: Photo, junk: str, place: bytes) -> None:
    pixels = photo(1, 300, 200)
    body = jpeg(pixels)
    at = body.index(place)
    result = decoded(body[:at] + BETWEEN[junk] + body[at:])
    assert near(rgb(pixels), stored(result))
    assert PillowImage.open(io.BytesIO(result.jpeg)).size == (300, 200)


@pytest.mark.parametrize("trailer", [b"\r\n" * 50, b"\0" * 64, b"<!-- served by -->" * 9, b"ID3 tag" * 2_000])
def test_a_trailer_in_place_of_the_end_mark(photo: Photo, trailer: bytes) -> None:
    pixels = photo(1, 300, 200)
    result = decoded(jpeg(pixels)[:-2] + trailer)
    assert near(rgb(pixels), stored(result))
    assert result.jpeg.endswith(b"\xff\xd9")  # it was stored anew: other decoders would refuse it


PNG_METADATA = {
    "compressed text of 2 MB": chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 2_000_000)),
    "compressed XMP of 3 MB": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * 3_000_000)),
    "profile of 2 MB": chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"x" * 2_000_000)),
    "damaged profile": chunk(b"iCCP", b"icc\0\0no zlib data"),
    "wrong CRC of a text": chunk(b"tEXt", b"a\0b", crc=0),
    "wrong CRC of a density": chunk(b"pHYs", struct.pack(">IIB", 1, 1, 1), crc=0),
    "truncated gamma": chunk(b"gAMA", b"\0"),
    "unknown chunk": chunk(b"abCd", b"x" * 100_000),
    "two times": chunk(b"tIME", b"no time") * 2,
}


@pytest.mark.parametrize("kind", PNG_METADATA)
def test_damaged_or_large_metadata_of_a_png(photo: Photo, kind: str) -> None:
    pixels = photo(2, 300, 200)
    assert near(rgb(pixels), stored(decoded(png(pixels, PNG_METADATA[kind]))))


@pytest.mark.parametrize("end", [b"", b"\0\0", b"\0\0\0\0IEND", b"\r\n" * 30])
def test_a_png_without_its_end_is_kept_if_its_picture_is_there(photo: Photo, end: bytes) -> None:
    pixels = photo(2, 300, 200)
    assert near(rgb(pixels), stored(decoded(png(pixels, end=end))))


@pytest.mark.parametrize(
    "others",
    [
        ((b"EXIF", b"no TIFF header"),),
        ((b"ICCP", b"no profile" * 1_000),),
        ((b"XMP ", b"x" * 3_000_000),),
        ((b"abcd", b"odd"), (b"abcd", b"")),
        ((b"EXIF", tiff(10_000, 500)), (b"EXIF", tiff(10_000, 500))),
    ],
)
def test_damaged_or_large_metadata_of_a_webp(photo: Photo, others: tuple[tuple[bytes, bytes], ...]) -> None:
    pixels = photo(3, 300, 200)
    assert near(rgb(pixels), stored(decoded(webp(pixels, *others))), most=6)


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_found_in_each_format(photo: Photo, order: str) -> None:
    pixels = photo(4, 300, 200)
    entry = struct.pack(order + "HHLHH", 0x0112, 3, 1, 6, 0)
    exif = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "LH", 8, 1) + entry + bytes(4)
    for body in (
        after_start(jpeg(pixels), segment(0xE1, b"Exif\0\0" + exif)),
        png(pixels, chunk(b"eXIf", exif)),
        webp(pixels, (b"EXIF", exif)),
        webp(pixels, (b"EXIF", b"Exif\0\0" + exif)),
    ):
        result = decoded(body)
        assert (result.width, result.height) == (200, 300)


def test_a_jpeg_whose_metadata_would_hurt_its_readers_is_stored_without_it(photo: Photo) -> None:
    body = jpeg(photo(5, 300, 200))
    harmless = after_start(body, segment(0xE1, b"Exif\0\0" + tiff(60_000, 1)))
    hostile = after_start(body, segment(0xE1, b"Exif\0\0" + tiff(60_000, 4_000)))
    assert decoded(harmless).jpeg == harmless
    assert len(decoded(hostile).jpeg) < len(hostile) - 50_000


def test_a_comment_of_a_gif_costs_no_more_than_its_size(photo: Photo) -> None:
    gif = saved(pillow(photo(6, 300, 200)).quantize(64), "GIF")
    start = gif.index(b",", 13 + 3 * 64)
    comment = b"\x21\xfe" + (b"\xff" + b"x" * 255) * 40_000 + b"\0"  # 10 MB; adding up its blocks would copy 200 GB
    body = gif[:start] + comment + gif[start:]
    assert np.array_equal(stored(decoded(body)), stored(decoded(gif)))


def bomb(length: int) -> bytes:
    """Return a PNG of 73 bytes whose picture data has a declared length."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 90, 70, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", length) + b"IDAT" + b"x" * 20 + chunk(b"IEND")


def hostile() -> dict[str, bytes]:
    """Return small files that make decoders reserve or copy gigabytes."""
    pixels = np.random.default_rng(1).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    return {
        "length of 2 GB": bomb(2_000_000_000),
        "length of 4 GB": bomb(4_294_967_000),
        "EXIF of a PNG": png(pixels, chunk(b"eXIf", tiff(300_000, 20_000))),
        "EXIF of a WebP": webp(pixels, (b"EXIF", tiff(300_000, 20_000))),
        "EXIF of a JPEG": after_start(jpeg(pixels), segment(0xE1, b"Exif\0\0" + tiff(65_000, 5_000))),
        "EXIF of a JPEG, often": after_start(jpeg(pixels), segment(0xE1, b"Exif\0\0" + tiff(65_000, 5_000)) * 50),
        "profile that inflates": png(pixels, chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(500_000_000), 1))),
        "text that inflates": png(pixels, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(500_000_000), 1))),
        "chunk of a WebP": riff((b"VP8X", bytes(10)), (b"ANIM", bytes(6)))[:-14] + b"ANMF\xff\xff\xff\xff",
    }


_LIMITED = """
import sys
from concurrent.futures import ThreadPoolExecutor
from mmc4_pipeline.images.decoding.decode import decode
from mmc4_pipeline.recipe import ImageSettings
body = sys.stdin.buffer.read()
decode(body, ImageSettings(800, 90))
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda _: decode(body, ImageSettings(800, 90)), range(4)))
# Unlike the peak that getrusage returns, this one does not begin with that of the parent process.
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
print(peak >> 10)
"""


def test_small_files_never_take_gigabytes() -> None:
    def peak(body: bytes) -> int:
        done = subprocess.run([sys.executable, "-c", _LIMITED], input=body, capture_output=True, check=True)
        return int(done.stdout)

    files = hostile()
    with ThreadPoolExecutor(2) as pool:
        megabytes = dict(zip(files, pool.map(peak, files.values()), strict=True))
    assert max(megabytes.values()) < 300, megabytes


def repeated(count: int) -> dict[str, bytes]:
    """Return files that repeat what each format can repeat."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    gif = saved(pillow(pixels).quantize(4), "GIF")
    start = gif.index(b",", 13)
    return {
        "segments": after_start(jpeg(pixels), segment(0xFE, b"") * count),
        "tables": after_start(jpeg(pixels), segment(0xDB, bytes(65)) * count),
        "fill bytes": after_start(jpeg(pixels), b"\xff" * count * 10),
        "stuffed bytes": after_start(jpeg(pixels), b"\xff\0" * count * 5),
        "chunks": png(pixels, chunk(b"tEXt", b"") * count),
        "palettes": png(pixels, chunk(b"PLTE", bytes(3)) * count),
        "webp chunks": webp(pixels, *[(b"abcd", b"")] * count),
        "extensions": gif[:start] + b"\x21\xfe\x01x\0" * count + gif[start:],
        "blocks": gif[:start] + b"\x21\xfe" + b"\x01x" * count + b"\0" + gif[start:],
        "junk": gif[:start] + b"x" * count * 5 + gif[start:],
    }


_COUNTED = """
import sys
from mmc4_pipeline.images.decoding.containers.take_apart import take_apart
from mmc4_pipeline.images.decoding.containers.picture import NoPictureError
lines = 0
def count(frame, event, argument):
    global lines
    lines += 1
    return count
body = sys.stdin.buffer.read()
sys.settrace(count)
try:
    take_apart(body)
except NoPictureError:
    pass
sys.settrace(None)
print(lines)
"""


def test_the_work_is_proportional_to_the_size() -> None:
    def work(body: bytes) -> int:
        done = subprocess.run([sys.executable, "-c", _COUNTED], input=body, capture_output=True, check=True)
        return int(done.stdout)

    small, large = repeated(2_000), repeated(8_000)
    with ThreadPoolExecutor(2) as pool:
        lines = {kind: (work(small[kind]), work(large[kind])) for kind in pool.map(str, small)}
    assert all(after < 4.5 * before for before, after in lines.values()), lines


def test_endless_repetition_is_refused() -> None:
    for kind, body in repeated(120_000).items():
        result = decode(body, SETTINGS)
        if kind in ("segments", "tables", "chunks", "palettes"):
            assert isinstance(result, Undecodable), kind
            assert result.reason is Reason.CORRUPT
